//! The one table from errors of keys to answers.

use access_keys::KeyError;
use http_server::ApiError;
use pool_registry_types::ErrorCode;

use crate::api::ChangeError;

/// The answer to a change that did not happen.
pub(crate) fn refused(error: &ChangeError) -> ApiError {
    match error {
        ChangeError::Refused(error) => ApiError::new(code(error), error.to_string()),
        ChangeError::NotSaved {
            is_revocation: true,
        } => ApiError::new(
            ErrorCode::Internal,
            "the key is refused from now on, but that could not be saved: it is valid again after \
             a restart; check the disk of the state directory and revoke it again",
        ),
        ChangeError::NotSaved {
            is_revocation: false,
        } => ApiError::new(
            ErrorCode::Internal,
            "nothing was changed, because the keys could not be saved; check the disk of the state \
             directory and try again",
        ),
        ChangeError::Panicked => internal(),
    }
}

/// The answer when the system fails in a way that only a person can look into.
pub(crate) fn internal() -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        "the key could not be changed; the log of this server has more",
    )
}

fn code(error: &KeyError) -> ErrorCode {
    match error {
        KeyError::Unknown(_) => ErrorCode::NotFound,
        KeyError::NameTaken(_)
        | KeyError::IdTaken
        | KeyError::Revoked(_)
        | KeyError::Expired(_)
        | KeyError::UsesNoModels(_)
        | KeyError::TooMany
        | KeyError::LocksOut => ErrorCode::KeyConflict,
        // All others are about a field.
        _ => ErrorCode::InvalidRequest,
    }
}
