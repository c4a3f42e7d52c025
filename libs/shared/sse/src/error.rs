//! The error of a stream whose events exceed their limit.

use thiserror::Error;

/// An event exceeds its limit. The rest of the stream cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an event of more than {max_bytes} bytes")]
pub struct EventTooLong {
    /// The limit.
    pub max_bytes: usize,
}
