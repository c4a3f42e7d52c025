//! Header names this project adds; all lower case, as HTTP libraries keep them.

use http::HeaderName;

/// Names one request through every hop and log line.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The node that answered.
pub const NODE: HeaderName = HeaderName::from_static("x-llorch-node");
/// The pool that answered.
pub const POOL: HeaderName = HeaderName::from_static("x-llorch-pool");
/// The replica that answered.
pub const REPLICA: HeaderName = HeaderName::from_static("x-llorch-replica");
/// How many endpoints were tried.
pub const ATTEMPTS: HeaderName = HeaderName::from_static("x-llorch-attempts");
/// How long the request waited for a slot, in milliseconds.
pub const QUEUE_MS: HeaderName = HeaderName::from_static("x-llorch-queue-ms");
/// On a request to a node: the model asked for, so that the node need not read the body.
pub const MODEL: HeaderName = HeaderName::from_static("x-llorch-model");
/// On a request to a node: a gateway has sent it. It ends at the node. A gateway that receives it
/// stands where a node should, and refuses the request instead of sending it on in a circle.
pub const VIA: HeaderName = HeaderName::from_static("x-llorch-via");
/// On a request to a node: the replica that the gateway has chosen. The node uses another one of
/// the pool when that one is gone, full or draining, and says which one it was with [`REPLICA`]. It
/// ends at the node; a client's is removed.
pub const REPLICA_HINT: HeaderName = HeaderName::from_static("x-llorch-replica-hint");
/// On a node's answer: the free slots just now of the replica that it names.
pub const REPLICA_SLOTS_FREE: HeaderName = HeaderName::from_static("x-llorch-replica-slots-free");
/// On a node's answer: the slots of the replica that it names.
pub const REPLICA_SLOTS_TOTAL: HeaderName = HeaderName::from_static("x-llorch-replica-slots-total");
/// On a node's answer: its pool's free slots just now.
pub const SLOTS_FREE: HeaderName = HeaderName::from_static("x-llorch-slots-free");
/// On a node's answer: its pool's slots.
pub const SLOTS_TOTAL: HeaderName = HeaderName::from_static("x-llorch-slots-total");
/// On a node's own refusal: the error code, so that the control plane need not read the body.
pub const REFUSAL: HeaderName = HeaderName::from_static("x-llorch-refusal");
/// On a node's refusal: how many of its engines may have begun with the request before. Without it,
/// none has.
pub const EXECUTIONS: HeaderName = HeaderName::from_static("x-llorch-executions");
/// With a 429: when to try again, in milliseconds.
pub const BACKOFF_MS: HeaderName = HeaderName::from_static("x-backoff-ms");
