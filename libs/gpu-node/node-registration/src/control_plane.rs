//! What a control plane can be asked, and the ways it can fail.

use std::time::Duration;

use pool_registry_types::{
    ErrorCode, HeartbeatRequest, HeartbeatResponse, HttpUrl, NodeId, RegisterRequest,
    RegisterResponse,
};
use thiserror::Error;

use crate::machine::{Failure, Request};

/// The three requests. One implementation speaks HTTP; tests script another.
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

    /// `DELETE /v2/nodes/{id}?incarnation={incarnation}`. A node that is not there any more is a
    /// success.
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
    /// No whole answer came.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// This process could not ask: it is at a limit of its own.
    #[error("this process is at a limit of its own: {0}")]
    OwnLimit(String),
    /// It answered with another status than 200.
    #[error("{status} {}{}{message}", code.as_deref().unwrap_or_default(), if code.is_some() { ": " } else { "" })]
    Refused {
        status: u16,
        /// The error code, where the answer carried one.
        code: Option<String>,
        message: String,
        retry_after: Option<Duration>,
    },
    /// It answered 200 with a body that no control plane sends.
    #[error("this is not the answer of an orchestratord: {0}")]
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

    /// What to do about it. The code decides where there is one, otherwise the status.
    pub(crate) fn failure(&self, request: Request) -> Failure {
        let (status, code, retry_after) = match self {
            Self::NoAnswer(_) | Self::OwnLimit(_) => {
                return Failure::Unavailable { retry_after: None };
            }
            Self::NotUnderstood(_) => return Failure::Refused,
            Self::Refused {
                status,
                code,
                retry_after,
                ..
            } => (*status, code.as_deref(), *retry_after),
        };
        let is = |expected: ErrorCode| code == Some(expected.as_str());
        let heartbeat = matches!(request, Request::Heartbeat { .. });
        if is(ErrorCode::StaleIncarnation) {
            Failure::Superseded
        } else if is(ErrorCode::CloudProfileDisabled) || is(ErrorCode::TooManyNodes) {
            // Of the answers that say "later" those that do not end by themselves.
            Failure::Refused
        } else {
            match status {
                // Should the route itself be missing, the registration that follows is refused.
                404 if heartbeat => Failure::UnknownNode,
                409 => Failure::Conflict,
                413 if heartbeat => Failure::TooLarge,
                408 | 425 | 429 | 500.. => Failure::Unavailable { retry_after },
                _ => Failure::Refused,
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
        let register = Request::Register;
        let heartbeat = Request::Heartbeat { seq: 1 };
        let later = Failure::Unavailable { retry_after: None };
        for (request, error, expected) in [
            (register, RequestError::NoAnswer("refused".into()), later),
            (register, RequestError::OwnLimit("files".into()), later),
            (
                register,
                RequestError::NotUnderstood("<html>".into()),
                Failure::Refused,
            ),
            (
                heartbeat,
                refused(404, Some(ErrorCode::UnknownNode), None),
                Failure::UnknownNode,
            ),
            (heartbeat, refused(404, None, None), Failure::UnknownNode),
            (register, refused(404, None, None), Failure::Refused),
            (
                heartbeat,
                refused(409, Some(ErrorCode::StaleIncarnation), None),
                Failure::Superseded,
            ),
            (
                register,
                refused(409, Some(ErrorCode::NodeIdConflict), None),
                Failure::Conflict,
            ),
            (register, refused(409, None, None), Failure::Conflict),
            (
                register,
                refused(401, Some(ErrorCode::Unauthorized), None),
                Failure::Refused,
            ),
            (
                heartbeat,
                refused(403, Some(ErrorCode::Forbidden), None),
                Failure::Refused,
            ),
            (
                register,
                refused(400, Some(ErrorCode::InvalidRequest), None),
                Failure::Refused,
            ),
            (register, refused(302, None, None), Failure::Refused),
            (
                register,
                refused(503, Some(ErrorCode::CloudProfileDisabled), None),
                Failure::Refused,
            ),
            (
                register,
                refused(503, Some(ErrorCode::TooManyNodes), None),
                Failure::Refused,
            ),
            (
                heartbeat,
                refused(500, Some(ErrorCode::Internal), None),
                later,
            ),
            (
                heartbeat,
                refused(503, Some(ErrorCode::ShuttingDown), Some(700)),
                Failure::Unavailable {
                    retry_after: Some(Duration::from_millis(700)),
                },
            ),
            (heartbeat, refused(429, None, None), later),
            // A proxy knows no code of ours.
            (heartbeat, refused(413, None, None), Failure::TooLarge),
            (register, refused(413, None, None), Failure::Refused),
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
