//! The HTTP API of a GPU node: its pools, and the data path to its engines.
//!
//! | route | response |
//! |---|---|
//! | `GET /v2/gpus` | the GPUs of the last heartbeat |
//! | `GET /v2/pools` | all pools as in a heartbeat, and the refused handoffs |
//! | `GET /v2/pools/{id}` | one pool, with its running requests |
//! | `POST /v2/pools/{id}/drain`, `/undrain` | stops new requests; survives restarts |
//! | `POST /v2/pools/{id}/replicas/{id}/drain`, `/undrain` | the same for one engine |
//! | `POST /v2/pools/{id}/restart`, `/reload` | replaces the engines that this node started |
//! | any method `/v2/pools/{id}/engine/{path}` | forwards to an engine of the pool, or refuses |
//!
//! Engines listen on loopback and enforce no limits. The data path is the only way to them from
//! outside. A request claims a slot first, so that no engine gets more requests at once than it has
//! slots. When an engine cannot be reached, the request goes to another one of the pool. Without a
//! free slot the node refuses at once (`503` with `POOL_BUSY` or `POOL_DRAINING`), because only the
//! control plane queues.
//!
//! A request may name the replica that the control plane has chosen (`X-Llorch-Replica-Hint`). The
//! node uses that replica if it can take the request, and another one of the pool otherwise. Every
//! response names the replica that was used, with its free and total slots and those of the pool,
//! which corrects the control plane's view.
//!
//! [`Dispatcher`] implements this. [`DataPath`] serves it over HTTP; a gateway in the same process
//! uses it directly, as a [`NodeTransport`](node_transport::NodeTransport).

mod control;
mod data_path;
mod dispatch;
mod dispatch_error;
mod drains;
mod local_control;
mod metrics;
#[cfg(feature = "openapi")]
mod openapi;
mod pools;
mod refusal;
mod slot;
mod transport;

pub use control::{EngineChange, EngineControl, Gpus, routes};
pub use data_path::{DataPath, NodeBody};
pub use dispatch::{DataPathConfig, Dispatcher};
pub use drains::{DrainError, DrainProgress, Drains, DrainsWriter};
pub use local_control::LocalControl;
pub use metrics::NodeMetrics;
#[cfg(feature = "openapi")]
pub use openapi::openapi;

/// The README's examples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
