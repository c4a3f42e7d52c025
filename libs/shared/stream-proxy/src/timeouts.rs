//! How long each part of a request may take.

use std::time::Duration;

use tokio::time::Instant;

/// How long a request may take, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect. A machine of the same network answers within a millisecond, or is gone.
    pub connect: Duration,
    /// From the connection to the first byte of the response body.
    pub first_byte: Duration,
    /// Between two frames of the response.
    pub between_frames: Duration,
    /// The caller's deadline for everything.
    pub deadline: Option<Instant>,
    /// How long the connection may be idle after the response and still serve another request.
    /// Shorter than the upstream keeps it, so that no request meets a closing connection.
    pub idle: Duration,
}

impl Timeouts {
    /// Longer than any request: a year, so that a sum with the present time stays valid.
    pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
}

impl Default for Timeouts {
    /// 1 s to connect, 120 s to the first byte (prompts are long), 60 s between frames, no
    /// deadline, 4 s idle: `llama-server` and vLLM close idle connections after 5 s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(120),
            between_frames: Duration::from_secs(60),
            deadline: None,
            idle: Duration::from_secs(4),
        }
    }
}
