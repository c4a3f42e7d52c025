//! The key that an engine demands of its clients.

use std::fmt;

use http::HeaderValue;
use thiserror::Error;

/// The longest key in bytes: far above any real one.
pub const MAX_KEY_BYTES: usize = 4096;

/// A text that cannot be a key. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EngineKeyError {
    /// Nothing but white space.
    #[error("it is empty")]
    Empty,
    /// Longer than [`MAX_KEY_BYTES`].
    #[error("it has more than {MAX_KEY_BYTES} bytes")]
    TooLong,
    /// It cannot be a header value.
    #[error("it must hold one key of printable ASCII without blanks")]
    BadCharacter,
}

/// The key of an engine, as the header that carries it. `Debug` shows `[REDACTED]`. Cloning is
/// cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineKey(HeaderValue);

impl EngineKey {
    /// Takes the key without surrounding white space, such as the newline at the end of a file.
    ///
    /// # Errors
    /// When it is empty, too long, or holds anything but printable ASCII.
    pub fn new(text: &str) -> Result<Self, EngineKeyError> {
        let key = text.trim();
        if key.is_empty() {
            return Err(EngineKeyError::Empty);
        }
        if key.len() > MAX_KEY_BYTES {
            return Err(EngineKeyError::TooLong);
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EngineKeyError::BadCharacter);
        }
        let mut header = HeaderValue::try_from(format!("Bearer {key}"))
            .map_err(|_| EngineKeyError::BadCharacter)?;
        // Hides it in the Debug output of a header map.
        header.set_sensitive(true);
        Ok(Self(header))
    }

    /// The value of the `Authorization` header that carries it, marked sensitive. Every known kind
    /// of engine takes it there.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for EngineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineKey([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PROBE-13
    #[test]
    fn a_key_is_never_shown() {
        let key = EngineKey::new(" sesame\n").unwrap();
        assert_eq!(key.header(), "Bearer sesame");
        assert!(key.header().is_sensitive());
        assert_eq!(format!("{key:?}"), "EngineKey([REDACTED])");
        for (text, error) in [
            (" \n", EngineKeyError::Empty),
            ("two keys", EngineKeyError::BadCharacter),
            ("ü", EngineKeyError::BadCharacter),
            (&"x".repeat(MAX_KEY_BYTES + 1), EngineKeyError::TooLong),
        ] {
            assert_eq!(EngineKey::new(text), Err(error));
        }
    }
}
