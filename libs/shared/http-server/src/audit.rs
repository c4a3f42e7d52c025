//! The audit log: who was refused what, and who has changed what.
//!
//! Its events have the target [`TARGET`], so that a filter can select them
//! (`RUST_LOG=info,audit=debug`). A change is at INFO. A refused request is at DEBUG, because
//! anyone who can connect can cause any number of them.

use std::{fmt::Display, net::IpAddr};

use bearer_auth::Principal;
use http::Method;

use crate::ApiError;

/// The target of all events of the audit log.
pub const TARGET: &str = "audit";

/// The most characters of a path that an event repeats.
const MAX_PATH_CHARS: usize = 100;

/// Notes that a request was refused.
pub(crate) fn request_refused(
    principal: Option<&Principal>,
    peer: Option<IpAddr>,
    (method, path): (&Method, &str),
    error: &ApiError,
) {
    if !tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
        return;
    }
    let path: String = path.chars().take(MAX_PATH_CHARS).collect();
    tracing::debug!(
        target: TARGET,
        who = principal.map(tracing::field::display),
        peer = peer.map(tracing::field::display),
        %method,
        path,
        code = error.code.as_str(),
        reason = %error.message,
        "request refused"
    );
}

/// Notes that a caller has changed something, or has tried to.
pub fn changed(who: &dyn Display, peer: Option<IpAddr>, what: &str, result: Result<(), &ApiError>) {
    tracing::info!(
        target: TARGET,
        %who,
        peer = peer.map(tracing::field::display),
        what,
        result = result.err().map_or("done", |error| error.code.as_str()),
        "change"
    );
}
