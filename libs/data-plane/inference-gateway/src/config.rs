//! The gateway's settings.

use placement::Strategy;
use stream_proxy::Timeouts;

use crate::aliases::Aliases;

/// The largest request body: a dozen images inline.
pub(crate) const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// Settings of a [`Gateway`](crate::Gateway).
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// How to choose among free endpoints.
    pub strategy: Strategy,
    /// Other names for models.
    pub aliases: Aliases,
    /// The largest request body in bytes.
    pub max_body_bytes: usize,
    /// Time limits for each attempt.
    pub timeouts: Timeouts,
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
