//! The wire contract between GPU nodes and the control plane.
//!
//! Everything two processes of this project say to each other is a type of this crate: identifiers,
//! the handoff file that announces an engine, the register and heartbeat messages, the error
//! envelope, and the names of the headers. It does no I/O and owns no clock, so any Rust service
//! can depend on it.
//!
//! Two rules hold throughout:
//!
//! * **A value that exists is valid.** Identifiers, URLs and messages are checked while they are
//!   deserialised; the error names the field and says what would be right.
//! * **Unknown fields are ignored**, because node and control plane are upgraded separately. New
//!   fields are optional, so the short form of a message always works.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod engine_path;
mod error;
mod gpu;
mod handoff;
pub mod headers;
mod health;
mod id;
pub mod limits;
mod node;
mod pool;
#[cfg(feature = "openapi")]
pub mod schema;
mod text;
mod url;

pub use error::{ErrorBody, ErrorCode, ErrorEnvelope, OpenAiError, OpenAiErrorBody};
pub use gpu::{Gpu, GpuStatus};
pub use handoff::Handoff;
pub use health::{HealthAnswer, ORCHESTRATORD, POOL_MANAGERD};
pub use id::{EngineKind, IdError, MachineId, NodeId, PoolId, ReplicaId, SessionId, TaskId};
pub use limits::{
    MAX_GPUS, MAX_HANDOFF_BYTES, MAX_ID_BYTES, MAX_MODEL_NAME_BYTES, MAX_MODELS,
    MAX_NODE_BODY_BYTES, MAX_POOLS, MAX_REPLICAS, MAX_SLOTS, MAX_TEXT_BYTES,
};
pub use node::{
    Ack, Capabilities, DrainRequest, HeartbeatRequest, HeartbeatResponse, NodeStatus,
    RegisterRequest, RegisterResponse,
};
pub use pool::{EngineLoad, PoolStatus, ReplicaStatus, is_model_name, usable_models};
pub use text::{lines, one_line};
pub use url::{HttpUrl, UrlError};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
