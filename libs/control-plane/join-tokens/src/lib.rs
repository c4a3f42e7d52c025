//! Join tokens and revoked nodes: a pure core.
//!
//! [`JoinState`] is the state. An [`Event`] and the time change it, and the [`Effect`]s say what to
//! store. It knows digests only: tokens are made and shown by its caller.

mod error;
mod limits;
mod state;
mod token;

pub use crate::{
    error::{JoinError, JoinTokenError},
    limits::{
        DEFAULT_LIFETIME, LIMITS, MAX_JOIN_TOKENS, MAX_LIFETIME, MAX_NODE_LIFETIME, MAX_USES,
    },
    state::{Effect, Event, JoinState, NewJoinToken},
    token::{JoinToken, RevokedNode},
};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
