//! The head of a request, as bytes.

use http::{HeaderName, HeaderValue, Method};

/// Room for the request line, `Host` and `Content-Length`, besides path and authority.
const OWN_BYTES: usize = 256;

/// Room for a header. Few are longer, and a buffer that is too small grows.
const LINE_BYTES: usize = 64;

/// Writes the head of a request into one buffer.
///
/// The caller gives the headers without `Host` and `Content-Length`, which this type writes, and
/// without [hop-by-hop](crate::hop_by_hop) headers.
#[derive(Debug)]
pub struct RequestHead {
    bytes: Vec<u8>,
    /// The method gives a body a meaning (RFC 9110, section 8.6), so an absent body is announced.
    expects_body: bool,
}

impl RequestHead {
    /// Begins with the request line and `Host`. The path is given in parts, which are joined.
    /// `lines` is the expected number of headers.
    #[must_use]
    pub fn new(method: &Method, path: &[&str], authority: &str, lines: usize) -> Self {
        let path_bytes: usize = path.iter().map(|part| part.len()).sum();
        let capacity = OWN_BYTES + path_bytes + authority.len() + lines * LINE_BYTES;
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(method.as_str().as_bytes());
        bytes.extend_from_slice(b" ");
        for part in path {
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        bytes.extend_from_slice(authority.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        Self {
            bytes,
            expects_body: matches!(*method, Method::POST | Method::PUT | Method::PATCH),
        }
    }

    /// Adds a header.
    pub fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.bytes.extend_from_slice(name.as_str().as_bytes());
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Ends the head of a request whose body has this length.
    #[must_use]
    pub fn end(mut self, body_length: usize) -> Vec<u8> {
        if body_length > 0 || self.expects_body {
            self.bytes.extend_from_slice(b"content-length: ");
            self.bytes
                .extend_from_slice(body_length.to_string().as_bytes());
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;

    use super::*;

    #[test]
    fn the_head_holds_each_part_once() {
        let mut head = RequestHead::new(&Method::GET, &["/base", "/v1/x?y=1"], "gpu:80", 0);
        head.header(&ACCEPT, &HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(
            head.end(0).escape_ascii().to_string(),
            r"GET /base/v1/x?y=1 HTTP/1.1\r\nhost: gpu:80\r\naccept: \xff\r\n\r\n"
        );
    }

    #[test]
    fn a_length_is_sent_where_it_has_a_meaning() {
        for (method, length, is_sent) in [
            (Method::GET, 0, false),
            (Method::GET, 3, true),
            (Method::POST, 0, true),
            (Method::DELETE, 0, false),
        ] {
            let head = RequestHead::new(&method, &["/"], "h", 0).end(length);
            let head = String::from_utf8(head).unwrap();
            let line = format!("content-length: {length}\r\n");
            assert_eq!(head.contains(&line), is_sent, "{method} {length}");
        }
    }
}
