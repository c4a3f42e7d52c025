//! A blocking client of `orchestratord`: operator views and actions, event streams that resume, and
//! chats with their timing.
//!
//! It needs no async runtime, so it fits a command line tool or a thread of any program. Every
//! response has a limit on its size. Control requests have a timeout. Every failure is a
//! [`ClientError`] that names the server. The token is sent as a header, and is in no error and no
//! `Debug` output.
//!
//! ```no_run
//! use llorch_client::{Client, NodesQuery};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://localhost:8080".parse()?);
//! for node in client.nodes(&NodesQuery::default())?.read()?.nodes {
//!     println!("{} is {}", node.node_id, node.status);
//! }
//! # Ok(())
//! # }
//! ```

mod chat;
mod client;
mod clock;
mod drain_target;
mod error;
mod event_stream;
mod join_tokens;
mod keys;
mod pagination;
mod resources;
mod response;
mod routing;
mod state;
mod status;
mod subscription;
mod task;
mod transport;
mod usage;

pub use bearer_auth::{AccessToken, ApiToken, HighestPriority, KeyLimitsChange, TokenError};
pub use chat::{ChatCompletion, ChatDelta, ChatRequest, ChatStream, ChatSummary, ChatTiming};
pub use chat::{Message, Role};
pub use client::{Client, ClientBuilder};
pub use drain_target::{DrainTarget, DrainTargetError, PoolTarget};
pub use error::ClientError;
pub use event_stream::ServerEvent;
pub use join_tokens::{JoinToken, JoinTokens, NewJoinToken, NewJoinTokenAnswer};
pub use keys::{Key, KeyLimits, KeyWithToken, Keys, NewKey};
pub use pagination::NodesQuery;
pub use pool_registry_types::{
    ErrorCode, ErrorText, HttpUrl, ModelName, NodeId, NodeStatus, PoolId, ReplicaId, TaskId, Text,
};
pub use resources::{
    Catalog, Drain, DrainStarted, Gpu, Gpus, Model, Node, NodePool, Nodes, PlacementCandidate,
    PlacementExplanation, Pool, Pools, Quarantine, RefusedNode, Replica,
};
pub use response::Response;
pub use routing::{RequestPriority, RoutingOptions, ServedBy};
pub use status::{
    FleetEvent, ModelLoad, NodeCounts, Percentiles, RecentError, SlotCounts, Status, Traffic,
};
pub use subscription::{EventSubscription, SubscriptionUpdate};
pub use task::{TaskAccepted, TaskState};
pub use usage::{UsageFilter, UsageList, UsageRow};

/// The Rust of the README is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
