//! The audit log: who was refused what, and who has changed what.
//!
//! Its events have the target [`TARGET`], so that a filter can select them
//! (`RUST_LOG=info,audit=debug`). A change is at INFO. A refused request is at DEBUG, because
//! anyone who can connect can cause any number of them.
//!
//! Each route that operators use and that changes something is audited by its layer. Without a
//! [`Subject`] of the handler, the event has method and path.

use std::{
    fmt::Display,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use bearer_auth::{Access, Principal, Scope, without_tokens};
use http::{Method, StatusCode};
use pool_registry_types::ErrorCode;

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
    tracing::debug!(
        target: TARGET,
        who = principal.map(tracing::field::display),
        peer = peer.map(tracing::field::display),
        %method,
        path = shortened(path),
        code = error.code.as_str(),
        reason = %error.message,
        "request refused"
    );
}

/// Notes what a machine has done on a route that its layer does not audit, because no operator uses
/// it. A refusal is at DEBUG, because anyone who can connect can cause any number of them.
pub fn machine_changed(
    who: &dyn Display,
    peer: Option<IpAddr>,
    what: &str,
    result: Result<(), &ApiError>,
) {
    let peer = peer.map(tracing::field::display);
    match result {
        Ok(()) => tracing::info!(target: TARGET, %who, peer, what, result = "done", "change"),
        Err(error) => {
            let (result, reason) = (error.code.as_str(), &error.message);
            tracing::debug!(target: TARGET, %who, peer, what, result, %reason, "change");
        }
    }
}

/// What a request changes, as its handler says it. It is an extension of each request that is
/// audited.
#[derive(Debug, Clone, Default)]
pub struct Subject(Arc<OnceLock<String>>);

impl Subject {
    /// Says what is changed, such as `revoke key 12ab`. The first text counts.
    pub fn say(&self, what: impl FnOnce() -> String) {
        self.0.get_or_init(what);
    }

    fn or_route(&self, method: &Method, path: &str) -> String {
        match self.0.get() {
            Some(what) => without_tokens(what).into_owned(),
            None => format!("{method} {}", shortened(path)),
        }
    }
}

/// Whether a request is audited: it may change the fleet or its keys.
pub(crate) fn is_change(method: &Method, access: Access) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
        && matches!(access, Access::AnyOf(scopes)
            if scopes.contains(Scope::Operator) && !scopes.contains(Scope::Client))
}

/// A change that is under way.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) who: Option<Principal>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) subject: Subject,
}

impl Change {
    /// Notes how it ended: `done`, or the code of the error.
    pub(crate) fn ended(&self, status: StatusCode, code: Option<ErrorCode>) {
        let result = match code {
            Some(code) => code.as_str(),
            None if status.is_success() => "done",
            None => "failed",
        };
        tracing::info!(
            target: TARGET,
            who = self.who.as_ref().map(tracing::field::display),
            peer = self.peer.map(tracing::field::display),
            what = self.subject.or_route(&self.method, &self.path),
            status = status.as_u16(),
            result,
            "change"
        );
    }
}

fn shortened(path: &str) -> String {
    without_tokens(path).chars().take(MAX_PATH_CHARS).collect()
}
