//! The control plane's HTTP API: nodes, pools and the model catalog.
//!
//! [`ControlApi`] is an axum router over a [`RegistryHandle`](registry_runtime::RegistryHandle). It
//! holds no state and decides nothing: each handler is one call and one view. The binary connects
//! it with the data path ([`DataPathSource`]) and with nodes ([`NodeControl`]). In the HOME profile
//! nodes do not join over HTTP: registrations, heartbeats and deregistrations are answered 503
//! `CLOUD_PROFILE_DISABLED`.
//!
//! | route | for |
//! |---|---|
//! | `POST /v2/nodes/register`, `POST /v2/nodes/{id}/heartbeat`, `DELETE /v2/nodes/{id}` | nodes |
//! | `GET /v2/nodes`, `GET /v2/nodes/{id}` | operators |
//! | `POST /v2/nodes/{id}/drain`, `…/undrain` | operators |
//! | `POST /v2/pools/{node}/{pool}/drain`, `…/undrain` | operators |
//! | `POST /v2/pools/{node}/{pool}/replicas/{replica}/drain`, `…/undrain` | operators; forwarded |
//! | `POST /v2/pools/{node}/{pool}/restart`, `…/reload` | operators; forwarded to the node |
//! | `GET /v2/gpus`, `GET /v2/pools`, `GET /v2/catalog/availability` | clients |
//! | `GET /v2/status`, `GET /v2/events`, `GET /v2/sd/prometheus` | monitoring |
//!
//! [`ControlApi::heartbeats_before`] answers heartbeats ahead of the router, because a large fleet
//! sends little else.
//!
//! Authentication is a layer around it. Merge it with other routers, and pass the result to
//! [`http_server::with_fallbacks`].

mod api;
mod capacity;
mod data_path;
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
mod traffic;
mod view;

pub use api::ControlApi;
pub use data_path::{DataPathSource, DataPathView, ModelLoad, QuarantineView};
pub use discovery::TargetGroup;
pub use events::EventsAnswer;
pub use heartbeats::Heartbeats;
pub use limits::{LIMITS, MAX_PAGE_NODES};
pub use node_control::{NodeControl, NodeReply};
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use query::NodesQuery;
pub use status::{ModelStatus, NodeCounts, StatusAnswer};
pub use traffic::{PercentilesAnswer, RecentErrorAnswer, SlotCounts, TrafficAnswer};
pub use view::{
    CatalogAnswer, DrainAnswer, DrainBegunAnswer, GpuAnswer, GpusAnswer, ModelAnswer, NodeAnswer,
    NodePoolAnswer, NodesAnswer, PoolAnswer, PoolsAnswer, RefusedHandoffAnswer, RefusedNodeAnswer,
    ReplicaAnswer,
};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
