//! The table of all limits on requests and responses of `/v1`, for documents.

use pool_registry_types::limits::Limit;

use crate::{
    aliases::MAX_ALIASES_FILE_BYTES,
    config::{MAX_BODY_BYTES, UNSTREAMED_LIMIT},
    options::MAX_DEADLINE_MS,
    retry::{MAX_TRIES, MAX_UNREACHABLE, MIN_REFUSALS, REFUSALS_PER_SECOND},
    scan::MAX_DEPTH,
    sse::MAX_EVENT_BYTES,
    stored_responses::{MAX_RESPONSE_ID_BYTES, MAX_STORED_RESPONSES},
    whole_answer::WHOLE_ANSWER_BYTES,
};

/// All limits of `/v1`.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_BODY_BYTES", MAX_BODY_BYTES as u64, "bytes")
        .because("The body of a request: a dozen images inline.")
        .enforced_by("/v1")
        .beyond("413 PAYLOAD_TOO_LARGE"),
    Limit::new("MAX_ALIASES_FILE_BYTES", MAX_ALIASES_FILE_BYTES, "bytes")
        .because("The alias file: room for some ten thousand aliases.")
        .enforced_by("orchestratord, at its start")
        .beyond("the settings are refused, exit code 64"),
    Limit::new("MAX_DEPTH", MAX_DEPTH as u64, "levels")
        .because("Nested lists and objects in a request.")
        .enforced_by("/v1")
        .beyond("400 INVALID_REQUEST"),
    Limit::new("MAX_DEADLINE_MS", MAX_DEADLINE_MS, "ms")
        .because("`X-Deadline-Ms`: a longer one mistakes the unit.")
        .enforced_by("/v1")
        .beyond("400 INVALID_REQUEST"),
    Limit::time("UNSTREAMED_LIMIT", UNSTREAMED_LIMIT)
        .because("An unstreamed answer, unless its client sets a deadline.")
        .enforced_by("/v1")
        .beyond("504 DEADLINE_EXCEEDED"),
    Limit::new("WHOLE_ANSWER_BYTES", WHOLE_ANSWER_BYTES, "bytes")
        .because("An unstreamed answer that is read completely before the client gets it.")
        .enforced_by("/v1")
        .beyond("the answer is passed on as it comes"),
    Limit::new("MAX_EVENT_BYTES", MAX_EVENT_BYTES as u64, "bytes")
        .because("One event of a stream that is held until it is whole.")
        .enforced_by("/v1")
        .beyond("the event is passed on as it comes"),
    Limit::new(
        "MAX_STORED_RESPONSES",
        MAX_STORED_RESPONSES as u64,
        "responses",
    )
    .because("Responses of `/v1/responses` whose engine is remembered.")
    .enforced_by("/v1/responses/{id}")
    .beyond("the oldest one gets 404 NOT_FOUND"),
    Limit::new(
        "MAX_RESPONSE_ID_BYTES",
        MAX_RESPONSE_ID_BYTES as u64,
        "bytes",
    )
    .because("The id of such a response.")
    .enforced_by("/v1/responses/{id}")
    .beyond("404 NOT_FOUND"),
    Limit::new("MAX_TRIES", MAX_TRIES as u64, "tries")
        .because("Endpoints that fail one request.")
        .enforced_by("/v1")
        .beyond("502 WORKER_RESET"),
    Limit::new("MAX_UNREACHABLE", MAX_UNREACHABLE as u64, "endpoints")
        .because("Endpoints that one request finds unreachable.")
        .enforced_by("/v1")
        .beyond("503 NODE_UNAVAILABLE"),
    Limit::new("MIN_REFUSALS", MIN_REFUSALS, "refusals")
        .because("Busy answers that one request may get, if it may wait only briefly.")
        .enforced_by("/v1")
        .beyond("the request ends with the last refusal"),
    Limit::new(
        "REFUSALS_PER_SECOND",
        REFUSALS_PER_SECOND,
        "refusals a second",
    )
    .because("The same for each second that the request may wait, if that allows more.")
    .enforced_by("/v1")
    .beyond("the request ends with the last refusal"),
];
