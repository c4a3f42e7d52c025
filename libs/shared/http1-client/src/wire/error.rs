//! What makes a response invalid.

/// The upstream sent something that is not HTTP/1.x as RFC 9112 defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The status line or a header is malformed.
    #[error("the head cannot be read: {0}")]
    Head(httparse::Error),
    /// The head is longer than this many bytes.
    #[error("the head has more than {0} bytes")]
    HeadTooLarge(usize),
    /// `Content-Length` is not a number, or several values differ.
    #[error("Content-Length is not one number")]
    ContentLength,
    /// `Transfer-Encoding` is not exactly `chunked`. This client asks for no other coding, and the
    /// next recipient would not learn of it.
    #[error("Transfer-Encoding is not chunked alone")]
    TransferCoding,
    /// 101 ends HTTP on the connection. This client never sends `Upgrade`.
    #[error("the response switches to a protocol that was not requested")]
    SwitchedProtocols,
    /// More interim responses (1xx) than this came before the final one.
    #[error("more than {0} interim responses")]
    TooManyInterim(u8),
    /// HTTP/1.0 has no `Transfer-Encoding`.
    #[error("Transfer-Encoding in a response of HTTP/1.0")]
    TransferEncoding,
    /// A chunk does not begin with its size in hexadecimal digits.
    #[error("a chunk has no valid size")]
    ChunkSize,
    /// A line of a chunk does not end with CR LF.
    #[error("a line of a chunk does not end with CR LF")]
    ChunkEnd,
    /// Chunk extensions or trailers exceed their limit.
    #[error("chunk extensions or trailers are too long")]
    ChunkOverhead,
}
