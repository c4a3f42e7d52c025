//! The requests to a control plane, and how they can fail.

use std::time::Duration;

use pool_registry_types::{
    ErrorCode, HeartbeatRequest, HeartbeatResponse, HttpUrl, NodeId, RegisterRequest,
    RegisterResponse,
};
use thiserror::Error;

use crate::machine::{ControlPlaneRequest, RequestFailure};

/// The three requests. One implementation uses HTTP; tests have a scripted one.
///
/// Each call returns after `timeout` at the latest.
pub(crate) trait ControlPlane: Send + 'static {
    /// `POST /v2/nodes/register`.
    fn register(
        &mut self,
        url: &HttpUrl,
        request: &RegisterRequest,
        timeout: Duration,
    ) -> Result<RegisterResponse, RequestError>;

    /// `POST /v2/nodes/{id}/heartbeat`.
    fn heartbeat(
        &mut self,
        url: &HttpUrl,
        node_id: &NodeId,
        request: &HeartbeatRequest,
        timeout: Duration,
    ) -> Result<HeartbeatResponse, RequestError>;

    /// `DELETE /v2/nodes/{id}?incarnation={incarnation}`. An unknown node is a success.
    fn deregister(
        &mut self,
        url: &HttpUrl,
        node_id: &NodeId,
        incarnation: u64,
        timeout: Duration,
    ) -> Result<(), RequestError>;
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum RequestError {
    /// No complete answer came.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// This process could not ask: it is at a limit of its own.
    #[error("this process is at a limit of its own: {0}")]
    OwnLimit(String),
    /// It answered with another status than 200.
    #[error(
        "{status} {}{}{message}",
        code.as_deref().unwrap_or_default(),
        if code.is_some() { ": " } else { "" }
    )]
    Refused {
        status: u16,
        /// The error code, where the answer carried one.
        code: Option<String>,
        message: String,
        retry_after: Option<Duration>,
    },
    /// It answered 200 with an unexpected body.
    #[error("this is not the answer of a control plane: {0}")]
    NotUnderstood(String),
}

impl RequestError {
    /// The token is missing, wrong, or not allowed to do this.
    pub(crate) fn is_about_the_token(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 401 | 403,
                ..
            }
        )
    }

    /// What to do about it: by the error code if there is one, otherwise by the status.
    pub(crate) fn failure(&self, request: ControlPlaneRequest) -> RequestFailure {
        let (status, code, retry_after) = match self {
            Self::NoAnswer(_) | Self::OwnLimit(_) => {
                return RequestFailure::Unavailable { retry_after: None };
            }
            Self::NotUnderstood(_) => return RequestFailure::Refused,
            Self::Refused {
                status,
                code,
                retry_after,
                ..
            } => (*status, code.as_deref(), *retry_after),
        };
        let is = |expected: ErrorCode| code == Some(expected.as_str());
        let heartbeat = matches!(request, ControlPlaneRequest::Heartbeat { .. });
        if is(ErrorCode::StaleIncarnation) {
            RequestFailure::Superseded
        } else if is(ErrorCode::CloudProfileDisabled) || is(ErrorCode::TooManyNodes) {
            // These 503 answers do not end without an operator.
            RequestFailure::Refused
        } else {
            match status {
                // If the route itself is missing, the next registration is refused.
                404 if heartbeat => RequestFailure::UnknownNode,
                409 => RequestFailure::Conflict,
                413 if heartbeat => RequestFailure::TooLarge,
                408 | 425 | 429 | 500.. => RequestFailure::Unavailable { retry_after },
                _ => RequestFailure::Refused,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: Option<ErrorCode>, retry_after_ms: Option<u64>) -> RequestError {
        RequestError::Refused {
            status,
            code: code.map(|code| code.as_str().to_owned()),
            message: "why".to_owned(),
            retry_after: retry_after_ms.map(Duration::from_millis),
        }
    }

    #[test]
    fn each_answer_has_its_consequence() {
        let register = ControlPlaneRequest::Register;
        let heartbeat = ControlPlaneRequest::Heartbeat { seq: 1 };
        let later = RequestFailure::Unavailable { retry_after: None };
        for (request, error, expected) in [
            (register, RequestError::NoAnswer("refused".into()), later),
            (register, RequestError::OwnLimit("files".into()), later),
            (
                register,
                RequestError::NotUnderstood("<html>".into()),
                RequestFailure::Refused,
            ),
            (
                heartbeat,
                refused(404, Some(ErrorCode::UnknownNode), None),
                RequestFailure::UnknownNode,
            ),
            (
                heartbeat,
                refused(404, None, None),
                RequestFailure::UnknownNode,
            ),
            (register, refused(404, None, None), RequestFailure::Refused),
            (
                heartbeat,
                refused(409, Some(ErrorCode::StaleIncarnation), None),
                RequestFailure::Superseded,
            ),
            (
                register,
                refused(409, Some(ErrorCode::NodeIdConflict), None),
                RequestFailure::Conflict,
            ),
            (register, refused(409, None, None), RequestFailure::Conflict),
            (
                register,
                refused(401, Some(ErrorCode::Unauthorized), None),
                RequestFailure::Refused,
            ),
            (
                heartbeat,
                refused(403, Some(ErrorCode::Forbidden), None),
                RequestFailure::Refused,
            ),
            (
                register,
                refused(400, Some(ErrorCode::InvalidRequest), None),
                RequestFailure::Refused,
            ),
            (register, refused(302, None, None), RequestFailure::Refused),
            (
                register,
                refused(503, Some(ErrorCode::CloudProfileDisabled), None),
                RequestFailure::Refused,
            ),
            (
                register,
                refused(503, Some(ErrorCode::TooManyNodes), None),
                RequestFailure::Refused,
            ),
            (
                heartbeat,
                refused(500, Some(ErrorCode::Internal), None),
                later,
            ),
            (
                heartbeat,
                refused(503, Some(ErrorCode::ShuttingDown), Some(700)),
                RequestFailure::Unavailable {
                    retry_after: Some(Duration::from_millis(700)),
                },
            ),
            (heartbeat, refused(429, None, None), later),
            // A proxy sends no error code.
            (
                heartbeat,
                refused(413, None, None),
                RequestFailure::TooLarge,
            ),
            (register, refused(413, None, None), RequestFailure::Refused),
        ] {
            assert_eq!(error.failure(request), expected, "{request:?} {error:?}");
        }
    }

    #[test]
    fn errors_read_well() {
        assert_eq!(
            refused(409, Some(ErrorCode::NodeIdConflict), None).to_string(),
            "409 NODE_ID_CONFLICT: why"
        );
        assert_eq!(refused(500, None, None).to_string(), "500 why");
    }
}
