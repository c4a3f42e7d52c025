//! The token of an access key: recognisable, checked for typing errors, and shown once.

use std::{borrow::Cow, fmt, io, str::FromStr};

use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use crate::token::TokenDigest;

/// What every access token begins with. Secret scanners look for it. The underscore is no letter of
/// base 62, and a double click selects the whole token.
pub const ACCESS_TOKEN_PREFIX: &str = "llorch_";

/// 43 characters of base 62 hold 256 bits.
const SECRET_CHARS: usize = 43;

/// 6 characters of base 62 hold the 32 bits of a CRC.
const CHECKSUM_CHARS: usize = 6;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Random bytes below this number make every digit equally likely; others are thrown away.
const UNBIASED: u8 = 248;

/// A text that is no access token. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessTokenError {
    /// It begins like one, but its checksum or length is wrong.
    #[error("the token is mistyped or incomplete: its checksum does not match")]
    Mistyped,
    /// It does not begin like one.
    #[error("must begin with \"{ACCESS_TOKEN_PREFIX}\"")]
    NoPrefix,
}

/// The token of an access key: `llorch_`, 43 random characters, and 6 characters of checksum.
/// `Debug` does not show it, and its memory is cleared.
#[derive(Clone)]
pub struct AccessToken(Zeroizing<String>);

impl AccessToken {
    /// A new random token.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> io::Result<Self> {
        let whole = ACCESS_TOKEN_PREFIX.len() + SECRET_CHARS + CHECKSUM_CHARS;
        // It never grows, which would leave a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(whole));
        text.push_str(ACCESS_TOKEN_PREFIX);
        let mut random = Zeroizing::new([0_u8; SECRET_CHARS]);
        while text.len() < whole - CHECKSUM_CHARS {
            let filled = getrandom(&mut *random, GetRandomFlags::empty())?;
            let digits = random.iter().take(filled).filter(|byte| **byte < UNBIASED);
            let missing = whole - CHECKSUM_CHARS - text.len();
            text.extend(digits.take(missing).map(|byte| digit(u32::from(*byte))));
        }
        let secret = text.as_bytes().get(ACCESS_TOKEN_PREFIX.len()..);
        let checksum = checksum(secret.unwrap_or_default());
        text.extend(checksum.map(char::from));
        Ok(Self(text))
    }

    /// The digest, which is stored in its place.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(self.0.as_bytes())
    }

    /// The token itself, for the one who asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// The text with each access token in it cut to its prefix. Where a path or a message is logged or
/// answered, a person may have put a token in the place of an id.
#[must_use]
pub fn without_tokens(text: &str) -> Cow<'_, str> {
    let mut rest = text;
    let mut clean = String::new();
    while let Some(found) = rest.find(ACCESS_TOKEN_PREFIX) {
        let (before, token) = rest.split_at(found + ACCESS_TOKEN_PREFIX.len());
        let is_digit = |c: char| c.is_ascii_alphanumeric();
        let end = token.find(|c| !is_digit(c)).unwrap_or(token.len());
        clean.push_str(before);
        let (secret, after) = token.split_at(end);
        // Names of ours begin like it and have a word or two.
        clean.push_str(if secret.len() < SECRET_CHARS / 2 {
            secret
        } else {
            "…"
        });
        rest = after;
    }
    if clean.is_empty() {
        return Cow::Borrowed(text);
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

impl FromStr for AccessToken {
    type Err = AccessTokenError;

    fn from_str(text: &str) -> Result<Self, AccessTokenError> {
        match check(text.as_bytes()) {
            Some(true) => Ok(Self(Zeroizing::new(text.to_owned()))),
            Some(false) => Err(AccessTokenError::Mistyped),
            None => Err(AccessTokenError::NoPrefix),
        }
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken([REDACTED])")
    }
}

/// Whether the checksum of an access token is right; `None` for any other text.
pub(crate) fn check(text: &[u8]) -> Option<bool> {
    let rest = text.strip_prefix(ACCESS_TOKEN_PREFIX.as_bytes())?;
    let Some((secret, given)) = rest.split_at_checked(SECRET_CHARS) else {
        return Some(false);
    };
    let is_right = secret.iter().all(u8::is_ascii_alphanumeric) && given == checksum(secret);
    Some(is_right)
}

/// The CRC-32 of the random characters, in base 62 with zeros in front.
fn checksum(secret: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(secret);
    let mut text = [b'0'; CHECKSUM_CHARS];
    for place in text.iter_mut().rev() {
        *place = digit(rest) as u8;
        rest /= 62;
    }
    text
}

/// The last digit of a number.
fn digit(number: u32) -> char {
    let index = usize::try_from(number % 62).unwrap_or_default();
    DIGITS.get(index).copied().map_or('0', char::from)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    // spec: AUTH-63
    #[test]
    fn a_text_shows_no_token() {
        let token = AccessToken::generate().unwrap();
        let whole = token.reveal();
        for (text, expected) in [
            (format!("no key {whole}"), "no key llorch_…"),
            (
                format!("/v2/keys/{whole}/{whole}?a"),
                "/v2/keys/llorch_…/llorch_…?a",
            ),
            (format!("{}x", &whole[..40]), "llorch_…"),
            (
                "llorch_queue_displaced, llorch_".to_owned(),
                "llorch_queue_displaced, llorch_",
            ),
            ("nothing".to_owned(), "nothing"),
        ] {
            assert_eq!(without_tokens(&text), expected);
        }
    }

    // spec: AUTH-21
    #[test]
    fn a_token_is_recognisable_and_has_a_checksum() {
        let tokens: Vec<_> = (0..50).map(|_| AccessToken::generate().unwrap()).collect();
        let different: HashSet<&str> = tokens.iter().map(AccessToken::reveal).collect();
        assert_eq!(different.len(), tokens.len());
        for token in &tokens {
            let text = token.reveal();
            assert_eq!((text.len(), text.split_at(7).0), (56, "llorch_"), "{text}");
            assert_eq!(text.parse::<AccessToken>().unwrap().reveal(), text);
            assert!(text[7..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
        // Every digit occurs: 2150 draws of 62.
        let used: HashSet<u8> = tokens
            .iter()
            .flat_map(|token| token.reveal()[7..50].bytes())
            .collect();
        assert!(used.len() > 55, "{}", used.len());
    }

    // spec: AUTH-22
    #[test]
    fn every_single_typing_error_is_found() {
        let token = AccessToken::generate().unwrap();
        let text = token.reveal();
        let parse = |text: &str| text.parse::<AccessToken>().map(drop);
        for at in 7..text.len() {
            for other in ["0", "z", "-"] {
                let mut wrong = text.to_owned();
                wrong.replace_range(at..=at, other);
                let expected = if wrong == text {
                    Ok(())
                } else {
                    Err(AccessTokenError::Mistyped)
                };
                assert_eq!(parse(&wrong), expected, "at {at}");
            }
        }
        for wrong in [&text[..55], &format!("{text}0"), "llorch_", "llorch_é"] {
            assert_eq!(parse(wrong), Err(AccessTokenError::Mistyped));
        }
        for other in ["", "correct-horse", "LLORCH_x", &text[1..]] {
            assert_eq!(parse(other), Err(AccessTokenError::NoPrefix));
        }
    }

    // The checksum stays the same for ever, or old tokens become mistyped ones.
    #[test]
    fn the_checksum_is_the_standard_one() {
        // CRC-32 of "123456789" is 0xCBF43926, the check value of the algorithm.
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        let secret = [b'a'; SECRET_CHARS];
        let text = checksum(&secret);
        let value = text.iter().fold(0_u64, |value, digit| {
            let place = DIGITS.iter().position(|known| known == digit).unwrap();
            value * 62 + place as u64
        });
        assert_eq!(value, u64::from(crc32fast::hash(&secret)));
    }

    // spec: AUTH-4
    #[test]
    fn no_output_holds_the_token() {
        let token = AccessToken::generate().unwrap();
        let shown = format!("{token:?} {token:#?} {:?}", token.digest());
        assert!(!shown.contains(&token.reveal()[7..20]), "{shown}");
    }
}
