//! One table from what the registry refuses to what the client sees.

use http_server::ApiError;
use pool_registry_types::ErrorCode;
use service_registry::RegistryError;

/// The answer to a call that the registry refused.
pub(crate) fn refused(error: &RegistryError) -> ApiError {
    ApiError::new(code(error), error.to_string())
}

fn code(error: &RegistryError) -> ErrorCode {
    match error {
        RegistryError::UnknownNode { .. } => ErrorCode::UnknownNode,
        RegistryError::UnknownPool { .. } => ErrorCode::NotFound,
        RegistryError::StaleIncarnation { .. } => ErrorCode::StaleIncarnation,
        RegistryError::NodeIdConflict { .. } => ErrorCode::NodeIdConflict,
        RegistryError::TooManyNodes { .. } => ErrorCode::TooManyNodes,
        RegistryError::AddressTooLong { .. } => ErrorCode::InvalidRequest,
        // A refusal added later without a line here is our mistake, not the client's.
        _ => ErrorCode::Internal,
    }
}

/// The answer to registrations, heartbeats and deregistrations in the HOME profile.
pub(crate) fn cloud_profile_disabled() -> ApiError {
    ApiError::new(
        ErrorCode::CloudProfileDisabled,
        "this control plane runs in the HOME profile, in which this machine is the only node and \
         no other can join; start it with ORCHESTRATORD_CLOUD_PROFILE=true",
    )
}
