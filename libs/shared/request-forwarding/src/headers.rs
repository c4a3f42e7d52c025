//! Headers that end at a hop, and numbers as header values.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The prefix of the headers in which this project's processes talk to each other.
const OWN_PREFIX: &str = "x-llorch-";

/// Declares the client's request headers that a hop removes: those that every hop removes, and
/// others of the caller's choice.
///
/// Every hop removes credentials and hints for itself, and the id of `llama-server`'s resumable
/// streams, which continue to generate after the client has left.
#[macro_export]
macro_rules! removed_request_headers {
    ($(#[$attribute:meta])* static $name:ident = [$($other:expr),* $(,)?];) => {
        $(#[$attribute])*
        static $name: [$crate::http::HeaderName; {
            const OTHERS: &[&str] = &[$(stringify!($other)),*];
            8 + OTHERS.len()
        }] = [
            $crate::pool_registry_types::headers::VIA,
            $crate::pool_registry_types::headers::MODEL,
            $crate::pool_registry_types::headers::REPLICA_HINT,
            $crate::pool_registry_types::headers::REPLICA_ONLY,
            $crate::pool_registry_types::headers::FIRST_BYTE_MS,
            $crate::http::header::AUTHORIZATION,
            $crate::http::header::EXPECT,
            $crate::http::HeaderName::from_static("x-conversation-id"),
            $($other),*
        ];
    };
}

/// The prefix of the headers that let pages of other origins read a response.
const CORS_PREFIX: &str = "access-control-";

/// Removes from an engine's response what only a hop of this project may set: `X-Llorch-*`, and the
/// permissions of pages of other origins, which are this server's to give.
pub fn remove_own_headers(response: &mut HeaderMap) {
    // Most engines send none, and an empty list does not allocate.
    let own: Vec<HeaderName> = response
        .keys()
        .filter(|name| {
            name.as_str().starts_with(OWN_PREFIX) || name.as_str().starts_with(CORS_PREFIX)
        })
        .cloned()
        .collect();
    for name in &own {
        response.remove(name);
    }
}

/// A number as a header value. The usual small ones do not allocate.
#[must_use]
pub fn number(number: u64) -> HeaderValue {
    static SMALL: [HeaderValue; 10] = [
        HeaderValue::from_static("0"),
        HeaderValue::from_static("1"),
        HeaderValue::from_static("2"),
        HeaderValue::from_static("3"),
        HeaderValue::from_static("4"),
        HeaderValue::from_static("5"),
        HeaderValue::from_static("6"),
        HeaderValue::from_static("7"),
        HeaderValue::from_static("8"),
        HeaderValue::from_static("9"),
    ];
    usize::try_from(number)
        .ok()
        .and_then(|number| SMALL.get(number))
        .cloned()
        .unwrap_or_else(|| HeaderValue::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_written_as_digits() {
        for value in [0, 1, 9, 10, 127, u64::MAX] {
            assert_eq!(number(value), value.to_string());
        }
    }

    #[test]
    fn only_own_headers_are_removed() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-llorch-replica",
            "x-llorch-anything",
            "access-control-allow-origin",
            "access-control-expose-headers",
            "x-request-id",
        ] {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static("1"));
        }
        remove_own_headers(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-request-id"]);
    }

    #[test]
    fn a_hop_can_remove_more() {
        removed_request_headers! {
            static REMOVED = [http::header::ACCEPT_ENCODING];
        }
        assert!(REMOVED.contains(&http::header::AUTHORIZATION));
        assert!(REMOVED.contains(&http::header::ACCEPT_ENCODING));
    }
}
