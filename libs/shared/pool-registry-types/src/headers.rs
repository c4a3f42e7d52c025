//! Names of the headers that this project adds; all lower case, as HTTP libraries store them.

use http::HeaderName;

/// The id of a request, through every hop and log line.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The same id, under the name that Anthropic's clients read.
pub const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// The node that served the request.
pub const NODE: HeaderName = HeaderName::from_static("x-llorch-node");
/// The pool that served the request.
pub const POOL: HeaderName = HeaderName::from_static("x-llorch-pool");
/// The replica that served the request.
pub const REPLICA: HeaderName = HeaderName::from_static("x-llorch-replica");
/// How many endpoints were tried.
pub const ATTEMPTS: HeaderName = HeaderName::from_static("x-llorch-attempts");
/// How long the request waited for a slot, in milliseconds.
pub const QUEUE_MS: HeaderName = HeaderName::from_static("x-llorch-queue-ms");
/// On a request to a node: the requested model, so that the node need not read the body.
pub const MODEL: HeaderName = HeaderName::from_static("x-llorch-model");
/// On a request to a node: a gateway sent it. The node does not forward it. A gateway that receives
/// it has the address of a node, and refuses the request instead of forwarding it in a loop.
pub const VIA: HeaderName = HeaderName::from_static("x-llorch-via");
/// On a request to a node: the replica that the gateway chose. The node uses another one of the
/// pool if that one is gone, full or draining, and names the one that it used in [`REPLICA`]. The
/// node does not forward it; a client's is removed.
pub const REPLICA_HINT: HeaderName = HeaderName::from_static("x-llorch-replica-hint");
/// On a request to a node: only the replica in [`REPLICA_HINT`] may serve it, because it holds what
/// the request is about. A node without a slot of that replica refuses. The node does not forward
/// it; a client's is removed. Nodes that do not know it take the replica as a hint.
pub const REPLICA_ONLY: HeaderName = HeaderName::from_static("x-llorch-replica-only");
/// On a request to a node: how long the gateway waits for the first byte of the answer, in
/// milliseconds, where that is longer than usual. The node waits at least as long. It does not
/// forward it; a client's is removed.
pub const FIRST_BYTE_MS: HeaderName = HeaderName::from_static("x-llorch-first-byte-ms");
/// On a node's response: the free slots of the replica that it names.
pub const REPLICA_SLOTS_FREE: HeaderName = HeaderName::from_static("x-llorch-replica-slots-free");
/// On a node's response: the slots of the replica that it names.
pub const REPLICA_SLOTS_TOTAL: HeaderName = HeaderName::from_static("x-llorch-replica-slots-total");
/// On a node's response: the free slots of its pool.
pub const SLOTS_FREE: HeaderName = HeaderName::from_static("x-llorch-slots-free");
/// On a node's response: the slots of its pool.
pub const SLOTS_TOTAL: HeaderName = HeaderName::from_static("x-llorch-slots-total");
/// On a node's own refusal: the error code, so that the control plane need not read the body.
pub const REFUSAL: HeaderName = HeaderName::from_static("x-llorch-refusal");
/// On a node's refusal: how many of its engines may have begun to execute the request. Absent:
/// none.
pub const EXECUTIONS: HeaderName = HeaderName::from_static("x-llorch-executions");
/// With a 429: when to try again, in milliseconds.
pub const BACKOFF_MS: HeaderName = HeaderName::from_static("x-backoff-ms");

/// The headers about one limit of a key, as OpenAI names them.
#[derive(Debug)]
pub struct RateLimitHeaders {
    /// The limit of a minute, or of a day.
    pub limit: HeaderName,
    /// What is left of it.
    pub remaining: HeaderName,
    /// When all of it is there again, such as `1m0s`.
    pub reset: HeaderName,
}

/// The headers about requests and about tokens.
pub static RATE_LIMITS: [RateLimitHeaders; 2] = [
    RateLimitHeaders {
        limit: HeaderName::from_static("x-ratelimit-limit-requests"),
        remaining: HeaderName::from_static("x-ratelimit-remaining-requests"),
        reset: HeaderName::from_static("x-ratelimit-reset-requests"),
    },
    RateLimitHeaders {
        limit: HeaderName::from_static("x-ratelimit-limit-tokens"),
        remaining: HeaderName::from_static("x-ratelimit-remaining-tokens"),
        reset: HeaderName::from_static("x-ratelimit-reset-tokens"),
    },
];
