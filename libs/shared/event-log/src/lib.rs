//! What happened lately, in memory and bounded, for people to read and follow.
//!
//! [`EventLog`] takes [`NewEvent`] from whoever has some, the control plane and the data plane
//! alike, and keeps the last [`CAPACITY`] of them as [`Event`]s. It is a courtesy: nothing decides
//! by it, a reader that is too slow misses what was dropped meanwhile, and a restart forgets it.

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

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
