//! Reads a small answer whole, and tells an engine's error from that of a proxy in front of it.

use bytes::{Bytes, BytesMut};
use http::{
    Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::de::IgnoredAny;
use stream_proxy::{ProxyBody, StreamError};

/// A response up to this size that is no stream is read whole before the client gets its first
/// byte. An engine that dies in the middle of it can then still be replaced, and a slow client
/// holds no slot.
pub(crate) const WHOLE_ANSWER_BYTES: u64 = 1024 * 1024;

/// The whole body, if it has no more than [`WHOLE_ANSWER_BYTES`]; otherwise `None`, and the body is
/// as it was. The bytes that were read count, not the announced length. Small bodies arrive in one
/// piece, which is returned without a copy.
pub(crate) async fn read_whole(body: &mut ProxyBody) -> Result<Option<Bytes>, StreamError> {
    let first = match body.frame().await {
        Some(frame) => frame?.into_data().unwrap_or_default(),
        None => return Ok(Some(Bytes::new())),
    };
    if body.is_end_stream() {
        return Ok(Some(first));
    }
    let mut read = BytesMut::from(first);
    while read.len() as u64 <= WHOLE_ANSWER_BYTES {
        match body.frame().await {
            Some(frame) => read.extend_from_slice(&frame?.into_data().unwrap_or_default()),
            None => return Ok(Some(read.freeze())),
        }
    }
    body.put_back(read.freeze());
    Ok(None)
}

/// Whether an answer with this status may come from a proxy in front of the engine.
pub(crate) fn may_be_a_proxys(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Whether the body of an error is a JSON object, as engines write them; proxies write pages and
/// plain text. The body stays as it was. A compressed one is taken for JSON where its type says so.
pub(crate) async fn has_json_error(
    response: &mut Response<ProxyBody>,
) -> Result<bool, StreamError> {
    let headers = response.headers();
    if headers.contains_key(CONTENT_ENCODING) {
        return Ok(headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")));
    }
    let body = response.body_mut();
    let Some(whole) = read_whole(body).await? else {
        return Ok(false);
    };
    let is_object = whole.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<IgnoredAny>(&whole).is_ok();
    body.put_back(whole);
    Ok(is_object)
}
