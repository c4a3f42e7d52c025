//! The table of every bound that a client can meet here, for documents.

use pool_registry_types::limits::Limit;

use crate::{
    CONTROL_BODY_BYTES, Limits, MAX_HEADERS, UnauthenticatedLimits, extract::MAX_MESSAGE_BYTES,
    hosts::MAX_NAME_BYTES, refusal::MAX_POLITE_REFUSALS, request_id::MAX_REQUEST_ID_BYTES,
};

const CLOSED: &str = "the connection is closed";
const DEFAULTS: Limits = Limits::DEFAULT;
const SHARE: UnauthenticatedLimits = UnauthenticatedLimits::DEFAULT;

/// All of them.
pub const LIMITS: &[Limit] = &[
    Limit::new(
        "Limits::max_connections",
        DEFAULTS.max_connections as u64,
        "connections",
    )
    .because(
        "Connections on which somebody has been authenticated; fewer where less files may be open \
         (half of them, in all).",
    )
    .enforced_by("listeners of both daemons")
    .beyond("503 TOO_MANY_CONNECTIONS"),
    Limit::new(
        "UnauthenticatedLimits::max_connections",
        SHARE.max_connections as u64,
        "connections",
    )
    .because("Connections on which nobody has been authenticated yet, beside the others.")
    .enforced_by("listeners of both daemons")
    .beyond("the oldest of them is closed for a new one"),
    Limit::time("UnauthenticatedLimits::idle", SHARE.idle)
        .because("An idle connection on which nobody has been authenticated.")
        .enforced_by("listeners of both daemons")
        .beyond(CLOSED),
    Limit::time("UnauthenticatedLimits::life", SHARE.life)
        .because(
            "The whole life of a connection on which nobody has been authenticated; its second \
             half is announced by `Connection: close`.",
        )
        .enforced_by("listeners of both daemons")
        .beyond(CLOSED),
    Limit::time("Limits::first_byte", DEFAULTS.first_byte)
        .because("From the connection to its first byte.")
        .enforced_by("listeners of both daemons")
        .beyond(CLOSED),
    Limit::time("Limits::header", DEFAULTS.header)
        .because("From the first byte of a request to the end of its header.")
        .enforced_by("listeners of both daemons")
        .beyond(CLOSED),
    Limit::time("Limits::idle", DEFAULTS.idle)
        .because("Between two requests of a connection.")
        .enforced_by("listeners of both daemons")
        .beyond(CLOSED),
    Limit::time("Limits::body_progress", DEFAULTS.body_progress)
        .because("Until the next piece of a request body.")
        .enforced_by("listeners of both daemons")
        .beyond("408 REQUEST_TIMEOUT"),
    Limit::new(
        "Limits::body_bytes_per_sec",
        DEFAULTS.body_bytes_per_sec as u64,
        "bytes/s",
    )
    .because("The least rate of a body that takes long on the whole.")
    .enforced_by("listeners of both daemons")
    .beyond("408 REQUEST_TIMEOUT"),
    Limit::time("Limits::write_progress", DEFAULTS.write_progress)
        .because("Without a byte of the answer being taken.")
        .enforced_by("listeners of both daemons")
        .beyond(CLOSED),
    Limit::new(
        "Limits::max_header_bytes",
        DEFAULTS.max_header_bytes as u64,
        "bytes",
    )
    .because("Request line and headers.")
    .enforced_by("listeners of both daemons")
    .beyond("431"),
    Limit::new("MAX_HEADERS", MAX_HEADERS as u64, "headers")
        .because("Headers of a request.")
        .enforced_by("listeners of both daemons")
        .beyond("431"),
    Limit::new("Limits::max_body_bytes", DEFAULTS.max_body_bytes, "bytes")
        .because("A request body, where a route allows no less.")
        .enforced_by("listeners of both daemons")
        .beyond("413 PAYLOAD_TOO_LARGE"),
    Limit::new("CONTROL_BODY_BYTES", CONTROL_BODY_BYTES as u64, "bytes")
        .because("The body of a control route, but for registrations, heartbeats and tasks.")
        .enforced_by("routes below /v2")
        .beyond("413 PAYLOAD_TOO_LARGE"),
    Limit::new("MAX_REQUEST_ID_BYTES", MAX_REQUEST_ID_BYTES as u64, "bytes")
        .because("An `X-Request-Id` that is taken from a client.")
        .enforced_by("listeners of both daemons")
        .beyond("the request gets an id of our own"),
    Limit::new("MAX_NAME_BYTES", MAX_NAME_BYTES as u64, "bytes")
        .because("A host, as the DNS has it, in `Host` and `…_ALLOWED_HOSTS`.")
        .enforced_by("listeners without a token")
        .beyond("403 FORBIDDEN; a setting is refused at start"),
    Limit::new(
        "MAX_POLITE_REFUSALS",
        MAX_POLITE_REFUSALS as u64,
        "connections",
    )
    .because("Refused connections that are being answered at a time.")
    .enforced_by("listeners of both daemons")
    .beyond(CLOSED),
    Limit::new("MAX_MESSAGE_BYTES", MAX_MESSAGE_BYTES as u64, "bytes")
        .because("What is wrong with a body, in an answer.")
        .enforced_by("routes below /v2")
        .beyond("the message is cut"),
    Limit::new(
        "bearer_auth::MAX_TOKEN_BYTES",
        bearer_auth::MAX_TOKEN_BYTES as u64,
        "bytes",
    )
    .because("A token, presented or set.")
    .enforced_by("bearer-auth")
    .beyond("401 UNAUTHORIZED; a setting is refused at start"),
];
