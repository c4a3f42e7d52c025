//! The table of what bounds the readers of the page's stream, for documents.

use pool_registry_types::limits::Limit;

use crate::LiveConfig;

/// All of them.
pub const LIMITS: &[Limit] = &[Limit::new(
    "LiveConfig::max_clients",
    LiveConfig::DEFAULT.max_clients as u64,
    "readers",
)
.because("Pages that listen at a time.")
.enforced_by("GET /v2/live")
.beyond("503 TOO_MANY_CONNECTIONS")];
