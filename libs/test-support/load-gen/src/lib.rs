//! A closed-loop load generator that costs little beside the gateway that it measures.
//!
//! It has one thread, one `epoll` and one read buffer, because generator and gateway share two
//! cores. It implements only the HTTP/1.1 that it needs, and checks every answer: an answer counts
//! when its status is 200, its body has the length its head promised, and a stream has all its
//! events and `[DONE]`.
//!
//! Each connection asks, reads the whole answer and asks again. An answer that comes late therefore
//! delays the next question; rates are what the other side sustains, and waiting times are those of
//! that many waiting clients, not of an open stream of arrivals.

mod answer;
mod connection;
pub mod fleet;
mod outcome;
pub mod paced;
mod run;

pub use answer::{Expected, Fault, Parser, Progress};
pub use outcome::Outcome;
pub use run::{Plan, Requests, run};

/// The Rust of the README is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
