//! Entry points for the fuzz targets: what reads the JSON of control routes, as this crate uses it.
//! Not a part of the API.

use serde::de::DeserializeOwned;

use crate::{ApiError, extract};

/// Reads a body as [`ApiJson`](crate::ApiJson) does.
///
/// # Errors
/// What the client is told.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    extract::read_json(body)
}
