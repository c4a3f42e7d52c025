//! The token of an access key.
//!
//! Input: a text.
//!
//! * It is a token exactly if a second reader says so: the prefix, 43 letters and digits, and the
//!   CRC-32 of those in base 62. The two refusals are told apart by the prefix alone.
//! * A token is the same after it was read, and its digest after it was written.
//! * With any other letter or digit in one place it is refused as mistyped.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::UNIX_EPOCH,
};

use bearer_auth::{
    ACCESS_TOKEN_PREFIX, AccessToken, AccessTokenError, ApiToken, AuthError, AuthPolicy,
    TokenDigest,
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 7));
const SECRET_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// See the top of this file.
pub fn access_token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    is_judged_right(text);
    // Most inputs are no token; each of them makes one.
    let letters = text.bytes().filter(u8::is_ascii_alphanumeric);
    let secret: String = letters
        .chain(std::iter::repeat(b'0'))
        .take(SECRET_CHARS)
        .map(char::from)
        .collect();
    let token = format!(
        "{ACCESS_TOKEN_PREFIX}{secret}{}",
        checksum(secret.as_bytes())
    );
    is_judged_right(&token);
    let place = input.iter().map(|byte| usize::from(*byte)).sum::<usize>();
    let place = ACCESS_TOKEN_PREFIX.len() + place % (SECRET_CHARS + CHECKSUM_CHARS);
    let other = DIGITS[input.len() % DIGITS.len()];
    let mut mistyped = token.into_bytes();
    if mistyped[place] == other {
        return;
    }
    mistyped[place] = other;
    let mistyped = String::from_utf8(mistyped).expect("letters and digits");
    is_judged_right(&mistyped);
    is_refused_unseen(&mistyped);
}

fn is_judged_right(text: &str) {
    let expected = match text.strip_prefix(ACCESS_TOKEN_PREFIX) {
        None => Err(AccessTokenError::NoPrefix),
        Some(rest) if is_token(rest.as_bytes()) => Ok(()),
        Some(_) => Err(AccessTokenError::Mistyped),
    };
    let token: Result<AccessToken, _> = text.parse();
    assert_eq!(token.as_ref().map(|_| ()).map_err(|error| *error), expected);
    if let Ok(token) = token {
        assert_eq!(token.reveal(), text);
        let digest: TokenDigest = token.digest();
        assert_eq!(digest.to_hex().parse(), Ok(digest));
        assert!(!format!("{token:?}").contains(text), "a token is shown");
    }
}

fn is_refused_unseen(mistyped: &str) {
    let own = ApiToken::new("the-token-of-the-server".to_owned());
    let Ok(policy) = AuthPolicy::new(own.ok(), true) else {
        panic!("a token is there");
    };
    let value = HeaderValue::from_str(&format!("Bearer {mistyped}")).expect("letters and digits");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let verdict = policy.authorize(REMOTE, &headers, UNIX_EPOCH);
    assert_eq!(verdict, Err(AuthError::Mistyped));
}

fn is_token(rest: &[u8]) -> bool {
    if rest.len() != SECRET_CHARS + CHECKSUM_CHARS {
        return false;
    }
    let (secret, given) = rest.split_at(SECRET_CHARS);
    secret.iter().all(u8::is_ascii_alphanumeric) && checksum(secret).as_bytes() == given
}

fn checksum(secret: &[u8]) -> String {
    let mut rest = crc32(secret);
    let mut digits = Vec::new();
    for _ in 0..CHECKSUM_CHARS {
        digits.push(char::from(DIGITS[rest as usize % DIGITS.len()]));
        rest /= 62;
    }
    digits.iter().rev().collect()
}

/// Bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let is_odd = crc & 1 == 1;
            crc >>= 1;
            if is_odd {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}
