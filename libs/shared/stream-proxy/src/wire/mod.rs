//! HTTP/1.1 as a client speaks it: pure functions and state machines over bytes, without a socket
//! or a clock.
//!
//! Our own, and not hyper's client, because a token's way is what this project is measured by:
//! hyper decodes one chunk at a time and hands each through a channel, while [`BodyDecoder`] takes
//! all chunks of a read in one pass.

mod body;
mod request;
mod response;

pub(crate) use body::{BodyDecoder, MAX_AROUND_BYTES, MAX_SIZE_DIGITS};
pub(crate) use request::encode_head;
pub(crate) use response::{Head, MAX_HEAD_BYTES, MAX_HEADERS, parse_head};

/// What an upstream sent that is not HTTP/1.x as RFC 9112 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHttp {
    /// The status line or a header cannot be read.
    #[error("the head cannot be read: {0}")]
    Head(httparse::Error),
    /// The head is longer than the bytes named.
    #[error("the head has more than {0} bytes")]
    HeadTooLarge(usize),
    /// `Content-Length` is no number, or there are several that differ.
    #[error("Content-Length is not one number")]
    ContentLength,
    /// `Transfer-Encoding` is not `chunked`, once and alone. It was not asked for, and whoever
    /// reads the answer next would not learn how it is coded.
    #[error("Transfer-Encoding is not chunked alone")]
    TransferCoding,
    /// 101, which ends HTTP on the connection. `Upgrade` is never sent on.
    #[error("the answer switches to a protocol that was not asked for")]
    SwitchedProtocols,
    /// More interim answers (1xx) than the number named came before the final one.
    #[error("more than {0} interim answers")]
    TooManyInterim(u8),
    /// `Transfer-Encoding` in an answer of a version that does not have it.
    #[error("Transfer-Encoding in an answer of HTTP/1.0")]
    TransferEncoding,
    /// A chunk does not begin with its size in hexadecimal digits.
    #[error("a chunk has no valid size")]
    ChunkSize,
    /// Something else than a line's end stands where one must be.
    #[error("a line of a chunk does not end as it must")]
    ChunkEnd,
    /// Chunk extensions or trailers are longer than anybody needs.
    #[error("chunk extensions or trailers are too long")]
    TooMuchAround,
}
