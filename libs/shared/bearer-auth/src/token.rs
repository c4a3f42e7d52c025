//! The token: checked once, never shown.

use std::{fmt, str::FromStr};

use http::HeaderValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The shortest token. A shorter one can be guessed, or is a typing error. `openssl rand -hex 32`
/// makes a good one.
pub const MIN_TOKEN_BYTES: usize = 8;

/// The longest token: far above any real one, and short enough to hash for every request.
pub const MAX_TOKEN_BYTES: usize = 1024;

/// A text that cannot be a token. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too short to be a secret.
    #[error("must have at least {MIN_TOKEN_BYTES} characters")]
    TooShort,
    /// Longer than any server would read.
    #[error("must have at most {MAX_TOKEN_BYTES} characters")]
    TooLong,
    /// It cannot be a header value.
    #[error("must be printable ASCII without blanks")]
    BadCharacter,
}

/// A secret that clients present as `Authorization: Bearer …`. `Debug` shows `[REDACTED]`.
#[derive(Clone)]
pub struct ApiToken {
    header: HeaderValue,
    digest: TokenDigest,
}

impl ApiToken {
    /// Takes the token without surrounding white space, such as the newline at the end of a file.
    ///
    /// # Errors
    /// When it is too short, too long, or holds anything but printable ASCII.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the caller's copy of a secret ends here"
    )]
    pub fn new(token: String) -> Result<Self, TokenError> {
        let token = token.trim();
        if token.len() < MIN_TOKEN_BYTES {
            return Err(TokenError::TooShort);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenError::BadCharacter);
        }
        let mut header = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| TokenError::BadCharacter)?;
        // Hides it in the Debug output of a header map.
        header.set_sensitive(true);
        Ok(Self {
            header,
            digest: TokenDigest::of(token.as_bytes()),
        })
    }

    /// The value of the `Authorization` header a client sends, marked sensitive.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The digest, for a server that accepts the token and need not know it.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        self.digest
    }
}

impl FromStr for ApiToken {
    type Err = TokenError;

    fn from_str(token: &str) -> Result<Self, TokenError> {
        Self::new(token.to_owned())
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken([REDACTED])")
    }
}

/// The SHA-256 of a token. All digests have one length, so the comparison reveals nothing about the
/// token's length.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

/// A text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 has 64 hexadecimal digits")]
pub struct NotADigest;

impl TokenDigest {
    pub(crate) fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Constant-time, whatever the result. `==` is for tables of digests of random tokens only.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Its first twelve digits, which identify a key and give no token away.
    #[must_use]
    pub fn short(self) -> String {
        let mut hex = self.to_hex();
        hex.truncate(12);
        hex
    }

    /// The digest in hexadecimal, as stores and files have it.
    #[must_use]
    pub fn to_hex(self) -> String {
        const_hex::encode(self.0)
    }
}

impl FromStr for TokenDigest {
    type Err = NotADigest;

    fn from_str(hex: &str) -> Result<Self, NotADigest> {
        // The decoder would take a prefix.
        if hex.len() != 64 {
            return Err(NotADigest);
        }
        let mut digest = [0; 32];
        const_hex::decode_to_slice(hex, &mut digest).map_err(|_| NotADigest)?;
        Ok(Self(digest))
    }
}

impl Serialize for TokenDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        hex.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for TokenDigest {
    /// The digest of a token that a person has chosen may give it away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-9f8e7d6c";

    #[test]
    fn a_token_is_checked_and_sent() {
        let token = ApiToken::new(format!(" {CANARY}\n")).unwrap();
        let header = token.header_value();
        assert_eq!(header.as_bytes(), format!("Bearer {CANARY}").as_bytes());
        assert!(header.is_sensitive());
        assert!(token.digest().matches(&TokenDigest::of(CANARY.as_bytes())));
        assert!(!token.digest().matches(&TokenDigest::of(b"")));
    }

    #[test]
    fn refuses_what_cannot_be_one() {
        for (text, error) in [
            ("", TokenError::TooShort),
            ("1234567", TokenError::TooShort),
            ("   1234567   ", TokenError::TooShort),
            ("two words", TokenError::BadCharacter),
            ("line\nbreak", TokenError::BadCharacter),
            ("nul\0-token", TokenError::BadCharacter),
            ("schlüssel", TokenError::BadCharacter),
        ] {
            assert_eq!(text.parse::<ApiToken>().unwrap_err(), error, "{text:?}");
        }
        assert_eq!(
            ApiToken::new("x".repeat(MAX_TOKEN_BYTES + 1)).unwrap_err(),
            TokenError::TooLong
        );
        assert!(ApiToken::new("x".repeat(MAX_TOKEN_BYTES)).is_ok());
    }

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = TokenDigest::of(b"x");
        let hex = digest.to_hex();
        assert_eq!(hex.parse(), Ok(digest));
        assert_eq!(hex.to_uppercase().parse(), Ok(digest));
        for wrong in [
            "",
            &hex[1..],
            &format!("0x{}", &hex[2..]),
            &format!("{hex}0"),
        ] {
            assert_eq!(wrong.parse::<TokenDigest>(), Err(NotADigest), "{wrong}");
        }
    }

    // spec: AUTH-4
    #[test]
    fn no_output_holds_the_token() {
        let token = ApiToken::new(CANARY.to_owned()).unwrap();
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, token.header_value());
        let refused = ApiToken::new(format!("{CANARY}\u{1}x")).unwrap_err();
        let shown = format!(
            "{token:?} {token:#?} {:?} {headers:?} {refused} {refused:?}",
            token.digest()
        );
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("[REDACTED]"));
    }
}
