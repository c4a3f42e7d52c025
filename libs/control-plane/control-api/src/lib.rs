//! The control plane's HTTP API: nodes, pools and the model catalog.
//!
//! [`ControlApi`] is an axum router over a [`RegistryHandle`](registry_runtime::RegistryHandle). It
//! holds no state and takes no decision: each handler is one call and one view. What the data path
//! knows of endpoints, and what only a node can do, comes through lookups and a [`NodeControl`]
//! that the binary wires. The HOME profile differs in one thing: nodes do not join over HTTP, so
//! registrations, heartbeats and deregistrations are answered 503 `CLOUD_PROFILE_DISABLED`.
//!
//! | route | for |
//! |---|---|
//! | `POST /v2/nodes/register`, `POST /v2/nodes/{id}/heartbeat`, `DELETE /v2/nodes/{id}` | nodes |
//! | `GET /v2/nodes`, `GET /v2/nodes/{id}` | operators |
//! | `POST /v2/nodes/{id}/drain`, `…/undrain`, `POST /v2/pools/{node}/{pool}/drain`, `…/undrain` | operators |
//! | `POST /v2/pools/{node}/{pool}/replicas/{replica}/drain`, `…/undrain`, `POST /v2/pools/{node}/{pool}/restart`, `…/reload` | operators; the node carries them out |
//! | `GET /v2/gpus`, `GET /v2/pools`, `GET /v2/catalog/availability` | everybody |
//! | `GET /v2/status`, `GET /v2/events`, `GET /v2/sd/prometheus` | everybody who watches |
//!
//! [`ControlApi::heartbeats_before`] answers heartbeats ahead of the router, which a large fleet
//! needs.
//!
//! Authentication is a layer around it. Merge it with other routers and then give the whole to
//! [`http_server::with_fallbacks`].

mod discovery;
mod errors;
mod events;
mod forwarded;
mod heartbeats;
mod limits;
mod node_control;
mod nodes;
#[cfg(feature = "openapi")]
mod openapi;
mod operators;
mod pages;
mod query;
mod routes;
mod status;
mod view;

pub use discovery::TargetGroup;
pub use events::EventsAnswer;
pub use heartbeats::Heartbeats;
pub use limits::{LIMITS, MAX_PAGE_NODES};
pub use node_control::{NodeControl, NodeReply};
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use query::NodesQuery;
pub use routes::ControlApi;
pub use status::{
    DataPathLookup, DataPathView, ModelLoad, ModelStatus, NodeCounts, PercentilesAnswer,
    RecentErrorAnswer, SlotCounts, StatusAnswer, TrafficAnswer,
};
pub use view::{
    CatalogAnswer, DrainAnswer, DrainBegunAnswer, GpuAnswer, GpusAnswer, ModelAnswer, NodeAnswer,
    NodePoolAnswer, NodesAnswer, PoolAnswer, PoolsAnswer, QuarantineLookup, QuarantineView,
    ReplicaAnswer, RunningLookup,
};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
