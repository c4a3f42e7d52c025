//! Checks a request, lets the service respond, and completes the response.

use std::{convert::Infallible, sync::Arc};

use axum::{body::Body as ControlBody, response::IntoResponse as _};
use futures_util::{FutureExt as _, future};
use http::{
    HeaderValue, Request, Response, Version,
    header::{CONNECTION, Entry, HOST, TRANSFER_ENCODING},
};
use http_body_util::Either;
use hyper::body::Incoming;
use pool_registry_types::{ErrorCode, headers};
use tokio::time::Instant;

use crate::{
    ApiError, Caller, HttpService, Limits, MAX_HEADERS, PeerAddr, RequestBody, RequestId,
    phase::ConnectionState, refused_head::header_too_large, response_body::TrackedBody,
};

/// The body of the service, or of an error of this crate.
pub(crate) type AnswerBody<S> = TrackedBody<Either<<S as HttpService>::Body, ControlBody>>;

/// Checks a request before its target is looked at.
///
/// A message with both `Transfer-Encoding` and `Content-Length` does not get here: hyper uses the
/// first, removes the second and closes after the response, so nothing can be smuggled.
fn malformed<B>(request: &Request<B>, limits: &Limits) -> Option<ApiError> {
    if request.version() == Version::HTTP_2 {
        return malformed_http2(request, limits);
    }
    // RFC 9112, section 6.1. hyper requires only that `chunked` comes last. Any other coding would
    // be forwarded undecoded and unnamed.
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        return Some(ApiError::invalid(
            "Transfer-Encoding must be chunked, once and alone",
        ));
    }
    // RFC 9112, section 3.2. With two hosts, two recipients may disagree about the target.
    match request.headers().get_all(HOST).iter().count() {
        0 if request.version() >= Version::HTTP_11 => {
            Some(ApiError::invalid("the Host header is missing"))
        }
        0 | 1 => None,
        _ => Some(ApiError::invalid("there is more than one Host header")),
    }
}

/// The same for HTTP/2, whose frames leave less to check: hyper refuses connection headers.
fn malformed_http2<B>(request: &Request<B>, limits: &Limits) -> Option<ApiError> {
    // hyper limits the bytes of a header only.
    if request.headers().len() > MAX_HEADERS {
        return Some(header_too_large(limits.max_header_bytes));
    }
    // RFC 9113, section 8.3.1: `:authority`, or `Host`.
    match request.headers().get_all(HOST).iter().count() {
        0 if request.uri().authority().is_none() => {
            Some(ApiError::invalid(":authority is missing"))
        }
        0 | 1 => None,
        _ => Some(ApiError::invalid("there is more than one Host header")),
    }
}

/// Replaces `Host` with the host of an absolute target (RFC 9112, section 3.2.2), so that later
/// code sees the effective host.
fn name_host_of_target<B>(request: &mut Request<B>) {
    if let Some(authority) = request.uri().authority() {
        // A parsed authority is always a valid header value. An empty one names no host.
        let host = HeaderValue::from_str(authority.as_str());
        let host = host.unwrap_or(const { HeaderValue::from_static("") });
        request.headers_mut().insert(HOST, host);
    }
}

/// Converts the request, lets the service respond, and adds the request id to the response.
///
/// `refusal` is the response instead, where the connection itself is refused.
pub(crate) fn answer<S: HttpService>(
    service: S,
    mut request: Request<Incoming>,
    peer: PeerAddr,
    state: Arc<ConnectionState>,
    limits: Arc<Limits>,
    refusal: Option<ApiError>,
) -> impl Future<Output = Result<Response<AnswerBody<S>>, Infallible>> + use<S> {
    let malformed = refusal.or_else(|| malformed(&request, &limits));
    name_host_of_target(&mut request);
    let id = RequestId::from_headers(request.headers());
    let caller = Caller {
        peer: Some(peer),
        id: id.clone(),
    };
    let request =
        request.map(|incoming| RequestBody::new(incoming, caller, Arc::clone(&state), &limits));
    let (answer, close) = match malformed {
        None => {
            let answer = service
                .respond(request)
                .map(|response| response.map(Either::Left));
            (future::Either::Left(answer), false)
        }
        Some(error) => {
            let response = match error.code {
                // As on HTTP/1.1, where the path is not known.
                ErrorCode::HeaderTooLarge => error.into_response(),
                _ => error.into_response_for(request.uri().path(), Some(&id)),
            };
            (
                future::Either::Right(future::ready(response.map(Either::Right))),
                true,
            )
        }
    };
    // Not an `async` block, which would hold the awaited future twice.
    answer.map(move |mut response| {
        if let Entry::Vacant(vacant) = response.headers_mut().entry(headers::REQUEST_ID) {
            vacant.insert(id.header_value());
        }
        if close || state.body_left_unread() || state.ends_soon(&limits, Instant::now) {
            // Tells the client not to send another request on this connection. HTTP/2 has a frame
            // for that.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| TrackedBody::new(body, state)))
    })
}
