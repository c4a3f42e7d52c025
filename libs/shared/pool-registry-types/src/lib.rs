//! The wire contract between GPU nodes and the control plane.
//!
//! Every message between two processes of this project is a type of this crate: identifiers, the
//! handoff file that announces an engine, the register and heartbeat messages, the error envelope,
//! and the names of headers. It does no I/O and has no clock, so any Rust service can depend on it.
//!
//! * **A value that exists is valid.** Identifiers, URLs, names of models and texts are checked
//!   where they are built, also while they are deserialised; the error names the field and says
//!   what would be right. A message type has a constructor for its required fields, and a twin
//!   `Unvalidated…` that serde reads first where fields depend on one another. `bound()` cuts the
//!   lists of a message before it is sent.
//! * **Unknown fields are ignored**, because node and control plane are upgraded separately. New
//!   fields are optional, so the short form of a message always works. Structs are
//!   `#[non_exhaustive]`, so a new field breaks no caller.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod client_api;
mod duration;
mod engine_kind;
pub mod engine_path;
mod error;
mod gpu;
mod handoff;
pub mod headers;
mod health;
mod heartbeat;
mod id;
mod invalid;
mod join;
mod key_file;
pub mod limits;
mod models;
mod node;
mod pool;
mod refused;
mod register;
mod replica;
#[cfg(feature = "openapi")]
pub mod schema;
mod shared_str;
mod slots;
mod spiffe;
mod text;
mod url;

pub use duration::millis;
pub use engine_kind::{EngineKind, KnownEngine};
pub use error::{ErrorBody, ErrorCode, ErrorEnvelope, OpenAiError, OpenAiErrorBody};
pub use gpu::{Gpu, GpuStatus};
pub use handoff::Handoff;
pub use health::{HealthAnswer, ORCHESTRATORD, POOL_MANAGERD};
pub use heartbeat::{HeartbeatRequest, HeartbeatResponse};
pub use id::{BootId, IdError, MachineId, NodeId, PoolId, ReplicaId, SessionId, TaskId};
pub use invalid::InvalidField;
pub use join::{CertificateRequest, Challenge, JoinRequest, JoinResponse, PemText, SecretText};
pub use key_file::KeyFile;
pub use limits::{
    MAX_CONTEXT_LENGTH, MAX_GPUS, MAX_HANDOFF_BYTES, MAX_ID_BYTES, MAX_MODEL_NAME_BYTES,
    MAX_MODELS, MAX_NODE_BODY_BYTES, MAX_PATH_BYTES, MAX_PEM_BYTES, MAX_POOLS, MAX_REPLICAS,
    MAX_SLOTS, MAX_TEXT_BYTES,
};
pub use models::{ModelName, bounded_models, is_model_name, usable_models};
pub use node::{Ack, DrainRequest, NodeStatus};
pub use pool::PoolStatus;
pub use refused::RefusedHandoff;
pub use register::{Capabilities, RegisterRequest, RegisterResponse};
pub use replica::{EngineLoad, ReplicaStatus};
pub use slots::Slots;
pub use spiffe::{CONTROL_PLANE_URI, node_of_uri, node_uri};
pub use text::{ErrorText, Text, lines, not_this, one_line, quoted};
pub use url::{HttpUrl, UrlError};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
