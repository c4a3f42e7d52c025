//! Entry points for the fuzz targets: what reads an upstream's bytes, as this crate uses it. Not a
//! part of the API.

use http::{HeaderMap, Method, StatusCode};

use crate::{
    NotHttp,
    wire::{self, BodyDecoder},
};

/// The head of an upstream's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Its bytes.
    pub length: usize,
    /// The status.
    pub status: StatusCode,
    /// The headers that go on.
    pub headers: HeaderMap,
    /// Where the body ends.
    pub body: ResponseBody,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
}

/// Reads the head at the beginning of `input`; `None` while it is not whole.
///
/// # Errors
/// When it is not HTTP/1.x.
pub fn parse_head(input: &[u8], method: &Method) -> Result<Option<ResponseHead>, NotHttp> {
    let parsed = wire::parse_head(input, method)?;
    Ok(parsed.map(|(head, length)| ResponseHead {
        length,
        status: head.status,
        headers: head.headers,
        body: ResponseBody(head.body),
        keep_alive: head.keep_alive,
    }))
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By so many bytes.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// A body that is being decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseBody(BodyDecoder);

impl ResponseBody {
    /// A body with this framing, before its first byte.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(length) => BodyDecoder::Length(length),
            Framing::Chunked => BodyDecoder::CHUNKED,
            Framing::UntilClose => BodyDecoder::UntilClose,
        })
    }

    /// How its end is known; of a length what is left.
    #[must_use]
    pub fn framing(&self) -> Framing {
        match &self.0 {
            BodyDecoder::Length(left) => Framing::Length(*left),
            BodyDecoder::Chunked(_) => Framing::Chunked,
            BodyDecoder::UntilClose => Framing::UntilClose,
        }
    }

    /// Whether it is known to be over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// Whether the connection may end here.
    #[must_use]
    pub fn may_end_here(&self) -> bool {
        self.0.may_end_here()
    }

    /// The bytes still to come, where that is known.
    #[must_use]
    pub fn exact(&self) -> Option<u64> {
        self.0.exact()
    }

    /// Adds what `input` has of the body to `out`, and returns what stands behind the body's end.
    ///
    /// # Errors
    /// When it is not HTTP/1.x.
    pub fn decode<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], NotHttp> {
        self.0.decode(input, out)
    }
}
