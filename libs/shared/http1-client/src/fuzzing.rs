//! Entry points for the fuzz targets: the parsers of an upstream's bytes. Not a part of the API.

use http::{HeaderMap, Method, StatusCode};

use crate::{
    ProtocolError,
    wire::{self, BodyDecoder},
};

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Its length in bytes.
    pub length: usize,
    /// The status.
    pub status: StatusCode,
    /// The end-to-end headers.
    pub headers: HeaderMap,
    /// The body, before its first byte.
    pub body: ResponseBody,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
}

/// Parses the head at the beginning of `input`; `None` while it is incomplete.
///
/// # Errors
/// When it is not HTTP/1.x.
pub fn parse_head(input: &[u8], method: &Method) -> Result<Option<ResponseHead>, ProtocolError> {
    let parsed = wire::parse_head(input, method)?;
    Ok(parsed.map(|(head, length)| ResponseHead {
        length,
        status: head.status,
        headers: head.headers,
        body: ResponseBody(head.body),
        keep_alive: head.keep_alive,
    }))
}

/// How the end of a body is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By its length in bytes.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// A decoder of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseBody(BodyDecoder);

impl ResponseBody {
    /// A decoder before the first byte of a body with this framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(length) => BodyDecoder::Length(length),
            Framing::Chunked => BodyDecoder::CHUNKED,
            Framing::UntilClose => BodyDecoder::UntilClose,
        })
    }

    /// The framing; a length is what is left.
    #[must_use]
    pub fn framing(&self) -> Framing {
        match &self.0 {
            BodyDecoder::Length(left) => Framing::Length(*left),
            BodyDecoder::Chunked(_) => Framing::Chunked,
            BodyDecoder::UntilClose => Framing::UntilClose,
        }
    }

    /// Whether the body is known to be complete.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.is_complete()
    }

    /// Whether the end of the connection is a proper end of the body.
    #[must_use]
    pub fn may_end_here(&self) -> bool {
        self.0.may_end_here()
    }

    /// The bytes still to come, if known.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        self.0.bytes_left()
    }

    /// Appends the body bytes of `input` to `out`, and returns the bytes after the end of the body.
    ///
    /// # Errors
    /// When it is not HTTP/1.x.
    pub fn decode<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<&'a [u8], ProtocolError> {
        self.0.decode(input, out)
    }
}
