//! Finds the inference engines of this machine.
//!
//! * [`listeners`] reads which sockets listen (`/proc/net/tcp`, `/proc/net/tcp6`).
//! * [`candidates`] chooses those at which an engine may be: named ports on loopback, and ports on
//!   all addresses or on a bridge to containers, which is where a container publishes its port.
//! * [`examine`] asks a candidate and gives a [`Verdict`]; [`discover`] does so for all of them.
//! * [`Offers`] turns the verdicts of regular scans into engines to offer and to withdraw.
//! * [`HandoffStore`] is the directory of handoffs that survive a restart of the machine.
//! * [`own_machine`] tells which addresses are of this machine.
//!
//! `sockets`, `candidates` and `offers` do no I/O. Only addresses of this machine are asked, and
//! never link-local ones or those of metadata services.

mod candidates;
mod examine;
mod limits;
mod listener;
mod offers;
pub mod own_machine;
mod sockets;
mod store;
mod verdict;

pub use candidates::{Candidate, DEFAULT_PORTS, candidates, is_never};
pub use engine_probe::read_key;
pub use examine::{
    Found, Search, discover, discover_blocking, examine, examine_blocking, look_at_all,
};
pub use limits::LIMITS;
pub use listener::is_same_listener;
pub use offers::{OfferChange, Offers};
pub use sockets::{Listener, listeners, parse_listeners};
pub use store::{HandoffStore, StoreError};
pub use verdict::{Engine, Verdict, handoff_of};

/// Compiles the examples of the README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
