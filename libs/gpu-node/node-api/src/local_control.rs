//! The control routes for a caller in the same process.

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_server::{Routes, unguarded_router, with_fallbacks};
use tower::ServiceExt as _;

/// The control routes of this node, without a socket between. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct LocalControl(Router);

impl LocalControl {
    /// A caller of [`routes`](crate::routes).
    #[must_use]
    pub fn new(routes: Routes) -> Self {
        Self(unguarded_router(with_fallbacks(routes.into_router())))
    }

    /// Sends `POST` with the JSON `body`, which may be empty, to `path`. Returns status and body.
    /// An invalid path is not found.
    pub async fn post(&self, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        let mut request = Request::builder().method(Method::POST).uri(path);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let Ok(request) = request.body(Body::from(body)) else {
            return (StatusCode::NOT_FOUND, Bytes::new());
        };
        let Ok(response) = self.0.clone().oneshot(request).await;
        let status = response.status();
        // The node's own responses are in memory already, and no larger than its pools.
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        (status, body.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pool_registry::PoolRegistry;
    use pool_registry_types::PoolId;
    use tokio::sync::watch;

    use super::*;

    // spec: PATH-71
    #[tokio::test]
    async fn a_caller_in_the_same_process_gets_the_same_responses() {
        let registry = PoolRegistry::new(vec![PoolId::new("p").unwrap()]);
        let gpus = watch::channel(Arc::default()).1;
        let control =
            LocalControl::new(crate::routes(registry.clone(), gpus, Arc::default(), None));
        let deadline = Bytes::from_static(br#"{"deadline_ms":60000}"#);
        for (path, body, status, says) in [
            ("/v2/pools/p/drain", deadline, 200, "\"draining\":true"),
            (
                "/v2/pools/p/undrain",
                Bytes::new(),
                200,
                "\"draining\":false",
            ),
            ("/v2/pools/p/restart", Bytes::new(), 409, "ENGINES_NOT_OURS"),
            ("/v2/pools/q/drain", Bytes::new(), 404, "NOT_FOUND"),
            (
                "/v2/pools/p/drain",
                Bytes::from_static(b"{"),
                400,
                "INVALID_REQUEST",
            ),
            ("not a path", Bytes::new(), 404, ""),
        ] {
            let (status_found, text) = control.post(path, body).await;
            let text = String::from_utf8_lossy(&text).into_owned();
            assert_eq!(status_found.as_u16(), status, "{path}: {text}");
            assert!(text.contains(says), "{path}: {text}");
        }
    }
}
