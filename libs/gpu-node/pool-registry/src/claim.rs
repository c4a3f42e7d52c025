//! Why a slot was not given.

use std::sync::Arc;

use pool_registry_types::ErrorCode;
use thiserror::Error;

/// Why a slot was not given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClaimError {
    /// The node has no such pool.
    #[error("there is no such pool on this node")]
    UnknownPool,
    /// The pool has engines, and none of them serves the model.
    #[error("no engine of this pool serves the model")]
    ModelNotAvailable,
    /// Every slot that could serve the request is taken.
    #[error("every slot is taken")]
    Busy,
    /// The pool or the node takes no new requests.
    #[error("the pool is draining")]
    Draining,
    /// No engine that could serve the request is ready; the reason is for people.
    #[error("no engine is ready: {0}")]
    NotReady(Arc<str>),
}

impl ClaimError {
    /// The code a caller is answered with.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownPool => ErrorCode::NotFound,
            Self::ModelNotAvailable => ErrorCode::ModelNotAvailable,
            Self::Busy => ErrorCode::PoolBusy,
            Self::Draining => ErrorCode::PoolDraining,
            Self::NotReady(_) => ErrorCode::PoolUnavailable,
        }
    }
}
