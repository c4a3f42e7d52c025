//! A scriptable inference engine for tests that need one to misbehave.
//!
//! [`FakeEngine::start`] serves the OpenAI paths of a `llama-server` on a free port of 127.0.0.1. A
//! [`Script`] says how: how many slots it claims, how long tokens take, whether it refuses, stalls,
//! cuts the connection or says nothing at all. The script can be changed while it runs, and a
//! request can carry its own in a header: `x-fake: tokens=10,token_ms=5,cut=3`. [`Stats`] and
//! [`Record`] tell a test what the engine saw.
//!
//! Like a real engine it frees a slot right before it writes the last bytes of an answer, so a
//! client that has read an answer to its end may fill the slot again at once without ever being
//! seen to exceed it. How a request ended is counted after that write.
//!
//! It speaks HTTP/1.1 by hand over a socket, because no server library lets one send half a chunk
//! and hang up. It runs on a thread and a clock of its own, so it works the same in a test with a
//! paused clock, in one without an async runtime, and as the upstream of a benchmark: without
//! delays a whole answer is one write.
//!
//! ```
//! use fake_engine::{FakeEngine, Fault, Script};
//!
//! # fn main() -> std::io::Result<()> {
//! let engine = FakeEngine::start(Script { slots: 2, ..Script::default() })?;
//! assert!(engine.url().starts_with("http://127.0.0.1:"));
//! engine.update(|script| script.fault = Some(Fault::Cut(3)));
//! assert_eq!(engine.stats().peak, 0);
//! # Ok(())
//! # }
//! ```

mod answer;
mod connection;
mod request;
mod responses;
mod script;
mod server;
mod shared;
mod stats;

pub use script::{DirectiveError, Fault, SCRIPT_HEADER, Script};
pub use server::{FakeEngine, Options};
pub use stats::{Record, Stats};

/// The Rust of the README is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
