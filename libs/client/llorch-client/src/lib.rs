//! A blocking client of `orchestratord`: what operators see and steer, events that resume, chats
//! with their timing.
//!
//! It needs no async runtime, so it fits a command line tool or a thread of any program. Every
//! answer is read with a bound on its size and its time, and every failure is a [`ClientError`]
//! that says which server it was about. The token travels as a header only and is in no error and
//! no `Debug` output.
//!
//! ```no_run
//! use llorch_client::{Client, NodesQuery, Settings};
//!
//! # fn main() -> Result<(), llorch_client::ClientError> {
//! let client = Client::new(Settings::new("http://localhost:8080".parse().unwrap()));
//! for node in client.nodes(&NodesQuery::default())?.read()?.nodes {
//!     println!("{} is {}", node.node_id, node.status);
//! }
//! # Ok(())
//! # }
//! ```

mod chat;
mod client;
pub mod clock;
mod error;
mod events;
mod follow;
mod pages;
mod served;
mod sse_event;
mod status;
mod target;
mod task;
mod transport;
mod view;

pub use chat::{Chat, ChatRequest, ChatStream, Message, Piece, Timing, Whole};
pub use client::{Client, Settings};
pub use error::ClientError;
pub use events::Events;
pub use follow::{Follow, Followed};
pub use pages::NodesQuery;
pub use served::{Routing, Served};
pub use sse_event::SseEvent;
pub use status::{
    FleetEvent, ModelLoad, NodeCounts, Percentiles, RecentError, SlotCounts, Status, Traffic,
};
pub use target::{PoolTarget, Target, TargetError};
pub use task::{TaskAccepted, TaskState};
pub use transport::Json;
pub use view::{
    Candidate, Catalog, Drain, DrainBegun, Explained, Gpu, Gpus, Model, Node, NodePool, Nodes,
    Pool, Pools, Quarantine, Replica,
};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
