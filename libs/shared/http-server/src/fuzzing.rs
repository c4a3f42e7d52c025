//! Entry points for the fuzz targets: the JSON reader of control routes. Not a part of the API.

use serde::de::DeserializeOwned;

use crate::{ApiError, extract};

/// Parses a body like [`ApiJson`](crate::ApiJson).
///
/// # Errors
/// The message for the client.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    extract::read_json(body)
}
