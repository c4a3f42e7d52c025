//! The head of a response, and how its body ends.

use std::{mem::MaybeUninit, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
};

use super::{body::BodyDecoder, error::ProtocolError};
use crate::hop_by_hop::HopByHop;

/// The longest head that is read.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most headers of a head.
pub const MAX_HEADERS: usize = 128;
/// How much earlier than the upstream announces a connection is no longer used. A request that is
/// sent on time must also arrive on time.
const IDLE_MARGIN: Duration = Duration::from_secs(1);
/// Room for headers that a gateway adds, so that the map need not grow.
const ADDED_HEADERS: usize = 6;

/// The head of a response.
#[derive(Debug)]
#[non_exhaustive]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The end-to-end headers. A `Content-Length` among them is the one that counts.
    pub headers: HeaderMap,
    pub(crate) body: BodyDecoder,
    /// Whether the connection may carry another request after the body.
    pub(crate) keep_alive: bool,
    /// How long the connection may then be idle, where the upstream says so.
    pub(crate) idle_limit: Option<Duration>,
}

/// Parses the head at the beginning of `input` and returns it with its length; `None` while it is
/// incomplete.
///
/// `method` is that of the request: the response to `HEAD` has no body, whatever its headers say.
pub(crate) fn parse_head(
    input: &[u8],
    method: &Method,
) -> Result<Option<(ResponseHead, usize)>, ProtocolError> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    // The default refuses folded lines, white space before a colon, NUL and bare CR.
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, input, &mut room)
        .map_err(ProtocolError::Head)?;
    let httparse::Status::Complete(length) = status else {
        return if input.len() > MAX_HEAD_BYTES {
            Err(ProtocolError::HeadTooLarge(MAX_HEAD_BYTES))
        } else {
            Ok(None)
        };
    };
    let bad = ProtocolError::Head(httparse::Error::Status);
    let status = StatusCode::from_u16(parsed.code.ok_or(bad)?).map_err(|_| bad)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(ProtocolError::SwitchedProtocols);
    }
    let version = match parsed.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    // One copy; all values are slices of it.
    let bytes = Bytes::copy_from_slice(&input[..length]);
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + ADDED_HEADERS);
    let (mut framing, mut hop_by_hop) = (FramingHeaders::default(), HopByHop::default());
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| ProtocolError::Head(httparse::Error::HeaderName))?;
        framing.read(&name, header.value)?;
        if hop_by_hop.contains(&name, header.value) {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(slice_of(&bytes, input, header.value))
            .map_err(|_| ProtocolError::Head(httparse::Error::HeaderValue))?;
        headers.append(name, value);
    }
    let body = framing.body(method, status, version)?;
    let keep_alive = body != BodyDecoder::UntilClose
        && !framing.close
        && !framing.is_ambiguous(status)
        && (version != Version::HTTP_10 || framing.keep_alive);
    match framing.forwarded_length(status) {
        ForwardedLength::AsReceived => {}
        ForwardedLength::Is(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        ForwardedLength::Removed => {
            headers.remove(CONTENT_LENGTH);
        }
    }
    hop_by_hop.remove_named(&mut headers);
    let head = ResponseHead {
        status,
        headers,
        body,
        keep_alive,
        idle_limit: framing.idle_limit,
    };
    Ok(Some((head, length)))
}

/// The headers that frame the message and decide about the connection.
#[derive(Debug, Default)]
struct FramingHeaders {
    /// The length that all `Content-Length` headers agree on.
    length: Option<u64>,
    /// The length is repeated or has leading zeros, so it is rewritten for the next recipient.
    is_length_unusual: bool,
    /// `Transfer-Encoding` is present and is `chunked`.
    chunked: bool,
    close: bool,
    keep_alive: bool,
    idle_limit: Option<Duration>,
}

/// The `Content-Length` that the caller sees.
enum ForwardedLength {
    AsReceived,
    Is(u64),
    Removed,
}

impl FramingHeaders {
    fn read(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), ProtocolError> {
        let options = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if *name == CONTENT_LENGTH {
            for text in options() {
                let length = number(text).ok_or(ProtocolError::ContentLength)?;
                if self.length.is_some_and(|earlier| earlier != length) {
                    return Err(ProtocolError::ContentLength);
                }
                self.is_length_unusual |=
                    self.length.is_some() || (text.starts_with(b"0") && text.len() > 1);
                self.length = Some(length);
            }
        } else if *name == TRANSFER_ENCODING {
            // Only `chunked`, once. The request has no `TE`, so no other coding is acceptable
            // (RFC 9112, section 7.4).
            if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(ProtocolError::TransferCoding);
            }
            self.chunked = true;
        } else if *name == CONNECTION {
            self.close |= options().any(|option| option.eq_ignore_ascii_case(b"close"));
            self.keep_alive |= options().any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
        } else if name.as_str() == "keep-alive" {
            options().for_each(|option| self.read_keep_alive(option));
        }
        Ok(())
    }

    /// Reads `timeout=5` or `max=100`. Anything else means nothing.
    fn read_keep_alive(&mut self, parameter: &[u8]) {
        let Some(at) = parameter.iter().position(|byte| *byte == b'=') else {
            return;
        };
        let name = parameter[..at].trim_ascii();
        match number(parameter[at + 1..].trim_ascii()) {
            Some(seconds) if name.eq_ignore_ascii_case(b"timeout") => {
                self.idle_limit = Some(Duration::from_secs(seconds).saturating_sub(IDLE_MARGIN));
            }
            // The number of further requests.
            Some(0) if name.eq_ignore_ascii_case(b"max") => self.close = true,
            _ => {}
        }
    }

    /// How the body ends (RFC 9112, section 6.3).
    fn body(
        &self,
        method: &Method,
        status: StatusCode,
        version: Version,
    ) -> Result<BodyDecoder, ProtocolError> {
        if self.chunked && version == Version::HTTP_10 {
            return Err(ProtocolError::TransferEncoding);
        }
        if never_has_a_body(status) || *method == Method::HEAD {
            return Ok(BodyDecoder::EMPTY);
        }
        Ok(match (self.chunked, self.length) {
            (true, _) => BodyDecoder::CHUNKED,
            (false, Some(length)) => BodyDecoder::Length(length),
            (false, None) => BodyDecoder::UntilClose,
        })
    }

    /// Whether another recipient may find another end of this message (RFC 9112, section 11.2).
    /// Then the connection is not reused.
    fn is_ambiguous(&self, status: StatusCode) -> bool {
        let has_length = self.length.is_some_and(|length| length > 0);
        (self.chunked && self.length.is_some())
            || (status == StatusCode::NO_CONTENT && (self.chunked || has_length))
    }

    /// A length is forwarded only if it frames this message: not beside a transfer coding (RFC
    /// 9112, section 6.3), and not with a status that has no body (RFC 9110, section 8.6). In a
    /// response to `HEAD` it is the length that `GET` would have.
    fn forwarded_length(&self, status: StatusCode) -> ForwardedLength {
        match self.length {
            _ if self.chunked || never_has_a_body(status) => ForwardedLength::Removed,
            Some(length) if self.is_length_unusual => ForwardedLength::Is(length),
            _ => ForwardedLength::AsReceived,
        }
    }
}

/// Whether a response with this status has no body, whatever its headers say (RFC 9112, section
/// 6.3).
fn never_has_a_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The slice of `copy` that corresponds to `part`, where `part` is a slice of `input` and `copy` a
/// copy of the beginning of `input`.
fn slice_of(copy: &Bytes, input: &[u8], part: &[u8]) -> Bytes {
    let start = part.as_ptr().addr().wrapping_sub(input.as_ptr().addr());
    if part.is_empty() || start >= copy.len() || copy.len() - start < part.len() {
        return Bytes::copy_from_slice(part);
    }
    copy.slice(start..start + part.len())
}

/// Accepts digits only: with a sign, the next recipient may read another number.
fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Result<ResponseHead, ProtocolError> {
        let (head, length) = parse_head(text.as_bytes(), &Method::POST)?.expect("a whole head");
        assert_eq!(length, text.len());
        Ok(head)
    }

    // spec: PATH-81
    #[test]
    fn an_upstream_limits_how_long_its_connection_is_kept() {
        let secs = |secs| Some(Duration::from_secs(secs));
        for (line, keep_alive, idle_limit) in [
            ("Keep-Alive: timeout=5, max=100", true, secs(4)),
            ("keep-alive: Timeout = 60", true, secs(59)),
            ("Keep-Alive: max=1,timeout=1", true, secs(0)),
            ("Keep-Alive: timeout=0", true, secs(0)),
            ("Keep-Alive: timeout=5, max=0", false, secs(4)),
            ("Keep-Alive: timeout=5\r\nConnection: close", false, secs(4)),
            ("Keep-Alive: timeout=-1", true, None),
            ("Keep-Alive: timeout=, max=, =3, x", true, None),
            ("Keep-Alive:", true, None),
            ("X-A: timeout=5", true, None),
        ] {
            let head = head(&format!("HTTP/1.1 204 No Content\r\n{line}\r\n\r\n")).unwrap();
            assert_eq!(
                (head.keep_alive, head.idle_limit),
                (keep_alive, idle_limit),
                "{line}"
            );
        }
    }

    #[test]
    fn the_headers_frame_the_body() {
        use BodyDecoder::{Length, UntilClose};
        for (lines, body, keep_alive) in [
            ("200 OK\r\nContent-Length: 5", Length(5), true),
            (
                "200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5",
                Length(5),
                true,
            ),
            (
                "200 OK\r\nContent-Length: 5\r\nConnection: x, Close",
                Length(5),
                false,
            ),
            (
                "200 OK\r\nTransfer-Encoding: Chunked",
                BodyDecoder::CHUNKED,
                true,
            ),
            (
                "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
                BodyDecoder::CHUNKED,
                false,
            ),
            ("200 OK", UntilClose, false),
            ("204 No Content", Length(0), true),
            ("204 No Content\r\nContent-Length: 5", Length(0), false),
            (
                "204 No Content\r\nTransfer-Encoding: chunked",
                Length(0),
                false,
            ),
            ("304 Not Modified\r\nContent-Length: 5", Length(0), true),
            ("103 Early Hints", Length(0), true),
        ] {
            let head = head(&format!("HTTP/1.1 {lines}\r\n\r\n")).unwrap();
            assert_eq!((head.body, head.keep_alive), (body, keep_alive), "{lines}");
        }
        let (response, _) = parse_head(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            &Method::HEAD,
        )
        .unwrap()
        .unwrap();
        assert_eq!((response.body, response.keep_alive), (Length(0), true));
        assert_eq!(response.headers["content-length"], "5");
        for (lines, keep_alive) in [("", false), ("\r\nConnection: keep-alive", true)] {
            let head = head(&format!(
                "HTTP/1.0 200 OK\r\nContent-Length: 5{lines}\r\n\r\n"
            ))
            .unwrap();
            assert_eq!(head.keep_alive, keep_alive, "{lines}");
        }
    }

    #[test]
    fn an_invalid_head_is_refused() {
        for (text, error) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
                ProtocolError::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5, 6",
                ProtocolError::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +5",
                ProtocolError::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: ",
                ProtocolError::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
                ProtocolError::ContentLength,
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
                ProtocolError::TransferEncoding,
            ),
            (
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x",
                ProtocolError::SwitchedProtocols,
            ),
            (
                "HTTP/1.1 200 OK\r\nX : 1",
                ProtocolError::Head(httparse::Error::HeaderName),
            ),
            (
                "HTTP/1.1 200 OK\r\nX: 1\r\n 2",
                ProtocolError::Head(httparse::Error::HeaderName),
            ),
            (
                "HTTP/1.1 200 OK\r\nX: a\0b",
                ProtocolError::Head(httparse::Error::HeaderValue),
            ),
            (
                "HTTP/1.1 200 OK\r\nX: a\rb",
                ProtocolError::Head(httparse::Error::HeaderValue),
            ),
            (
                "HTTP/1.1 099 No",
                ProtocolError::Head(httparse::Error::Status),
            ),
            ("SSH-2.0-x", ProtocolError::Head(httparse::Error::Version)),
        ] {
            let parsed = parse_head(format!("{text}\r\n\r\n").as_bytes(), &Method::POST);
            assert_eq!(parsed.map(|_| ()).unwrap_err(), error, "{text}");
        }
    }

    // spec: PATH-21
    #[test]
    fn a_transfer_coding_other_than_chunked_alone_is_refused() {
        for codings in [
            "identity",
            "xchunked",
            "chunked, chunked",
            "chunked\r\nTransfer-Encoding: chunked",
            "identity\r\nTransfer-Encoding: chunked",
            "gzip, chunked",
            "chunked, gzip",
            "chunked;q=1",
            ",chunked",
            "\"chunked\"",
            "chunked\u{b}",
            "",
        ] {
            for length in ["", "Content-Length: 5\r\n"] {
                for (status, method) in [
                    ("200 OK", Method::POST),
                    ("204 No", Method::POST),
                    ("200 OK", Method::HEAD),
                ] {
                    let text = format!(
                        "HTTP/1.1 {status}\r\n{length}Transfer-Encoding: {codings}\r\n\r\n"
                    );
                    let parsed = parse_head(text.as_bytes(), &method).map(|_| ());
                    let is_refused = matches!(
                        parsed,
                        Err(ProtocolError::TransferCoding | ProtocolError::Head(_))
                    );
                    assert!(is_refused, "{text:?}: {parsed:?}");
                }
            }
        }
    }

    // spec: PATH-21
    #[test]
    fn the_forwarded_length_is_the_effective_one() {
        for (lines, method, length) in [
            ("200 OK\r\nContent-Length: 5", Method::POST, Some("5")),
            ("200 OK\r\nContent-Length: 5, 5", Method::POST, Some("5")),
            (
                "200 OK\r\nContent-Length: 5\r\nContent-Length: 5",
                Method::POST,
                Some("5"),
            ),
            ("200 OK\r\nContent-Length: 005", Method::POST, Some("5")),
            ("200 OK\r\nContent-Length: 0", Method::POST, Some("0")),
            ("200 OK\r\nContent-Length: 5", Method::HEAD, Some("5")),
            (
                "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
                Method::HEAD,
                None,
            ),
            (
                "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
                Method::POST,
                None,
            ),
            ("204 No\r\nContent-Length: 5", Method::POST, None),
            ("304 No\r\nContent-Length: 5", Method::POST, None),
        ] {
            let text = format!("HTTP/1.1 {lines}\r\n\r\n");
            let (head, _) = parse_head(text.as_bytes(), &method).unwrap().unwrap();
            let forwarded: Vec<_> = head.headers.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(forwarded, Vec::from_iter(length), "{lines}");
        }
    }

    #[test]
    fn hop_by_hop_headers_are_removed() {
        let head = head(
            "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: \
             timeout=5\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\nX-Empty:\r\nX-Mine: \
             \u{e9}\r\n\r\n",
        )
        .unwrap();
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["x-empty", "x-mine"]);
        assert_eq!(head.headers["x-mine"].as_bytes(), "\u{e9}".as_bytes());
    }

    #[test]
    fn an_endless_head_is_refused_at_its_limit() {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MAX_HEAD_BYTES));
        for (input, is_refused) in [(&endless[..100], false), (&endless, true)] {
            let parsed = parse_head(input.as_bytes(), &Method::POST).map(|head| head.is_some());
            let expected = if is_refused {
                Err(ProtocolError::HeadTooLarge(MAX_HEAD_BYTES))
            } else {
                Ok(false)
            };
            assert_eq!(parsed, expected);
        }
    }

    proptest! {
        #[test]
        fn any_lines_are_parsed_or_refused(
            lines in prop::collection::vec("[ -~]{0,30}", 0..6),
            trailing in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let text = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", lines.join("\r\n"));
            let input = [text.as_bytes(), &trailing].concat();
            if let Ok(Some((_, length))) = parse_head(&input, &Method::GET) {
                prop_assert!(length <= input.len());
            }
        }
    }
}
