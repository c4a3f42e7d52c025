//! Answers heartbeats ahead of the router.
//!
//! A control plane of a large fleet gets few other requests. Matching one path here saves each of
//! them the router, its extractors and the boxes around their futures.

use axum::{body::Body, response::IntoResponse as _};
use futures_util::{FutureExt as _, future};
use http::{Method, Request, Response};
use http_body_util::Either;
use http_server::{Access, ApiError, HttpService, RequestBody, authorize};
use pool_registry_types::{MAX_NODE_BODY_BYTES, NodeId};
use registry_runtime::RegistryHandle;

use crate::{api::ControlApi, nodes::take_heartbeat};

const BEFORE_ID: &str = "/v2/nodes/";
const AFTER_ID: &str = "/heartbeat";

/// Answers heartbeats, and passes everything else to `inner`, which has the same route for paths
/// that must be decoded first. Authentication comes before it.
#[derive(Clone)]
pub struct Heartbeats<S> {
    registry: Option<RegistryHandle>,
    inner: S,
}

impl<S> std::fmt::Debug for Heartbeats<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heartbeats").finish_non_exhaustive()
    }
}

impl ControlApi {
    /// Answers heartbeats ahead of `inner`.
    #[must_use]
    pub fn heartbeats_before<S>(&self, inner: S) -> Heartbeats<S> {
        Heartbeats {
            // In the HOME profile the route refuses heartbeats.
            registry: self.takes_registrations.then(|| self.registry.clone()),
            inner,
        }
    }
}

impl<S: HttpService> HttpService for Heartbeats<S> {
    type Body = Either<Body, S::Body>;

    fn respond(
        self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        if let (Some(registry), Some(node_id)) = (self.registry, heartbeat_of(&request)) {
            if let Err(error) = authorize(
                request.body(),
                (request.method(), request.uri().path()),
                Access::NODE,
                Some(node_id.as_str()),
            ) {
                let response = error.into_response().map(Either::Left);
                return future::Either::Left(future::Either::Left(future::ready(response)));
            }
            // In a box: the server moves the future of every request, and this one is large.
            let answer = Box::pin(respond(registry, node_id, request.into_body()));
            let answer = answer.map(|answer| answer.map(Either::Left));
            return future::Either::Left(future::Either::Right(answer));
        }
        let answer = self.inner.respond(request);
        future::Either::Right(answer.map(|response| response.map(Either::Right)))
    }
}

async fn respond(registry: RegistryHandle, node_id: NodeId, body: RequestBody) -> Response<Body> {
    let body = match body.read_all(MAX_NODE_BODY_BYTES).await {
        Ok(body) => body,
        Err(error) => return ApiError::from(error).into_response(),
    };
    take_heartbeat(&registry, &node_id, &body).unwrap_or_else(ApiError::into_response)
}

/// The node that sends this heartbeat; `None` for other requests. An id with an escape, or an
/// invalid one, is left to the router.
fn heartbeat_of<B>(request: &Request<B>) -> Option<NodeId> {
    if request.method() != Method::POST {
        return None;
    }
    let path = request.uri().path();
    path.strip_prefix(BEFORE_ID)?
        .strip_suffix(AFTER_ID)?
        .parse()
        .ok()
}
