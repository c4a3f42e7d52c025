//! The table of every bound that a client can meet here, for documents.

use pool_registry_types::limits::Limit;

use crate::{
    CONTROL_BODY_BYTES, Limits, MAX_HEADERS, UnauthenticatedLimits,
    content_coding::MAX_ZSTD_WINDOW_BYTES,
    cross_origin::MAX_ORIGIN_BYTES,
    extract::MAX_MESSAGE_BYTES,
    hosts::MAX_NAME_BYTES,
    http2::{MAX_RESETS, MAX_STREAMS},
    refusal::MAX_POLITE_REFUSALS,
    request_id::MAX_REQUEST_ID_BYTES,
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
        "Authenticated connections; fewer if the process may open few files (half of them, in \
         all).",
    )
    .enforced_by("listeners of both daemons")
    .beyond("503 TOO_MANY_CONNECTIONS"),
    Limit::new(
        "UnauthenticatedLimits::max_connections",
        SHARE.max_connections as u64,
        "connections",
    )
    .because("Unauthenticated connections, beside the others.")
    .enforced_by("listeners of both daemons")
    .beyond("the oldest of them is closed for a new one"),
    Limit::time("UnauthenticatedLimits::grace", SHARE.grace)
        .because("How long an unauthenticated connection is not closed for a new one.")
        .enforced_by("listeners of both daemons")
        .beyond("a new connection waits in the kernel until the oldest is this old"),
    Limit::time("UnauthenticatedLimits::idle", SHARE.idle)
        .because("An idle unauthenticated connection.")
        .enforced_by("listeners of both daemons")
        .beyond(CLOSED),
    Limit::time("UnauthenticatedLimits::life", SHARE.life)
        .because(
        "The life of an unauthenticated connection; `Connection: close` announces its second half.",
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
    .because("The minimum rate of a slow body, as a whole.")
    .enforced_by("listeners of both daemons")
    .beyond("408 REQUEST_TIMEOUT"),
    Limit::time("Limits::write_progress", DEFAULTS.write_progress)
        .because("Without progress in reading the answer.")
        .enforced_by("listeners of both daemons")
        .beyond(CLOSED),
    Limit::new(
        "Limits::max_header_bytes",
        DEFAULTS.max_header_bytes as u64,
        "bytes",
    )
    .because("Request line and headers.")
    .enforced_by("listeners of both daemons")
    .beyond("431 HEADER_TOO_LARGE"),
    Limit::new("MAX_HEADERS", MAX_HEADERS as u64, "headers")
        .because("Headers of a request.")
        .enforced_by("listeners of both daemons")
        .beyond("431 HEADER_TOO_LARGE"),
    Limit::new("Limits::max_body_bytes", DEFAULTS.max_body_bytes, "bytes")
        .because("A request body, unless a route has a smaller limit (`…_MAX_BODY_MIB`).")
        .enforced_by("listeners of both daemons")
        .beyond("413 PAYLOAD_TOO_LARGE"),
    Limit::new("MAX_ZSTD_WINDOW_BYTES", MAX_ZSTD_WINDOW_BYTES, "bytes")
        .because("The window of a body with `Content-Encoding: zstd` (RFC 9659).")
        .enforced_by("listeners of both daemons")
        .beyond("400 INVALID_REQUEST"),
    Limit::new("CONTROL_BODY_BYTES", CONTROL_BODY_BYTES as u64, "bytes")
        .because("The body of a control route, except registrations, heartbeats and tasks.")
        .enforced_by("routes below /v2")
        .beyond("413 PAYLOAD_TOO_LARGE"),
    Limit::new("MAX_REQUEST_ID_BYTES", MAX_REQUEST_ID_BYTES as u64, "bytes")
        .because("A client's `X-Request-Id`.")
        .enforced_by("listeners of both daemons")
        .beyond("the request gets a generated id"),
    Limit::new("MAX_NAME_BYTES", MAX_NAME_BYTES as u64, "bytes")
        .because("A host name (the DNS' own limit), in `Host` and `…_ALLOWED_HOSTS`.")
        .enforced_by("listeners without a token")
        .beyond("403 FORBIDDEN; a setting is refused at start"),
    Limit::new("MAX_ORIGIN_BYTES", MAX_ORIGIN_BYTES as u64, "bytes")
        .because("An origin in `…_ALLOWED_ORIGINS`.")
        .enforced_by("orchestratord, at its start")
        .beyond("the setting is refused at start"),
    Limit::new("MAX_STREAMS", MAX_STREAMS as u64, "requests")
        .because("Requests of one HTTP/2 connection at the same time.")
        .enforced_by("listeners of both daemons, over TLS")
        .beyond("the stream is refused, and the client sends it again"),
    Limit::new("MAX_RESETS", MAX_RESETS as u64, "streams")
        .because("Streams that a client resets in a row before they are answered.")
        .enforced_by("listeners of both daemons, over TLS")
        .beyond(CLOSED),
    Limit::new("MAX_POLITE_REFUSALS", MAX_POLITE_REFUSALS as u64, "connections")
        .because("Refused connections that are answered at the same time.")
        .enforced_by("listeners of both daemons")
        .beyond(CLOSED),
    Limit::new("MAX_MESSAGE_BYTES", MAX_MESSAGE_BYTES as u64, "bytes")
        .because("The error text about a body.")
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
