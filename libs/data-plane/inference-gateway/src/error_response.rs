//! Responses that the gateway makes itself: JSON, and errors in the words of each API.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER},
};
use http_server::{ACCEPTED_CODINGS, RequestId};
use pool_registry_types::{ErrorCode, headers};
use serde::Serialize;

use crate::{
    body::GatewayBody, dialect::Dialect, error::GatewayError, response_headers::insert_attempts,
    retry::RetryState,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON response.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response<GatewayBody> {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(GatewayBody::whole(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The response to a request that ends with `error`. `retry` is `None` when the request was not
/// even valid. A dialect whose errors name their request shows `request_id`.
pub(crate) fn error_response(
    error: &GatewayError,
    dialect: Dialect,
    retry: Option<&RetryState>,
    request_id: Option<&RequestId>,
) -> Response<GatewayBody> {
    let status =
        StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(
        status,
        &dialect.error_body(error.code, &error.message, error.param, request_id),
    );
    let headers = response.headers_mut();
    if let Some(after) = error.retry_after {
        // This header holds whole seconds (RFC 9110, 10.2.3). Round up: earlier is too early.
        let seconds = after
            .as_secs()
            .saturating_add((after.subsec_nanos() > 0).into());
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        let millis = pool_registry_types::millis(after);
        headers.insert(headers::BACKOFF_MS, HeaderValue::from(millis));
    }
    if let Some(retry) = retry {
        insert_attempts(headers, retry);
    }
    if error.code == ErrorCode::UnsupportedMediaType {
        // RFC 9110, section 15.5.16.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_CODINGS));
    }
    if let Some(allow) = error.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}
