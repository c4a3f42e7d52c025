//! Reads HTTP/1.1 requests from the bytes of a connection.

use std::io;

use serde::Deserialize;

/// The most header fields a request may have.
const MAX_HEADERS: usize = 64;

/// A request that arrived completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// The fields of a body that matter here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    pub(crate) stream: bool,
    #[serde(default)]
    pub(crate) max_tokens: Option<u32>,
    #[serde(default)]
    pub(crate) stream_options: Option<StreamOptions>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct StreamOptions {
    #[serde(default)]
    pub(crate) include_usage: bool,
}

impl Request {
    /// The first request in `input` and how many bytes it takes; `None` while it is incomplete.
    ///
    /// # Errors
    /// When the bytes are no HTTP request.
    pub(crate) fn parse(input: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut fields);
        let head_len = match head.parse(input).map_err(invalid)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let headers: Vec<(String, String)> = head
            .headers
            .iter()
            .map(|field| {
                (
                    field.name.to_ascii_lowercase(),
                    String::from_utf8_lossy(field.value).into_owned(),
                )
            })
            .collect();
        let rest = input.get(head_len..).unwrap_or_default();
        let Some((body, body_len)) = body(&headers, rest)? else {
            return Ok(None);
        };
        let request = Self {
            method: head.method.unwrap_or_default().to_owned(),
            path: head.path.unwrap_or_default().to_owned(),
            headers,
            body,
        };
        Ok(Some((request, head_len + body_len)))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The path without the query.
    pub(crate) fn route(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// What the body asks for.
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub(crate) fn asked(&self) -> serde_json::Result<Asked> {
        serde_json::from_slice(&self.body)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// The body and how many bytes of `rest` it takes; `None` while it is incomplete.
fn body(headers: &[(String, String)], rest: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    if find(headers, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        return chunked(rest);
    }
    let length: usize = match find(headers, "content-length") {
        Some(value) => value.trim().parse().map_err(invalid)?,
        None => 0,
    };
    Ok(rest.get(..length).map(|body| (body.to_vec(), length)))
}

fn chunked(rest: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let ahead = rest.get(at..).unwrap_or_default();
        let parsed = httparse::parse_chunk_size(ahead).map_err(|_| invalid("bad chunk size"))?;
        let httparse::Status::Complete((line, size)) = parsed else {
            return Ok(None);
        };
        let size = usize::try_from(size).map_err(invalid)?;
        at += line;
        // The data, or for the last chunk no trailers, and a line end.
        let Some(data) = rest.get(at..at + size + 2) else {
            return Ok(None);
        };
        body.extend_from_slice(&data[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_complete_at_its_last_byte_and_not_before() {
        for text in [
            "POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nX-Fake: cut=3\r\nContent-Length: 5\r\n\r\nhello",
            "POST /v1/x?y=1 HTTP/1.1\r\nhost: a\r\nx-fake: cut=3\r\nTransfer-Encoding: chunked\r\n\
             \r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ] {
            for end in 0..text.len() {
                assert_eq!(
                    Request::parse(&text.as_bytes()[..end]).unwrap(),
                    None,
                    "{end} of {text:?}"
                );
            }
            let next = format!("{text}GET / HTTP/1.1\r\n");
            let (request, length) = Request::parse(next.as_bytes()).unwrap().unwrap();
            assert_eq!(length, text.len());
            assert_eq!(request.body, b"hello");
            assert_eq!(
                (request.method.as_str(), request.route()),
                ("POST", "/v1/x")
            );
            assert_eq!(request.header("x-fake"), Some("cut=3"));
        }
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(Request::parse(b"\x16\x03\x01 TLS hello\r\n\r\n").is_err());
        assert!(Request::parse(b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n").is_err());
        assert!(
            Request::parse(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").is_err()
        );
    }

    #[test]
    fn reads_what_a_body_asks_for() {
        let asked = |body: &str| serde_json::from_str::<Asked>(body).unwrap();
        assert!(!asked(r#"{"messages":[{"content":"\"stream\":true"}]}"#).stream);
        let all = asked(
            r#"{"stream":true,"max_tokens":7,"stream_options":{"include_usage":true},"n":1}"#,
        );
        assert!(all.stream && all.stream_options.unwrap().include_usage);
        assert_eq!(all.max_tokens, Some(7));
    }
}
