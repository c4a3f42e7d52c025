//! A JSON response, raw and typed.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{ClientError, shortened};

/// A JSON response: as the server sent it, and as the type `T`.
///
/// Fields that this version of the client does not know are in [`raw`](Self::raw) only.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Response<T> {
    /// The body as the server sent it.
    pub raw: Value,
    url: String,
    body_type: PhantomData<fn() -> T>,
}

impl<T> Response<T> {
    pub(crate) fn new(raw: Value, url: String) -> Self {
        Self {
            raw,
            url,
            body_type: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Response<T> {
    /// Reads the body as its type.
    ///
    /// # Errors
    /// [`ClientError::InvalidResponse`] when a field is missing or has another type.
    pub fn read(&self) -> Result<T, ClientError> {
        T::deserialize(&self.raw).map_err(|error| ClientError::InvalidResponse {
            url: self.url.clone(),
            reason: shortened(&error.to_string()),
        })
    }
}
