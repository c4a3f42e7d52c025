//! Sessions of browsers: a cookie in place of a token.
//!
//! A script cannot read the cookie, other sites cannot send it, and it ends by itself. A session
//! holds no rights of its own: each request is judged by the credential that opened it, so that a
//! revoked key ends its sessions. Sessions are in memory only; a restart ends them.

use std::{
    collections::HashMap,
    fmt, io,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, header::COOKIE};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{auth_error::AuthError, token::TokenDigest};

/// The name of the cookie.
pub const SESSION_COOKIE: &str = "llorch_session";

/// How long a session lasts: a working day.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// The most sessions. Another one takes the place of the one that would end first.
pub const MAX_SESSIONS: usize = 1024;

/// The most sessions of one token, so that the holder of one cannot end those of others. Another
/// one takes the place of its own that would end first. A person has a few browsers.
pub const MAX_SESSIONS_OF_TOKEN: usize = 16;

const SECRET_BYTES: usize = 32;

/// The value of the cookie of a session: 256 random bits in hexadecimal.
pub struct SessionSecret(Zeroizing<String>);

impl SessionSecret {
    fn generate() -> io::Result<Self> {
        let mut random = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(random.as_mut_slice())?;
        Ok(Self(Zeroizing::new(const_hex::encode(*random))))
    }

    /// The value of the cookie.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret([REDACTED])")
    }
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No valid token is presented.
    #[error(transparent)]
    NotAuthorized(#[from] AuthError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    NoRandomNumbers(#[from] io::Error),
}

/// The sessions of a server, by the digests of their secrets.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<TokenDigest, Session>>);

#[derive(Debug, Clone, Copy)]
struct Session {
    /// The token that opened it.
    credential: TokenDigest,
    ends: SystemTime,
}

impl Sessions {
    /// Opens a session for a token that was found valid.
    pub(crate) fn open(
        &self,
        credential: TokenDigest,
        now: SystemTime,
    ) -> io::Result<SessionSecret> {
        let secret = SessionSecret::generate()?;
        let ends = now.checked_add(SESSION_LIFE).unwrap_or(now);
        let mut sessions = self.0.lock();
        sessions.retain(|_, session| session.ends > now);
        let own = |session: &Session| session.credential == credential;
        if sessions.values().filter(|session| own(session)).count() >= MAX_SESSIONS_OF_TOKEN {
            remove_first(&mut sessions, own);
        } else if sessions.len() >= MAX_SESSIONS {
            remove_first(&mut sessions, |_| true);
        }
        let digest = TokenDigest::of(secret.reveal().as_bytes());
        sessions.insert(digest, Session { credential, ends });
        Ok(secret)
    }

    /// The token that opened the session of a cookie.
    pub(crate) fn find(&self, secret: &[u8], now: SystemTime) -> Result<TokenDigest, AuthError> {
        let sessions = self.0.lock();
        let session = sessions.get(&TokenDigest::of(secret));
        match session.filter(|session| session.ends > now) {
            Some(session) => Ok(session.credential),
            None => Err(AuthError::SessionEnded),
        }
    }

    pub(crate) fn close(&self, secret: &[u8]) {
        self.0.lock().remove(&TokenDigest::of(secret));
    }
}

/// Removes the one of these that would end first.
fn remove_first(sessions: &mut HashMap<TokenDigest, Session>, of: impl Fn(&Session) -> bool) {
    let candidates = sessions.iter().filter(|(_, session)| of(session));
    let first = candidates.min_by_key(|(_, session)| session.ends);
    if let Some(first) = first.map(|(digest, _)| *digest) {
        sessions.remove(&first);
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("open", &self.0.lock().len())
            .finish()
    }
}

/// The secret in the cookie of a request. With two different cookies of that name, the first
/// counts, as browsers send the most specific one first (RFC 6265, section 5.4).
pub(crate) fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let cookies = headers.get_all(COOKIE).iter();
    let mut pairs = cookies.flat_map(|cookies| cookies.as_bytes().split(|byte| *byte == b';'));
    let secret = pairs.find_map(|pair| {
        pair.trim_ascii()
            .strip_prefix(SESSION_COOKIE.as_bytes())?
            .strip_prefix(b"=")
    })?;
    (secret.len() == 2 * SECRET_BYTES).then_some(secret)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    // spec: AUTH-60
    #[test]
    fn a_session_ends_by_itself_or_is_closed() {
        let sessions = Sessions::default();
        let credential = TokenDigest::of(b"a token");
        let secret = sessions.open(credential, at(0)).unwrap();
        let other = sessions.open(credential, at(0)).unwrap();
        let cookie = secret.reveal().as_bytes();
        let last = SESSION_LIFE.as_secs() - 1;
        assert!(sessions.find(cookie, at(last)) == Ok(credential));
        assert!(sessions.find(cookie, at(last + 1)) == Err(AuthError::SessionEnded));
        sessions.close(cookie);
        assert!(sessions.find(cookie, at(0)) == Err(AuthError::SessionEnded));
        assert!(sessions.find(other.reveal().as_bytes(), at(0)).is_ok());
        assert!(!format!("{secret:?} {sessions:?}").contains(secret.reveal()));
    }

    #[test]
    fn the_session_that_ends_first_makes_room() {
        let sessions = Sessions::default();
        let start = u64::try_from(MAX_SESSIONS).unwrap();
        let opened: Vec<_> = (0..=start)
            .map(|second| {
                let credential = TokenDigest::of(&second.to_be_bytes());
                sessions.open(credential, at(second)).unwrap()
            })
            .collect();
        let is_open = |index: usize| {
            let secret = opened[index].reveal().as_bytes();
            sessions.find(secret, at(start)).is_ok()
        };
        assert_eq!(
            (is_open(0), is_open(1), is_open(MAX_SESSIONS)),
            (false, true, true)
        );
    }

    // spec: AUTH-65
    #[test]
    fn many_sessions_of_one_token_end_no_other() {
        let sessions = Sessions::default();
        let other = TokenDigest::of(b"an operator");
        let session = sessions.open(other, at(0)).unwrap();
        let opened: Vec<_> = (1..=2000)
            .map(|second| {
                sessions
                    .open(TokenDigest::of(b"a client"), at(second))
                    .unwrap()
            })
            .collect();
        let is_open =
            |secret: &SessionSecret| sessions.find(secret.reveal().as_bytes(), at(2000)).is_ok();
        assert!(is_open(&session));
        let open = opened.iter().filter(|secret| is_open(secret)).count();
        assert_eq!(open, MAX_SESSIONS_OF_TOKEN);
        assert!(is_open(opened.last().unwrap()));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let secret = "a".repeat(64);
        for (cookies, expected) in [
            (vec![format!("llorch_session={secret}")], true),
            (vec![format!("a=b; llorch_session={secret}; c=d")], true),
            (
                vec!["a=b".to_owned(), format!("llorch_session={secret}")],
                true,
            ),
            (vec![format!("xllorch_session={secret}")], false),
            (vec!["llorch_session=short".to_owned()], false),
            (vec![], false),
        ] {
            let mut headers = HeaderMap::new();
            for cookie in &cookies {
                headers.append(COOKIE, HeaderValue::from_str(cookie).unwrap());
            }
            assert_eq!(presented(&headers).is_some(), expected, "{cookies:?}");
        }
    }
}
