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
    /// Without those that are meant for this connection only.
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyDecoder,
    /// Whether the connection may carry another request once the body has been read.
    pub(crate) keep_alive: bool,
}

/// Reads the head at the beginning of `input`, and says how long it is; `None` while it is not
/// whole.
///
/// `method` is that of the request: the answer to `HEAD` has no body, whatever it says of one.
pub(crate) fn parse_head(input: &[u8], method: &Method) -> Result<Option<(Head, usize)>, NotHttp> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    // By default it refuses folded lines, white space before a colon, and NUL or a bare CR
    // anywhere.
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
    if status == StatusCode::SWITCHING_PROTOCOLS {
        // `Upgrade` never goes on, so nobody asked for it.
        return Err(NotHttp::SwitchedProtocols);
    }
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
        && !said.close
        && !said.contradicts_itself(status)
        && (version != Version::HTTP_10 || said.keep_alive);
    match said.length_for_the_next_hop(status) {
        LengthHeader::AsReceived => {}
        LengthHeader::Is(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        LengthHeader::Removed => {
            headers.remove(CONTENT_LENGTH);
        }
    }
    ends_here.remove_named(&mut headers);
    let head = Head {
        status,
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
    /// The length is written in another way than the next recipient should see it: several times,
    /// or with leading zeros.
    odd_length: bool,
    /// There is a `Transfer-Encoding`, and it is `chunked`.
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

/// What becomes of `Content-Length` at the next hop.
enum LengthHeader {
    AsReceived,
    Is(u64),
    Removed,
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
                self.odd_length |=
                    self.length.is_some() || (text.starts_with(b"0") && text.len() > 1);
                self.length = Some(length);
            }
        } else if *name == TRANSFER_ENCODING {
            // `chunked` once and nothing else. `TE` never goes on, so no other coding was
            // acceptable (RFC 9112, section 7.4); this hop does not decode others, and
            // the next one would not learn of them.
            if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(NotHttp::TransferCoding);
            }
            self.chunked = true;
        } else if *name == CONNECTION {
            self.close |= options().any(|option| option.eq_ignore_ascii_case(b"close"));
            self.keep_alive |= options().any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
        }
        Ok(())
    }

    /// How the end of the body is told (RFC 9112, section 6.3).
    fn framing(
        &self,
        method: &Method,
        status: StatusCode,
        version: Version,
    ) -> Result<BodyDecoder, NotHttp> {
        if self.chunked && version == Version::HTTP_10 {
            return Err(NotHttp::TransferEncoding);
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

    /// Whether other recipients may see another end of this message than this one does (RFC 9112,
    /// section 11.2): what follows on the connection cannot be trusted.
    fn contradicts_itself(&self, status: StatusCode) -> bool {
        let has_length = self.length.is_some_and(|length| length > 0);
        (self.chunked && self.length.is_some())
            || (status == StatusCode::NO_CONTENT && (self.chunked || has_length))
    }

    /// A length goes on only where it says how this message ends: not beside a transfer coding (RFC
    /// 9112, section 6.3), and not where there is never a body (RFC 9110, section 8.6). An
    /// answer to `HEAD` tells of another one's body.
    fn length_for_the_next_hop(&self, status: StatusCode) -> LengthHeader {
        match self.length {
            _ if self.chunked || never_has_a_body(status) => LengthHeader::Removed,
            Some(length) if self.odd_length => LengthHeader::Is(length),
            _ => LengthHeader::AsReceived,
        }
    }
}

/// Whatever the headers say (RFC 9112, section 6.3).
fn never_has_a_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
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
        let (asked, _) = parse_head(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            &Method::HEAD,
        )
        .unwrap()
        .unwrap();
        assert_eq!((asked.body, asked.keep_alive), (Length(0), true));
        assert_eq!(asked.headers["content-length"], "5");
        for (lines, keep_alive) in [("", false), ("\r\nConnection: keep-alive", true)] {
            let head = head(&format!(
                "HTTP/1.0 200 OK\r\nContent-Length: 5{lines}\r\n\r\n"
            ))
            .unwrap();
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
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5, 6",
                NotHttp::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +5",
                NotHttp::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: ",
                NotHttp::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
                NotHttp::ContentLength,
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
                NotHttp::TransferEncoding,
            ),
            (
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x",
                NotHttp::SwitchedProtocols,
            ),
            (
                "HTTP/1.1 200 OK\r\nX : 1",
                NotHttp::Head(httparse::Error::HeaderName),
            ),
            (
                "HTTP/1.1 200 OK\r\nX: 1\r\n 2",
                NotHttp::Head(httparse::Error::HeaderName),
            ),
            (
                "HTTP/1.1 200 OK\r\nX: a\0b",
                NotHttp::Head(httparse::Error::HeaderValue),
            ),
            (
                "HTTP/1.1 200 OK\r\nX: a\rb",
                NotHttp::Head(httparse::Error::HeaderValue),
            ),
            ("HTTP/1.1 099 No", NotHttp::Head(httparse::Error::Status)),
            ("SSH-2.0-x", NotHttp::Head(httparse::Error::Version)),
        ] {
            let answer = parse_head(format!("{text}\r\n\r\n").as_bytes(), &Method::POST);
            assert_eq!(answer.map(|_| ()).unwrap_err(), error, "{text}");
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
                    let answer = parse_head(text.as_bytes(), &method).map(|_| ());
                    let refused = matches!(answer, Err(NotHttp::TransferCoding | NotHttp::Head(_)));
                    assert!(refused, "{text:?}: {answer:?}");
                }
            }
        }
    }

    // spec: PATH-21
    #[test]
    fn the_length_that_goes_on_is_the_one_that_counts() {
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
            let told: Vec<_> = head.headers.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(told, Vec::from_iter(length), "{lines}");
        }
    }

    #[test]
    fn what_is_for_this_connection_goes_no_further() {
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
