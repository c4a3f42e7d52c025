//! The head of a request, as bytes.

use http::{
    HeaderName, HeaderValue, Method,
    header::{CONTENT_LENGTH, HOST},
};
use pool_registry_types::HttpUrl;

use crate::{
    Outbound,
    headers::{is_hop_by_hop, named_by_connection},
};

/// Room for what is not a header of the request: the request line, `Host` and `Content-Length`.
const OWN_BYTES: usize = 256;

/// The head of `request` as it is sent to `target`.
pub(crate) fn encode_head(target: &HttpUrl, request: &Outbound) -> Vec<u8> {
    let named = named_by_connection(&request.headers);
    let ends_here = |name: &HeaderName| {
        *name == HOST
            || *name == CONTENT_LENGTH
            || is_hop_by_hop(name)
            || request.removed_headers.contains(name)
            || named.contains(name)
            || request.set_headers.iter().any(|(own, _)| own == name)
    };
    let theirs = request.headers.iter().filter(|(name, _)| !ends_here(name));
    let own = request
        .set_headers
        .iter()
        .map(|(name, value)| (name, value));

    let (method, authority) = (&request.method, target.authority());
    let (base, path) = (target.base_path(), request.path.as_str());
    let lines: usize = request
        .headers
        .iter()
        .chain(own.clone())
        .map(line_bytes)
        .sum();
    let mut head =
        Vec::with_capacity(OWN_BYTES + base.len() + path.len() + authority.as_str().len() + lines);
    for part in [
        method.as_str(),
        " ",
        base,
        path,
        " HTTP/1.1\r\nhost: ",
        authority.as_str(),
        "\r\n",
    ] {
        head.extend_from_slice(part.as_bytes());
    }
    for (name, value) in theirs.chain(own) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    // RFC 9110, section 8.6: a method that has a use for a body says so when there is none.
    if !request.body.is_empty() || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        head.extend_from_slice(b"content-length: ");
        head.extend_from_slice(request.body.len().to_string().as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn line_bytes((name, value): (&HeaderName, &HeaderValue)) -> usize {
    name.as_str().len() + value.len() + ": \r\n".len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, header::AUTHORIZATION};

    use super::*;

    fn encoded(request: &Outbound) -> String {
        let head = encode_head(&"http://gpu:80/base".parse().unwrap(), request);
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
    fn says_what_the_client_said_and_what_is_ours() {
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
    fn what_ends_here_does_not_go_on_and_what_is_ours_is_never_taken_away() {
        let headers: &[(&str, &[u8])] = &[
            ("connection", b"keep-alive, X-Hop, x-request-id"),
            ("x-hop", b"1"),
            ("x-request-id", b"theirs"),
            ("authorization", b"Bearer theirs"),
            ("x-priority", b"batch"),
        ];
        static WITHHELD: [HeaderName; 2] = [AUTHORIZATION, HeaderName::from_static("x-priority")];
        let mut request = request(Method::GET, headers, b"");
        request.removed_headers = &WITHHELD;
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

    #[test]
    fn a_length_is_told_where_it_means_something() {
        for (method, body, told) in [
            (Method::GET, &b""[..], false),
            (Method::GET, b"abc", true),
            (Method::POST, b"", true),
            (Method::DELETE, b"", false),
        ] {
            let line = format!(r"content-length: {}\r\n", body.len());
            let head = encoded(&request(method.clone(), &[], body));
            assert_eq!(head.contains(&line), told, "{method} {body:?}");
        }
    }
}
