//! The HTTP API of a GPU node: its pools, and the guarded way to its engines.
//!
//! | route | answer |
//! |---|---|
//! | `GET /v2/gpus` | the GPUs as the last heartbeat told them |
//! | `GET /v2/pools` | every pool as the heartbeat tells it, and the handoffs that were refused |
//! | `GET /v2/pools/{id}` | one of them, with the requests that still run |
//! | `POST /v2/pools/{id}/drain`, `/undrain` | no new requests, running ones finish; remembered across restarts |
//! | `POST /v2/pools/{id}/replicas/{id}/drain`, `/undrain` | the same of one of its engines |
//! | `POST /v2/pools/{id}/restart`, `/reload` | its engines afresh, answered when they are; where this node starts them |
//! | any method `/v2/pools/{id}/engine/{path}` | forwarded to an engine of the pool, or refused at once |
//!
//! Engines listen on loopback and have no idea of limits; this is the only way to them from
//! outside. A request claims a slot before it goes on, so that no engine ever sees more at once
//! than it has slots for; it is tried on another engine of the pool when nobody listens at the
//! first. Without a free slot it is refused at once (`503` with `POOL_BUSY` or `POOL_DRAINING`),
//! because the queue is the control plane's.
//!
//! A request may name the replica that the control plane has chosen (`X-Llorch-Replica-Hint`). The
//! node uses that one when it can take the request, and another one of the pool otherwise. Every
//! answer names the replica that was used, with its free and total slots and those of the pool, so
//! that the control plane's view is corrected in passing.
//!
//! [`Dispatcher`] is that way. [`DataPath`] opens it over HTTP; a gateway in the same process uses
//! it directly, as a [`NodeTransport`](node_transport::NodeTransport).

mod control;
mod data_path;
mod dispatch;
mod drains;
mod local_control;
mod metrics;
mod not_served;
#[cfg(feature = "openapi")]
mod openapi;
mod pools;
mod refusal;
mod slot;
mod transport;

pub use control::{Change, Engines, Gpus, routes};
pub use data_path::{DataPath, NodeBody};
pub use dispatch::{DataPathConfig, Dispatcher};
pub use drains::{DrainError, DrainProgress, Drains, DrainsWriter};
pub use local_control::LocalControl;
pub use metrics::NodeMetrics;
#[cfg(feature = "openapi")]
pub use openapi::openapi;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
