//! The token of a request.
//!
//! Input: the server's token, a line feed, and the values of `Authorization`, each on a line of its
//! own.
//!
//! * What can be a token is let in by the header that it makes.
//! * Everybody else is let in exactly if there is one value, and it is `Bearer`, blanks and the
//!   token.
//! * The verdict is the same for every peer.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{SystemTime, UNIX_EPOCH},
};

use bearer_auth::{ApiToken, AuthError, AuthPolicy, MAX_TOKEN_BYTES, MIN_TOKEN_BYTES, Principal};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 7));
/// The API token has no end.
const NOW: SystemTime = UNIX_EPOCH;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// See the top of this file.
pub fn authorization(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let text = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let Some(text) = text else { return };
    let is_token = (MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&text.trim().len())
        && text.trim().bytes().all(|byte| byte.is_ascii_graphic());
    let Ok(token) = ApiToken::new(text.to_owned()) else {
        assert!(!is_token, "a good token is refused");
        return;
    };
    assert!(is_token, "a bad token is taken");
    let values: Option<Vec<HeaderValue>> = lines
        .map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let Some(values) = values else { return };
    let own = HeaderMap::from_iter([(AUTHORIZATION, token.header_value())]);
    let Ok(policy) = AuthPolicy::new(Some(token), true) else {
        panic!("a token is there");
    };
    assert_eq!(policy.authorize(REMOTE, &own, NOW), Ok(Principal::ApiToken));
    let is_right = match values.as_slice() {
        [value] => is_bearer(value.as_bytes(), text.trim().as_bytes()),
        _ => false,
    };
    let headers: HeaderMap = values
        .into_iter()
        .map(|value| (AUTHORIZATION, value))
        .collect();
    let verdict = policy.authorize(REMOTE, &headers, NOW);
    assert_eq!(verdict.is_ok(), is_right, "{verdict:?}");
    assert_ne!(verdict, Err(AuthError::NotLoopback));
    assert_eq!(policy.authorize(LOOPBACK, &headers, NOW), verdict);
}

/// Read from behind: the token, blanks, a space, the scheme.
fn is_bearer(value: &[u8], token: &[u8]) -> bool {
    let Some(before) = value.trim_ascii_end().strip_suffix(token) else {
        return false;
    };
    let scheme = before.trim_ascii_end();
    scheme.eq_ignore_ascii_case(b"bearer") && before.get(scheme.len()) == Some(&b' ')
}
