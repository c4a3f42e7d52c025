//! The most recent errors, for views.

use std::{collections::VecDeque, time::SystemTime};

use pool_registry_types::{ErrorCode, NodeId};
use serde::Serialize;

/// The number of errors that are kept: more than a person reads.
const CAPACITY: usize = 50;

/// A request that failed or whose response broke off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecentError {
    /// The time (RFC 3339, UTC, milliseconds).
    pub at: String,
    /// The id of the request.
    pub request_id: String,
    /// The error code.
    pub code: ErrorCode,
    /// The client's error message.
    pub message: String,
    /// The model, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The last node of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
}

/// A ring of the newest errors.
#[derive(Debug, Default)]
pub(crate) struct RecentErrors(VecDeque<RecentError>);

impl RecentErrors {
    pub(crate) fn push(&mut self, mut error: RecentError, at: SystemTime) {
        error.at = humantime::format_rfc3339_millis(at).to_string();
        if self.0.len() == CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(error);
    }

    /// All errors, newest first.
    pub(crate) fn newest_first(&self) -> Vec<RecentError> {
        self.0.iter().rev().cloned().collect()
    }
}

/// Whether an error concerns operators. Invalid requests concern only their clients, and their
/// messages may repeat what the client sent.
pub(crate) fn concerns_operators(code: ErrorCode) -> bool {
    code.status() >= 500 || matches!(code, ErrorCode::QueueFull | ErrorCode::ModelNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: usize) -> RecentError {
        RecentError {
            at: String::new(),
            request_id: number.to_string(),
            code: ErrorCode::WorkerReset,
            message: String::new(),
            model: None,
            node_id: None,
        }
    }

    // spec: SEE-6
    #[test]
    fn the_newest_errors_are_kept() {
        let mut errors = RecentErrors::default();
        for number in 0..CAPACITY + 3 {
            errors.push(error(number), SystemTime::UNIX_EPOCH);
        }
        let kept = errors.newest_first();
        assert_eq!((kept.len(), kept[0].request_id.as_str()), (CAPACITY, "52"));
        assert_eq!(kept[0].at, "1970-01-01T00:00:00.000Z");
    }

    // spec: SEE-6
    #[test]
    fn invalid_requests_do_not_concern_operators() {
        for (code, expected) in [
            (ErrorCode::InvalidRequest, false),
            (ErrorCode::PayloadTooLarge, false),
            (ErrorCode::ModelNotAvailable, true),
            (ErrorCode::QueueFull, true),
            (ErrorCode::WorkerReset, true),
            (ErrorCode::DeadlineExceeded, true),
        ] {
            assert_eq!(concerns_operators(code), expected, "{code:?}");
        }
    }
}
