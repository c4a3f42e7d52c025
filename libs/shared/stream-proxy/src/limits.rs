//! The bounds on what an upstream may send, for documents.

use http1_client::{
    MAX_CHUNK_OVERHEAD_BYTES, MAX_HANDSHAKES, MAX_HEAD_BYTES, MAX_HEADERS, MAX_IDLE_CONNECTIONS,
    MAX_INTERIM_RESPONSES, MAX_SIZE_DIGITS,
};
use pool_registry_types::limits::Limit;

const CHECKED_BY: &str = "every request to an upstream";
const BROKEN: &str = "the response is broken: another endpoint is tried, or 502 WORKER_RESET; a \
                      stream ends with that event";

/// All limits of this crate.
pub const LIMITS: &[Limit] = &[
    Limit::new(
        "http1_client::MAX_HEAD_BYTES",
        MAX_HEAD_BYTES as u64,
        "bytes",
    )
    .because("The head of a response of an engine or a node.")
    .enforced_by(CHECKED_BY)
    .beyond(BROKEN),
    Limit::new("http1_client::MAX_HEADERS", MAX_HEADERS as u64, "headers")
        .because("Headers of a response of an engine or a node.")
        .enforced_by(CHECKED_BY)
        .beyond(BROKEN),
    Limit::new(
        "http1_client::MAX_INTERIM_RESPONSES",
        MAX_INTERIM_RESPONSES as u64,
        "responses",
    )
    .because("Interim responses (1xx) before a response of an engine or a node.")
    .enforced_by(CHECKED_BY)
    .beyond(BROKEN),
    Limit::new(
        "http1_client::MAX_CHUNK_OVERHEAD_BYTES",
        MAX_CHUNK_OVERHEAD_BYTES as u64,
        "bytes",
    )
    .because("The extension of a chunk, or all trailers, of a response.")
    .enforced_by(CHECKED_BY)
    .beyond(BROKEN),
    Limit::new(
        "http1_client::MAX_SIZE_DIGITS",
        MAX_SIZE_DIGITS as u64,
        "digits",
    )
    .because("The size of a chunk of a response, in hexadecimal digits.")
    .enforced_by(CHECKED_BY)
    .beyond(BROKEN),
    Limit::new(
        "http1_client::MAX_HANDSHAKES",
        MAX_HANDSHAKES as u64,
        "connections",
    )
    .because("Connections that are being opened to one upstream at a time.")
    .enforced_by(CHECKED_BY)
    .beyond("the request waits for its turn"),
    Limit::new(
        "http1_client::MAX_IDLE_CONNECTIONS",
        MAX_IDLE_CONNECTIONS as u64,
        "connections",
    )
    .because("Idle connections that are kept to one upstream.")
    .enforced_by(CHECKED_BY)
    .beyond("the connection is closed after the response"),
];
