//! The table of what bounds the readers of the page's stream, for documents.

use pool_registry_types::limits::Limit;

use crate::LiveConfig;

/// All of them.
pub const LIMITS: &[Limit] = &[
    Limit::new(
        "LiveConfig::max_clients",
        LiveConfig::DEFAULT.max_clients as u64,
        "readers",
    )
    .because("Pages that are connected at the same time.")
    .enforced_by("GET /v2/live")
    .beyond("503 TOO_MANY_CONNECTIONS"),
    Limit::new(
        "LiveConfig::max_nodes",
        LiveConfig::DEFAULT.max_nodes as u64,
        "nodes",
    )
    .because(
        "Nodes that the page lists, those that are not online first. Its counts are of all of \
         them.",
    )
    .enforced_by("GET /v2/live")
    .beyond("the page says how many it does not list, and finds one of them by its id"),
];
