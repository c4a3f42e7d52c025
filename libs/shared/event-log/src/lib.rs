//! Recent events, in memory and bounded, for people to read and follow.
//!
//! The control plane and the data plane both add [`NewEvent`]s to the [`EventLog`], which keeps the
//! last [`CAPACITY`] of them as [`Event`]s. The log is informative only: no decision depends on it,
//! a reader that is too slow misses events, and a restart forgets all of them.

mod event;
mod limits;
mod log;
mod pools;
mod ring;

pub use event::{Event, EventKind, NewEvent};
pub use limits::LIMITS;
pub use log::{EventLog, Reader};
pub use pools::PoolChanges;
pub use ring::CAPACITY;

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
