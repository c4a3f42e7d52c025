//! Lets web pages of other origins use a server (CORS, <https://fetch.spec.whatwg.org/>).
//!
//! A browser asks first, without credentials (a preflight), so preflights are answered before
//! authentication. The answer to the request itself then says that the page may read it.

use std::{str::FromStr, sync::Arc};

use axum::body::Body;
use futures_util::{FutureExt as _, future};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};
use http_body_util::Either;
use pool_registry_types::not_this;
use thiserror::Error;

use crate::{HttpService, RequestBody};

/// The longest origin: a scheme, a name of the DNS and a port.
pub(crate) const MAX_ORIGIN_BYTES: usize = 300;

/// The methods of the API.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");

/// The request headers that every page may send; a preflight that names others gets those.
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, x-api-key");

/// The response headers that a page may read.
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "retry-after, request-id, x-request-id, x-backoff-ms, x-llorch-node, x-llorch-pool, \
     x-llorch-replica, x-llorch-attempts, x-llorch-queue-ms, x-ratelimit-limit-requests, \
     x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, \
     x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens",
);

/// How long a browser may remember the answer to a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// A text that is not an [`AllowedOrigin`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be `*` or an origin without a path, such as https://app.example:8443{0}")]
pub struct OriginError(String);

/// An origin whose pages may use the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Every origin.
    Any,
    /// A scheme, a host and perhaps a port, in lower case.
    Is(Box<str>),
}

impl FromStr for AllowedOrigin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        };
        let is_authority = |authority: &str| {
            !authority.is_empty()
                && authority
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
        };
        match text.split_once("://") {
            Some((scheme, authority))
                if text.len() <= MAX_ORIGIN_BYTES
                    && is_scheme(scheme)
                    && is_authority(authority) =>
            {
                Ok(Self::Is(text.to_ascii_lowercase().into()))
            }
            _ => Err(OriginError(not_this(text, MAX_ORIGIN_BYTES))),
        }
    }
}

/// The origins whose pages may use the server, besides its own. `Clone` is cheap. The default has
/// none.
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins(Arc<[AllowedOrigin]>);

impl AllowedOrigins {
    /// The pages of these origins may use the server.
    #[must_use]
    pub fn new(origins: impl IntoIterator<Item = AllowedOrigin>) -> Self {
        Self(origins.into_iter().collect())
    }

    /// Whether pages of every origin may use the server.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.0.contains(&AllowedOrigin::Any)
    }

    /// The origin of the page that sent a request, if it is allowed.
    pub(crate) fn of<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        if self.0.is_empty() {
            return None;
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let (origin, None) = (origins.next()?, origins.next()) else {
            return None;
        };
        let text = origin.to_str().ok()?;
        let is_allowed = self.0.iter().any(|allowed| match allowed {
            AllowedOrigin::Any => true,
            AllowedOrigin::Is(allowed) => allowed.eq_ignore_ascii_case(text),
        });
        is_allowed.then_some(origin)
    }
}

/// A service whose responses pages of [`AllowedOrigins`] may read. Put it in front of
/// authentication.
#[derive(Debug, Clone)]
pub struct CrossOrigin<S> {
    origins: AllowedOrigins,
    inner: S,
}

impl<S> CrossOrigin<S> {
    /// Lets pages of `origins` use `inner`.
    #[must_use]
    pub fn new(origins: AllowedOrigins, inner: S) -> Self {
        Self { origins, inner }
    }
}

impl<S: HttpService> HttpService for CrossOrigin<S> {
    type Body = Either<S::Body, Body>;

    fn respond(
        self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        let origin = self.origins.of(request.headers()).cloned();
        if let Some(origin) = &origin
            && is_preflight(&request)
        {
            let answer = answer_to_preflight(request.headers(), origin).map(Either::Right);
            return future::Either::Left(future::ready(answer));
        }
        let answer = self.inner.respond(request);
        future::Either::Right(answer.map(move |mut response| {
            if let Some(origin) = origin {
                allow(response.headers_mut(), origin);
            }
            response.map(Either::Left)
        }))
    }
}

fn is_preflight(request: &Request<RequestBody>) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn answer_to_preflight(request: &HeaderMap, origin: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    // SDKs send headers of their own, such as `x-stainless-os`.
    let wanted = request.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let wanted = wanted.unwrap_or(REQUEST_HEADERS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    vary_by(headers, &ORIGIN);
    vary_by(headers, &ACCESS_CONTROL_REQUEST_HEADERS);
    response
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    vary_by(headers, &ORIGIN);
}

fn vary_by(headers: &mut HeaderMap, name: &HeaderName) {
    if let Ok(value) = HeaderValue::from_str(name.as_str()) {
        headers.append(VARY, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: DOOR-30
    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for (text, expected) in [
            ("*", AllowedOrigin::Any),
            (
                "https://App.example",
                AllowedOrigin::Is("https://app.example".into()),
            ),
            (
                "http://localhost:3000",
                AllowedOrigin::Is("http://localhost:3000".into()),
            ),
            (
                "http://[::1]:3000",
                AllowedOrigin::Is("http://[::1]:3000".into()),
            ),
            (
                "vscode-webview://0a1b",
                AllowedOrigin::Is("vscode-webview://0a1b".into()),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let long = format!("https://{}", "x".repeat(MAX_ORIGIN_BYTES));
        for text in [
            "",
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/path",
            "https://user@app.example",
            "null",
            "://x",
            "https://*.example",
            &long,
        ] {
            let error = text.parse::<AllowedOrigin>().unwrap_err();
            assert!(error.to_string().starts_with("must be `*` or"), "{error}");
        }
    }
}
