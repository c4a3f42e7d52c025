//! A closed-loop load generator for measuring gateways beside which it must not be noticed.
//!
//! One thread, one `epoll`, one read buffer: on a machine of two cores, what the generator costs is
//! missing to what it measures. It speaks just the HTTP/1.1 that it needs, and believes nothing: an
//! answer counts when its status is 200, its body has the length its head promised, and a stream
//! has all its events and `[DONE]`.
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

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
