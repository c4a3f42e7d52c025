//! OpenAPI descriptions of the routes that every daemon has.
#![expect(dead_code, reason = "each describes a handler that is a closure")]

use pool_registry_types::HealthAnswer;
use utoipa::OpenApi as _;

use crate::routes::Status;

/// The descriptions of [`service_routes`](crate::service_routes).
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Service::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(health, ready, metrics))]
struct Service;

/// Whether the process responds.
#[utoipa::path(get, path = "/health", tag = "service", security(()),
    responses((status = 200, description = "It does, and says who it is.", body = HealthAnswer)))]
fn health() {}

/// Whether it can take requests.
#[utoipa::path(get, path = "/ready", tag = "service",
    responses(
        (status = 200, description = "It can.", body = Status),
        (status = 503, description = "Not yet, or not any more.", body = Status),
    ))]
fn ready() {}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "service",
    responses((status = 200, description = "As text, or in the OpenMetrics format for those who \
        accept it.",
        content((String = "text/plain"), (String = "application/openmetrics-text")))))]
fn metrics() {}
