//! The head of an answer: what it says, and where its body will end.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
};

use super::{BodyDecoder, NotHttp};
use crate::headers::EndsHere;

/// The longest head that is read.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most headers it may have.
pub(crate) const MAX_HEADERS: usize = 128;
/// Room for headers that whoever passes the answer on adds, so that the map need not grow.
const ROOM_FOR_MORE: usize = 6;

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    /// Without those that are meant for this connection only.
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyDecoder,
    /// Whether the connection may carry another request once the body has been read.
    pub(crate) keep_alive: bool,
}

/// Reads the head at the beginning of `input`, and says how long it is; `None` while it is not whole.
///
/// `method` is that of the request: the answer to `HEAD` has no body, whatever it says of one.
pub(crate) fn parse_head(input: &[u8], method: &Method) -> Result<Option<(Head, usize)>, NotHttp> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, input, &mut room)
        .map_err(NotHttp::Head)?;
    let httparse::Status::Complete(length) = status else {
        return if input.len() > MAX_HEAD_BYTES {
            Err(NotHttp::HeadTooLarge(MAX_HEAD_BYTES))
        } else {
            Ok(None)
        };
    };
    let bad = NotHttp::Head(httparse::Error::Status);
    let status = StatusCode::from_u16(parsed.code.ok_or(bad)?).map_err(|_| bad)?;
    let version = match parsed.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    // One copy for all values, which are parts of it.
    let bytes = Bytes::copy_from_slice(&input[..length]);
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + ROOM_FOR_MORE);
    let (mut said, mut ends_here) = (Said::default(), EndsHere::default());
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| NotHttp::Head(httparse::Error::HeaderName))?;
        said.hear(&name, header.value)?;
        if ends_here.meet(&name, header.value) {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(part_of(&bytes, input, header.value))
            .map_err(|_| NotHttp::Head(httparse::Error::HeaderValue))?;
        headers.append(name, value);
    }
    let body = said.framing(method, status, version)?;
    let keep_alive = body != BodyDecoder::UntilClose
        && status != StatusCode::SWITCHING_PROTOCOLS
        && !said.close
        && (version != Version::HTTP_10 || said.keep_alive);
    if matches!(body, BodyDecoder::Chunked(_)) {
        // RFC 9112, section 6.3: the coding counts, and what contradicts it goes no further.
        headers.remove(CONTENT_LENGTH);
    }
    ends_here.remove_named(&mut headers);
    let head = Head {
        status,
        version,
        headers,
        body,
        keep_alive,
    };
    Ok(Some((head, length)))
}

/// What the headers say of the message itself.
#[derive(Debug, Default)]
struct Said {
    /// The one length that all `Content-Length` headers agree on.
    length: Option<u64>,
    /// There is a `Transfer-Encoding`; whether its last coding is `chunked`.
    chunked: Option<bool>,
    close: bool,
    keep_alive: bool,
}

impl Said {
    fn hear(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), NotHttp> {
        let options = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if *name == CONTENT_LENGTH {
            for text in options() {
                let length = number(text).ok_or(NotHttp::ContentLength)?;
                if self.length.is_some_and(|told| told != length) {
                    return Err(NotHttp::ContentLength);
                }
                self.length = Some(length);
            }
        } else if *name == TRANSFER_ENCODING {
            let last = options().next_back().unwrap_or_default();
            self.chunked = Some(last.eq_ignore_ascii_case(b"chunked"));
        } else if *name == CONNECTION {
            self.close |= options().any(|option| option.eq_ignore_ascii_case(b"close"));
            self.keep_alive |= options().any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
        }
        Ok(())
    }

    /// How the end of the body is told (RFC 9112, section 6.3).
    fn framing(&self, method: &Method, status: StatusCode, version: Version) -> Result<BodyDecoder, NotHttp> {
        let has_none =
            status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if has_none || *method == Method::HEAD {
            return Ok(BodyDecoder::EMPTY);
        }
        Ok(match (self.chunked, self.length) {
            (Some(_), _) if version == Version::HTTP_10 => return Err(NotHttp::TransferEncoding),
            (Some(true), _) => BodyDecoder::CHUNKED,
            (None, Some(length)) => BodyDecoder::Length(length),
            (Some(false), _) | (None, None) => BodyDecoder::UntilClose,
        })
    }
}

/// What `part`, a part of `input`, is of `copy`, which is a copy of `input`'s beginning.
fn part_of(copy: &Bytes, input: &[u8], part: &[u8]) -> Bytes {
    let start = part.as_ptr().addr().wrapping_sub(input.as_ptr().addr());
    if part.is_empty() || start >= copy.len() || copy.len() - start < part.len() {
        return Bytes::copy_from_slice(part);
    }
    copy.slice(start..start + part.len())
}

/// Digits only: a parser that takes a sign as well sees another number than the next hop.
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

    fn head(text: &str) -> Result<Head, NotHttp> {
        let (head, length) = parse_head(text.as_bytes(), &Method::POST)?.expect("a whole head");
        assert_eq!(length, text.len());
        Ok(head)
    }

    #[test]
    fn where_the_body_ends() {
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
            ("200 OK\r\nTransfer-Encoding: Chunked", BodyDecoder::CHUNKED, true),
            (
                "200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 5",
                BodyDecoder::CHUNKED,
                true,
            ),
            ("200 OK\r\nTransfer-Encoding: chunked, gzip", UntilClose, false),
            ("200 OK", UntilClose, false),
            ("204 No Content\r\nContent-Length: 5", Length(0), true),
            ("304 Not Modified", Length(0), true),
            ("103 Early Hints", Length(0), true),
            ("101 Switching Protocols\r\nConnection: upgrade", Length(0), false),
        ] {
            let head = head(&format!("HTTP/1.1 {lines}\r\n\r\n")).unwrap();
            assert_eq!((head.body, head.keep_alive), (body, keep_alive), "{lines}");
        }
        let (asked, _) = parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &Method::HEAD)
            .unwrap()
            .unwrap();
        assert_eq!((asked.body, asked.keep_alive), (Length(0), true));
        assert_eq!(asked.headers["content-length"], "5");
        for (lines, keep_alive) in [("", false), ("\r\nConnection: keep-alive", true)] {
            let head = head(&format!("HTTP/1.0 200 OK\r\nContent-Length: 5{lines}\r\n\r\n")).unwrap();
            assert_eq!(head.keep_alive, keep_alive, "{lines}");
        }
    }

    #[test]
    fn a_head_that_contradicts_itself_is_refused() {
        for (text, error) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
                NotHttp::ContentLength,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 6", NotHttp::ContentLength),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5", NotHttp::ContentLength),
            ("HTTP/1.1 200 OK\r\nContent-Length: ", NotHttp::ContentLength),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
                NotHttp::ContentLength,
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
                NotHttp::TransferEncoding,
            ),
            ("HTTP/1.1 099 No", NotHttp::Head(httparse::Error::Status)),
            ("SSH-2.0-x", NotHttp::Head(httparse::Error::Version)),
        ] {
            let answer = parse_head(format!("{text}\r\n\r\n").as_bytes(), &Method::POST);
            assert_eq!(answer.map(|_| ()).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn what_is_for_this_connection_goes_no_further() {
        let head = head(
            "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
             Transfer-Encoding: chunked\r\nContent-Length: 9\r\nX-Empty:\r\nX-Mine: \u{e9}\r\n\r\n",
        )
        .unwrap();
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["x-empty", "x-mine"]);
        assert_eq!(head.headers["x-mine"].as_bytes(), "\u{e9}".as_bytes());
    }

    #[test]
    fn a_head_without_end_is_waited_for_and_then_refused() {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MAX_HEAD_BYTES));
        for (input, refused) in [(&endless[..100], false), (&endless, true)] {
            let answer = parse_head(input.as_bytes(), &Method::POST).map(|head| head.is_some());
            let expected = if refused {
                Err(NotHttp::HeadTooLarge(MAX_HEAD_BYTES))
            } else {
                Ok(false)
            };
            assert_eq!(answer, expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            lines in prop::collection::vec("[ -~]{0,30}", 0..6),
            behind in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let text = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", lines.join("\r\n"));
            let input = [text.as_bytes(), &behind].concat();
            if let Ok(Some((_, length))) = parse_head(&input, &Method::GET) {
                prop_assert!(length <= input.len());
            }
        }
    }
}
