//! The head of a request, as bytes.

use http::{
    HeaderMap, Method,
    header::{CONTENT_LENGTH, HOST},
};

use crate::headers::is_hop_by_hop;

/// Room for what is not a client's header: the request line, `Host` and `Content-Length`.
const OWN_BYTES: usize = 256;

/// Writes the head of a request for a body of `body_bytes` into an empty buffer.
///
/// Hop-by-hop headers are left out; those that `Connection` names must be gone already. `Host` and `Content-Length` are
/// ours to say.
pub(crate) fn encode_head(
    method: &Method,
    base_path: &str,
    path: &str,
    authority: &str,
    headers: &HeaderMap,
    body_bytes: usize,
) -> Vec<u8> {
    let lines: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
        .sum();
    let mut head = Vec::with_capacity(OWN_BYTES + base_path.len() + path.len() + authority.len() + lines);
    for part in [
        method.as_str(),
        " ",
        base_path,
        path,
        " HTTP/1.1\r\nhost: ",
        authority,
        "\r\n",
    ] {
        head.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers {
        if *name == HOST || *name == CONTENT_LENGTH || is_hop_by_hop(name) {
            continue;
        }
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    // RFC 9110, section 8.6: a method that has a use for a body says so when there is none.
    if body_bytes > 0 || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        head.extend_from_slice(b"content-length: ");
        head.extend_from_slice(body_bytes.to_string().as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn says_what_the_client_said_and_what_is_ours() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("content-length", HeaderValue::from_static("99"));
        headers.insert("host", HeaderValue::from_static("public.example"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_bytes(b"\xff").unwrap());
        let head = encode_head(&Method::POST, "/base", "/v1/x?y=1", "gpu:80", &headers, 12);
        let expected = b"POST /base/v1/x?y=1 HTTP/1.1\r\nhost: gpu:80\r\ncontent-type: application/json\r\n\
            x-a: 1\r\nx-a: \xff\r\ncontent-length: 12\r\n\r\n";
        assert_eq!(head, expected, "{}", head.escape_ascii());
    }

    #[test]
    fn a_length_is_told_where_it_means_something() {
        let headers = HeaderMap::new();
        for (method, body_bytes, told) in [
            (Method::GET, 0, false),
            (Method::GET, 3, true),
            (Method::POST, 0, true),
            (Method::DELETE, 0, false),
        ] {
            let head = encode_head(&method, "", "/", "h", &headers, body_bytes);
            let line = format!("content-length: {body_bytes}\r\n");
            assert_eq!(
                String::from_utf8(head).unwrap().contains(&line),
                told,
                "{method} {body_bytes}"
            );
        }
    }
}
