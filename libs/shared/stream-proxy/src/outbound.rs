//! A request to forward, and its head as it is sent to the upstream.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_LENGTH, HOST},
    uri::PathAndQuery,
};
use http1_client::{
    RequestHead,
    hop_by_hop::{is_hop_by_hop, named_by_connection},
};
use pool_registry_types::HttpUrl;

use crate::resend::Resend;

/// A request to forward. The body is complete, so that it can be sent again.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// The method.
    pub method: Method,
    /// Path and query, to be appended to the target's base path.
    pub path: PathAndQuery,
    /// The client's headers as they came. Hop-by-hop headers (RFC 9110, section 7.6.1), `Host`,
    /// `Content-Length` and `removed_headers` are not forwarded.
    pub headers: HeaderMap,
    /// Headers of the client that are not forwarded.
    pub removed_headers: &'static [HeaderName],
    /// Headers of the caller. They replace the client's headers of the same name, and no header of
    /// the client removes them.
    pub set_headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, byte for byte as the client sent it.
    pub body: Bytes,
    /// Whether the request may be sent a second time, and whether it was.
    pub resend: Resend,
}

impl Outbound {
    /// A request with the client's headers and none of the caller's.
    #[must_use]
    pub fn new(method: Method, path: PathAndQuery, headers: HeaderMap, body: Bytes) -> Self {
        Self {
            method,
            path,
            headers,
            removed_headers: &[],
            set_headers: Vec::new(),
            body,
            resend: Resend::default(),
        }
    }

    /// The head of this request as it is sent to `target`.
    pub(crate) fn encode_head(&self, target: &HttpUrl) -> Vec<u8> {
        let named = named_by_connection(&self.headers);
        let is_removed = |name: &HeaderName| {
            *name == HOST
                || *name == CONTENT_LENGTH
                || is_hop_by_hop(name)
                || self.removed_headers.contains(name)
                || named.contains(name)
                || self.set_headers.iter().any(|(set, _)| set == name)
        };
        let set = self.set_headers.iter().map(|(name, value)| (name, value));
        let lines = self.headers.len() + self.set_headers.len();
        let path = [target.base_path(), self.path.as_str()];
        let authority = target.authority().as_str();
        let mut head = RequestHead::new(&self.method, &path, authority, lines);
        let forwarded = self.headers.iter().filter(|(name, _)| !is_removed(name));
        for (name, value) in forwarded.chain(set) {
            head.header(name, value);
        }
        head.end(self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    fn encoded(request: &Outbound) -> String {
        let head = request.encode_head(&"http://gpu:80/base".parse().unwrap());
        head.escape_ascii().to_string()
    }

    fn request(method: Method, headers: &[(&str, &[u8])], body: &'static [u8]) -> Outbound {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        Outbound::new(
            method,
            "/v1/x?y=1".parse().unwrap(),
            map,
            Bytes::from_static(body),
        )
    }

    // spec: PATH-14
    #[test]
    fn end_to_end_headers_of_the_client_are_forwarded() {
        let headers: &[(&str, &[u8])] = &[
            ("content-type", b"application/json"),
            ("content-length", b"99"),
            ("host", b"public.example"),
            ("te", b"trailers"),
            ("x-a", b"1"),
            ("x-a", b"\xff"),
        ];
        assert_eq!(
            encoded(&request(Method::POST, headers, b"twelve bytes")),
            r"POST /base/v1/x?y=1 HTTP/1.1\r\nhost: gpu:80\r\ncontent-type: application/json\r\n"
                .to_owned()
                + r"x-a: 1\r\nx-a: \xff\r\ncontent-length: 12\r\n\r\n"
        );
    }

    // spec: PATH-14
    #[test]
    fn removed_headers_stay_and_set_headers_are_never_removed() {
        let headers: &[(&str, &[u8])] = &[
            ("connection", b"keep-alive, X-Hop, x-request-id"),
            ("x-hop", b"1"),
            ("x-request-id", b"theirs"),
            ("authorization", b"Bearer theirs"),
            ("x-priority", b"batch"),
        ];
        static REMOVED: [HeaderName; 2] = [AUTHORIZATION, HeaderName::from_static("x-priority")];
        let mut request = request(Method::GET, headers, b"");
        request.removed_headers = &REMOVED;
        request.set_headers = vec![
            (
                HeaderName::from_static("x-request-id"),
                HeaderValue::from_static("ours"),
            ),
            (AUTHORIZATION, HeaderValue::from_static("Bearer ours")),
        ];
        assert_eq!(
            encoded(&request),
            r"GET /base/v1/x?y=1 HTTP/1.1\r\nhost: gpu:80\r\nx-request-id: ours\r\n".to_owned()
                + r"authorization: Bearer ours\r\n\r\n"
        );
    }
}
