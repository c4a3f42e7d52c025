//! The one table from errors of joining to answers.

use http_server::ApiError;
use join_tokens::{JoinError, JoinTokenError};
use node_ca::SignError;
use pool_registry_types::ErrorCode;

use crate::api::ChangeError;

/// The answer to a change that did not happen.
pub(crate) fn refused(error: &ChangeError) -> ApiError {
    match error {
        ChangeError::Refused(error) => ApiError::new(code(error), error.to_string()),
        ChangeError::NotSigned(error) => not_signed(error),
        ChangeError::NotSaved {
            is_revocation: true,
        } => ApiError::new(
            ErrorCode::Internal,
            "the credential is refused from now on, but that could not be saved: it is valid again \
             after a restart; check the disk of the state directory and revoke it again",
        ),
        ChangeError::NotSaved {
            is_revocation: false,
        } => ApiError::new(
            ErrorCode::Internal,
            "nothing was changed, because it could not be saved; check the disk of the state \
             directory and try again",
        ),
        ChangeError::Panicked => internal(),
    }
}

/// The answer to a request that is not signed.
fn not_signed(error: &SignError) -> ApiError {
    let code = if error.is_of_request() {
        ErrorCode::InvalidRequest
    } else {
        ErrorCode::Internal
    };
    ApiError::new(code, error.to_string())
}

/// The answer when the system fails in a way that only a person can look into.
pub(crate) fn internal() -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        "the node could not be served; the log of this server has more",
    )
}

fn code(error: &JoinTokenError) -> ErrorCode {
    match error {
        JoinTokenError::Join(JoinError::OtherNode(_)) => ErrorCode::Forbidden,
        JoinTokenError::Join(
            JoinError::HasCredentials(_) | JoinError::HostOfOther { .. } | JoinError::TooManyNodes,
        ) => ErrorCode::KeyConflict,
        JoinTokenError::Join(_) => ErrorCode::Unauthorized,
        JoinTokenError::Unknown(_) => ErrorCode::NotFound,
        JoinTokenError::IdTaken | JoinTokenError::TooMany => ErrorCode::KeyConflict,
        // All others are about a field.
        _ => ErrorCode::InvalidRequest,
    }
}
