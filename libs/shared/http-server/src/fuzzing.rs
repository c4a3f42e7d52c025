//! Entry points for the fuzz targets: the JSON reader of control routes, and the decoder of bodies.
//! Not a part of the API.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use serde::de::DeserializeOwned;

use crate::{ApiError, BodyError, content_coding, extract};

/// Decodes a body like [`RequestBody::read_decoded`](crate::RequestBody::read_decoded).
///
/// # Errors
/// When it cannot be decoded, or has more than `cap` bytes then.
pub fn decode(headers: &HeaderMap, body: Bytes, cap: usize) -> Result<Bytes, BodyError> {
    let coding = content_coding::coding(headers)?;
    let mut decoding = pin!(content_coding::decode(coding, body, cap));
    // It waits for nothing; it only lets other tasks have their turn.
    loop {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(decoded) = decoding.as_mut().poll(&mut context) {
            return decoded;
        }
    }
}

/// Parses a body like [`ApiJson`](crate::ApiJson).
///
/// # Errors
/// The message for the client.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    extract::read_json(body)
}
