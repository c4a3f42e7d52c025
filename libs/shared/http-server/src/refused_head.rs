//! Responses to requests whose head is refused before a handler sees it.
//!
//! hyper refuses what it cannot parse with a status and no body. On HTTP/1.1 the response here
//! replaces its own, so that the client reads what is wrong.

use bytes::Bytes;
use pool_registry_types::{ErrorCode, ErrorEnvelope, headers};

use crate::{ApiError, MAX_HEADERS, RequestId};

/// What hyper sends in place of a body.
const NO_BODY: &str = "content-length: 0\r\n";

/// The request line and the headers are too long, or the headers too many.
pub(crate) fn header_too_large(max_header_bytes: usize) -> ApiError {
    ApiError::new(
        ErrorCode::HeaderTooLarge,
        format!(
            "a request may have {MAX_HEADERS} headers, and {max_header_bytes} bytes of request \
             line and headers"
        ),
    )
}

/// The response in place of `bare`, which hyper has written; `None` for a status without an error
/// here.
pub(crate) fn explain(bare: &[u8], max_header_bytes: usize) -> Option<Bytes> {
    let bare = str::from_utf8(bare).ok()?;
    let (before, after) = bare.split_once(NO_BODY)?;
    let error = match bare.split(' ').nth(1)? {
        "400" => ApiError::invalid("the request is not valid HTTP/1.1"),
        "431" => header_too_large(max_header_bytes),
        _ => return None,
    };
    let envelope = ErrorEnvelope::new(error.code, error.message);
    let body = serde_json::to_string(&envelope).ok()?;
    let response = format!(
        "{before}content-type: application/json\r\ncontent-length: {}\r\n{}: {}\r\n{after}{body}",
        body.len(),
        headers::REQUEST_ID,
        RequestId::random(),
    );
    Some(response.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(status: &str) -> String {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n")
    }

    #[test]
    fn a_refusal_gets_a_body_and_keeps_its_other_headers() {
        for (status, code) in [
            ("431 Too Large", "HEADER_TOO_LARGE"),
            ("400 Bad", "INVALID_REQUEST"),
        ] {
            let explained = explain(bare(status).as_bytes(), 10).unwrap();
            let text = str::from_utf8(&explained).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\nconnection: close\r\n")));
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
            assert!(head.contains("\r\nx-request-id: "));
            assert!(head.ends_with("\r\ndate: now"));
            assert!(body.contains(code), "{body}");
        }
    }

    #[test]
    fn what_is_no_such_refusal_stays() {
        for other in [bare("414 URI Too Long"), "HTTP/1.1 431\r\n\r\n".to_owned()] {
            assert_eq!(explain(other.as_bytes(), 10), None);
        }
        assert_eq!(explain(&[0xff], 10), None);
    }
}
