//! The routes that every daemon has, and the responses for unknown routes.

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, Uri},
    response::{IntoResponse, Response},
};
use bearer_auth::Access;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE},
};
use pool_registry_types::{ErrorCode, HealthAnswer};
use serde::Serialize;
use service_runtime::Readiness;

use crate::{ApiError, Routes, metrics_text::prometheus_text};

/// The content type of an OpenMetrics page.
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// The content type of the Prometheus text format.
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How much of an unknown path an error repeats.
const MAX_ECHO_CHARS: usize = 100;

/// `GET /health`, `GET /ready` and `GET /metrics`.
///
/// `/health` responds 200 while the process runs. `/ready` responds 200 when the process can take
/// requests, otherwise 503 with what it waits for. `/metrics` sends the OpenMetrics text of
/// `metrics_render` to clients that accept it, and the same metrics in Prometheus' text format to
/// all others.
pub fn service_routes<S: Clone + Send + Sync + 'static>(
    readiness: Readiness,
    metrics_render: Arc<dyn Fn() -> String + Send + Sync>,
) -> Routes<S> {
    service_routes_of(Arc::new(HealthAnswer::unnamed), readiness, metrics_render)
}

/// The current response of `/health`.
pub type Health = Arc<dyn Fn() -> HealthAnswer + Send + Sync>;

/// The same, for a program that identifies itself.
pub fn service_routes_of<S: Clone + Send + Sync + 'static>(
    health: Health,
    readiness: Readiness,
    metrics_render: Arc<dyn Fn() -> String + Send + Sync>,
) -> Routes<S> {
    health_and_metrics(health, metrics_render)
        .get("/ready", Access::ANY, async move || ready(&readiness))
}

/// `GET /health` and `GET /metrics` of [`service_routes`], for a separate listener without a token.
pub fn metrics_routes<S: Clone + Send + Sync + 'static>(
    metrics_render: Arc<dyn Fn() -> String + Send + Sync>,
) -> Routes<S> {
    health_and_metrics(Arc::new(HealthAnswer::unnamed), metrics_render)
}

fn health_and_metrics<S: Clone + Send + Sync + 'static>(
    health: Health,
    metrics_render: Arc<dyn Fn() -> String + Send + Sync>,
) -> Routes<S> {
    Routes::new()
        .get("/health", Access::Open, async move || {
            json(StatusCode::OK, &health())
        })
        .get(
            "/metrics",
            Access::OBSERVER,
            async move |headers: HeaderMap| metrics(metrics_render(), &headers),
        )
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ServiceStatus))]
pub(crate) struct Status {
    /// `ready`, `starting` or `stopping`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    status: &'static str,
    /// What it waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pending: Vec<&'static str>,
}

impl Status {
    fn new(status: &'static str) -> Self {
        Self {
            status,
            pending: Vec::new(),
        }
    }
}

fn ready(readiness: &Readiness) -> Response {
    if readiness.is_stopping() {
        return json(StatusCode::SERVICE_UNAVAILABLE, &Status::new("stopping"));
    }
    let pending = readiness.pending();
    if pending.is_empty() {
        return json(StatusCode::OK, &Status::new("ready"));
    }
    let status = Status {
        status: "starting",
        pending,
    };
    json(StatusCode::SERVICE_UNAVAILABLE, &status)
}

fn metrics(page: String, headers: &HeaderMap) -> Response {
    let asked = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        value.contains("application/openmetrics-text")
    };
    if headers.get_all(ACCEPT).iter().any(asked) {
        return ([(CONTENT_TYPE, OPENMETRICS)], page).into_response();
    }
    ([(CONTENT_TYPE, PROMETHEUS)], prometheus_text(&page)).into_response()
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Serialising strings cannot fail. An empty body would still carry the status.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let no_store = HeaderValue::from_static("no-store");
    (
        status,
        [(CONTENT_TYPE, JSON), (CACHE_CONTROL, no_store)],
        body,
    )
        .into_response()
}

/// Responds to unknown paths with 404, and to wrong methods with 405 and `Allow`, in the `/v2`
/// error envelope.
///
/// Call it last, after all routes are added.
pub fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

/// The handler for unknown paths.
pub async fn not_found(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(MAX_ECHO_CHARS).collect();
    ApiError::new(
        ErrorCode::NotFound,
        format!("no such route: {method} {path}"),
    )
}

/// The handler for methods that a path does not have; axum adds the `Allow` header.
pub async fn method_not_allowed(method: Method) -> ApiError {
    ApiError::new(
        ErrorCode::MethodNotAllowed,
        format!("this route does not take {method}; see the Allow header"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SEE-12
    #[test]
    fn metrics_have_the_requested_format() {
        let kind = |accept: &'static str| {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            metrics("# EOF\n".to_owned(), &headers).headers()[CONTENT_TYPE].clone()
        };
        // The header of Prometheus 2.42.
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                          version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(kind(prometheus), OPENMETRICS);
        assert_eq!(kind("*/*"), PROMETHEUS);
    }
}
