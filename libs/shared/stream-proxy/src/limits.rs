//! The table of every bound on what an upstream may answer, for documents.

use pool_registry_types::limits::Limit;

use crate::{
    link::MAX_INTERIM_ANSWERS,
    pool::MAX_IDLE_LINKS,
    wire::{MAX_AROUND_BYTES, MAX_HEAD_BYTES, MAX_HEADERS, MAX_SIZE_DIGITS},
};

const BROKEN: &str = "the answer is broken: another endpoint is tried, or 502 WORKER_RESET; a \
                      stream ends with that event";

/// All of them.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_HEAD_BYTES", MAX_HEAD_BYTES as u64, "bytes")
        .because("The head of an answer of an engine or a node.")
        .enforced_by("every request to an upstream")
        .beyond(BROKEN),
    Limit::new("MAX_HEADERS", MAX_HEADERS as u64, "headers")
        .because("Headers of an answer of an engine or a node.")
        .enforced_by("every request to an upstream")
        .beyond(BROKEN),
    Limit::new("MAX_INTERIM_ANSWERS", MAX_INTERIM_ANSWERS as u64, "answers")
        .because("Interim answers (1xx) before an answer of an engine or a node.")
        .enforced_by("every request to an upstream")
        .beyond(BROKEN),
    Limit::new("MAX_AROUND_BYTES", MAX_AROUND_BYTES as u64, "bytes")
        .because("The extension of a chunk, or all trailers, of an answer.")
        .enforced_by("every request to an upstream")
        .beyond(BROKEN),
    Limit::new("MAX_SIZE_DIGITS", MAX_SIZE_DIGITS as u64, "digits")
        .because("The size of a chunk of an answer, in hexadecimal digits.")
        .enforced_by("every request to an upstream")
        .beyond(BROKEN),
    Limit::new("MAX_IDLE_LINKS", MAX_IDLE_LINKS as u64, "connections")
        .because("Idle connections that are kept to one upstream.")
        .enforced_by("every request to an upstream")
        .beyond("the connection is closed after the answer"),
];
