//! The gateway's settings.

use std::time::Duration;

use placement::Strategy;
use stream_proxy::Timeouts;
use tokio::time::Instant;

use crate::aliases::Aliases;

/// The largest request body: a dozen images inline.
pub(crate) const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// How long an unstreamed answer may take if its client sets no deadline. It has no first byte
/// before the engine has generated the last token. OpenAI's and Anthropic's SDKs wait as long.
pub(crate) const UNSTREAMED_LIMIT: Duration = Duration::from_secs(600);

/// Settings of a [`Gateway`](crate::Gateway).
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// How to choose among free endpoints.
    pub strategy: Strategy,
    /// Other names for models.
    pub aliases: Aliases,
    /// The largest request body in bytes.
    pub max_body_bytes: usize,
    /// Time limits for each attempt. The one for the first byte is that of streams.
    pub timeouts: Timeouts,
}

impl GatewayConfig {
    /// The time limits of a request. An unstreamed one has its client's deadline, else
    /// [`UNSTREAMED_LIMIT`].
    pub(crate) fn timeouts_of(&self, is_stream: bool, deadline: Option<Instant>) -> Timeouts {
        let first_byte = match (is_stream, deadline) {
            (true, _) => self.timeouts.first_byte,
            (false, None) => self.timeouts.first_byte.max(UNSTREAMED_LIMIT),
            // The deadline comes first.
            (false, Some(_)) => Timeouts::LONGEST,
        };
        Timeouts {
            first_byte,
            deadline,
            ..self.timeouts
        }
    }
}

impl Default for GatewayConfig {
    /// Least-loaded, no aliases, 32 MiB (a dozen images inline), the proxy's timeouts.
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            aliases: Aliases::default(),
            max_body_bytes: MAX_BODY_BYTES,
            timeouts: Timeouts::default(),
        }
    }
}
