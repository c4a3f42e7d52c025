//! The one table from errors of the registry to answers.

use http_server::ApiError;
use pool_registry_types::ErrorCode;
use registry_runtime::NotDurable;
use service_registry::RegistryError;

/// The answer to a call that the registry refused.
pub(crate) fn refused(error: &RegistryError) -> ApiError {
    let text = match error {
        RegistryError::TooManyNodes { .. } => format!("{error} (`llorch nodes forget NODE`)"),
        _ => error.to_string(),
    };
    ApiError::new(code(error), text)
}

/// The answer to a drain that the store does not have.
pub(crate) fn not_durable(error: &NotDurable) -> ApiError {
    ApiError::new(ErrorCode::Internal, error.to_string())
}

fn code(error: &RegistryError) -> ErrorCode {
    match error {
        RegistryError::UnknownNode { .. } => ErrorCode::UnknownNode,
        RegistryError::UnknownPool { .. } => ErrorCode::NotFound,
        RegistryError::StaleIncarnation { .. } => ErrorCode::StaleIncarnation,
        RegistryError::NodeIdConflict { .. } | RegistryError::HolderAnswers { .. } => {
            ErrorCode::NodeIdConflict
        }
        RegistryError::TooManyNodes { .. } => ErrorCode::TooManyNodes,
        RegistryError::AddressTooLong { .. } => ErrorCode::InvalidRequest,
        // A new error without a line here is a bug of ours, not of the client.
        _ => ErrorCode::Internal,
    }
}

/// The answer to registrations, heartbeats and deregistrations in the HOME profile. `hint` says
/// what to do.
pub(crate) fn cloud_profile_disabled(hint: &str) -> ApiError {
    ApiError::new(
        ErrorCode::CloudProfileDisabled,
        format!(
            "this control plane runs in the HOME profile, in which this machine is the only node \
             and no other can join; {hint}"
        ),
    )
}
