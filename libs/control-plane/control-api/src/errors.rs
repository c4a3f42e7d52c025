//! One table from what the registry refuses to what the client sees.

use http_server::ApiError;
use pool_registry_types::ErrorCode;
use registry_runtime::CallError;
use service_registry::RegistryError;

/// The answer to a call that came to nothing.
pub(crate) fn refused(error: &CallError) -> ApiError {
    let code = match error {
        CallError::Stopped => ErrorCode::ShuttingDown,
        CallError::Refused(error) => code(error),
    };
    ApiError::new(code, error.to_string())
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

/// The answer of every route that needs a registry when there is none.
pub(crate) fn cloud_profile_disabled() -> ApiError {
    ApiError::new(
        ErrorCode::CloudProfileDisabled,
        "this control plane runs in the HOME profile, which has no nodes; \
         start it with ORCHESTRATORD_CLOUD_PROFILE=true",
    )
}
