//! Join tokens, and the certificates of nodes that joined: a pure core.
//!
//! [`JoinState`] is the state. An [`Event`] and the time change it, and the [`Effect`]s say what to
//! store. It knows digests only: tokens are made and shown by its caller.

mod error;
mod host;
mod limits;
mod state;
mod token;

pub use crate::{
    error::{JoinError, JoinTokenError},
    host::is_of_every_machine,
    limits::{
        DEFAULT_LIFETIME, LIMITS, MAX_JOIN_TOKENS, MAX_JOINED_NODES, MAX_LIFETIME,
        MAX_NODE_LIFETIME, MAX_USES,
    },
    state::{Effect, Event, JoinState, NewJoinToken},
    token::{IssuedCertificate, JoinToken, NodeCredentials},
};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
