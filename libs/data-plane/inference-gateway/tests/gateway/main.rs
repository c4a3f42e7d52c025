//! The gateway over real sockets, with stand-in engines that misbehave as each test tells them to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod harness;
mod hops;

mod aliases;
mod answers;
mod attribution;
mod cancel;
mod clients;
mod disconnects;
mod failures;
mod key_queue;
mod key_service;
mod key_usage;
mod keys;
mod logs;
mod nodes;
mod refusals;
mod stored_responses;
mod watching;
