//! The control plane's HTTP API: nodes, pools and the model catalog.
//!
//! [`ControlApi`] is an axum router over a [`RegistryHandle`](registry_runtime::RegistryHandle), for what nodes and
//! operators say and see, and over the [`RoutingTable`](routing_table::RoutingTable), for what the data path sees.
//! It holds no state and takes no decision: each handler is one call and one view. In the HOME profile there is no
//! registry, and the routes that need one answer 503 `CLOUD_PROFILE_DISABLED`.
//!
//! | route | for |
//! |---|---|
//! | `POST /v2/nodes/register`, `POST /v2/nodes/{id}/heartbeat`, `DELETE /v2/nodes/{id}` | nodes |
//! | `GET /v2/nodes`, `GET /v2/nodes/{id}` | operators |
//! | `POST /v2/nodes/{id}/drain`, `…/undrain`, `POST /v2/pools/{node}/{pool}/drain`, `…/undrain` | operators |
//! | `GET /v2/gpus`, `GET /v2/pools`, `GET /v2/catalog/availability` | everybody, in every profile |
//! | `GET /v2/status`, `GET /v2/events`, `GET /v2/sd/prometheus` | everybody who watches, in every profile |
//!
//! Authentication is a layer around it. Merge it with other routers and then give the whole to
//! [`http_server::with_fallbacks`].

mod discovery;
mod errors;
mod events;
mod nodes;
#[cfg(feature = "openapi")]
mod openapi;
mod operators;
mod routes;
mod status;
mod view;

pub use discovery::TargetGroup;
pub use events::EventsAnswer;
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use routes::ControlApi;
pub use status::{
    DataPathLookup, DataPathView, ModelLoad, ModelStatus, NodeCounts, PercentilesAnswer, RecentErrorAnswer,
    SlotCounts, StatusAnswer, TrafficAnswer,
};
pub use view::{
    CatalogAnswer, DrainAnswer, DrainBegunAnswer, GpuAnswer, GpusAnswer, ModelAnswer, NodeAnswer,
    NodePoolAnswer, NodesAnswer, PoolAnswer, PoolsAnswer, QuarantineLookup, QuarantineView, RunningLookup,
};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
