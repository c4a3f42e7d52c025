//! The limits of this API, for documents.

use pool_registry_types::limits::Limit;

/// The most nodes of one answer, also without `limit`. A node with a pool takes about a
/// kilobyte.
pub const MAX_PAGE_NODES: usize = 1000;

/// All limits.
pub const LIMITS: &[Limit] = &[Limit::new("MAX_PAGE_NODES", MAX_PAGE_NODES as u64, "nodes")
    .because("The nodes of one answer, also when no `limit` is given.")
    .enforced_by("GET /v2/nodes, GET /v2/pools, GET /v2/gpus")
    .beyond(
        "`next_after` names the last one, and `?after=` continues behind it; a larger `limit` is \
         400 INVALID_REQUEST",
    )];
