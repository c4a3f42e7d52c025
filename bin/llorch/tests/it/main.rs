//! The built program against a server that answers as written: what it prints, where, and how it
//! ends.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets what it does not expect has failed"
)]

mod ca;
mod chat;
mod config;
mod conversation;
mod ends;
mod engine;
mod events;
mod pages;
mod support;
mod tables;
mod terminal;
