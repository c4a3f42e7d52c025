//! A name for each request, in every log line and on every hop.

use std::fmt;

use http::{HeaderMap, HeaderValue};
use pool_registry_types::headers;

/// The longest id taken from a client.
pub(crate) const MAX_REQUEST_ID_BYTES: usize = 128;

/// The name of a request: what the client sent in `X-Request-Id`, or 128 random bits.
///
/// Every request carries it (see [`Caller`](crate::Caller)), and every response in its header. It
/// is 1 to 128 characters of `A-Z a-z 0-9 . _ -`, so it can go into a log or a path as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's id when it is a valid one, a new one otherwise.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        match headers.get(headers::REQUEST_ID) {
            Some(value) if is_valid(value.as_bytes()) => Self(value.clone()),
            _ => Self::random(),
        }
    }

    /// The id `text`, when it is a valid one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let value = HeaderValue::from_str(text).ok()?;
        is_valid(value.as_bytes()).then_some(Self(value))
    }

    /// A new id: unique for all practical purposes, and no secret.
    #[must_use]
    pub fn random() -> Self {
        let mut text = const_hex::Buffer::<16>::new();
        let text = text.format(&fastrand::u128(..).to_le_bytes());
        // Hexadecimal digits are always a valid header value.
        Self(HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("0")))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as the value of a header.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_valid(id: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
        && id
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(value: &[u8]) -> bool {
        let value = HeaderValue::from_bytes(value).unwrap();
        let headers = HeaderMap::from_iter([(headers::REQUEST_ID, value.clone())]);
        RequestId::from_headers(&headers).header_value() == value
    }

    #[test]
    fn takes_a_valid_id_and_no_other() {
        for id in [&b"a"[..], b"01J.x_y-Z", &[b'x'; 128]] {
            assert!(taken(id), "{id:?}");
        }
        for id in [
            &b""[..],
            b"a b",
            b"a/b",
            b"a=\"b\"",
            b"a\xffb",
            &[b'x'; 129],
        ] {
            assert!(!taken(id), "{id:?}");
        }
    }

    #[test]
    fn makes_its_own() {
        let (a, b) = (
            RequestId::random(),
            RequestId::from_headers(&HeaderMap::new()),
        );
        assert_ne!(a, b);
        assert_eq!(a.as_str().len(), 32);
        assert_eq!(RequestId::new(a.as_str()), Some(a.clone()));
        assert_eq!(RequestId::new("a b"), None);
        assert!(is_valid(b.as_str().as_bytes()));
    }
}
