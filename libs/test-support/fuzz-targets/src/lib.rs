//! What must hold of every parser that reads a stranger's bytes.
//!
//! Each target is a function from bytes to nothing that panics when a property does not hold. The
//! bytes are text where that is possible, so that an input of the corpus can be read and written by
//! hand. `cargo xtask fuzz` runs the targets under libFuzzer; the test `replay` runs them over the
//! corpus, on the stable toolchain.
//!
//! [`TARGETS`] lists the targets. The comment at the top of each module says what it checks.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a property that does not hold is a panic: that is how libFuzzer learns of it"
)]

mod access_token;
mod authorization;
mod bounds;
mod content_coding;
mod engine_report;
mod event_stream;
mod first_bytes;
mod handoff_file;
mod heartbeat_message;
mod join_request;
mod json_scanner;
mod key_file;
mod pieces;
mod pool_file;
mod register_message;
mod request_fields;
mod request_path;
mod response_body;
mod response_head;
mod server_sent_events;
mod signing_request;
mod state_export;
mod stored_node;
mod task_answer;

pub use access_token::access_token;
pub use authorization::authorization;
pub use content_coding::content_coding;
pub use engine_report::engine_report;
pub use event_stream::event_stream;
pub use first_bytes::first_bytes;
pub use handoff_file::handoff_file;
pub use heartbeat_message::heartbeat_message;
pub use join_request::join_request;
pub use json_scanner::json_scanner;
pub use key_file::key_file;
pub use pool_file::pool_file;
pub use register_message::register_message;
pub use request_fields::request_fields;
pub use request_path::request_path;
pub use response_body::response_body;
pub use response_head::response_head;
pub use server_sent_events::server_sent_events;
pub use signing_request::signing_request;
pub use state_export::state_export;
pub use stored_node::stored_node;
pub use task_answer::task_answer;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of its function, its corpus and its dictionary.
    pub name: &'static str,
    /// Panics when a property does not hold for the bytes.
    pub run: fn(&[u8]),
}

/// The table of targets, by the names of their functions.
macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        &[$(Target { name: stringify!($name), run: $name }),*]
    };
}

/// All targets.
pub const TARGETS: &[Target] = targets![
    access_token,
    authorization,
    content_coding,
    engine_report,
    event_stream,
    first_bytes,
    handoff_file,
    heartbeat_message,
    join_request,
    json_scanner,
    key_file,
    pool_file,
    register_message,
    request_fields,
    request_path,
    response_body,
    response_head,
    server_sent_events,
    signing_request,
    state_export,
    stored_node,
    task_answer,
];

/// The Rust of the README is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
