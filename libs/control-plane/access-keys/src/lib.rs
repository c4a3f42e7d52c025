//! The keys of a control plane's clients: a pure core.
//!
//! [`AccessKeys`] is the state. An [`Event`] and the time change it, and the [`Effect`]s say what
//! to store. It knows digests only: tokens are made and shown by its caller.

mod core;
mod error;
mod key;
mod limits;

pub use crate::{
    core::{AccessKeys, Effect, Event, KeysPage, NewKey, Rotation},
    error::KeyError,
    key::{AccessKey, PreviousToken},
    limits::{DEFAULT_OVERLAP, LIMITS, MAX_KEY_LIFETIME, MAX_KEYS, MAX_OVERLAP},
};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
