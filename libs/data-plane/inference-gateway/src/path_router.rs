//! The gateway beside the other routes of a listener.

use futures_util::{FutureExt as _, future};
use http::{Request, Response, StatusCode};
use http_body_util::Either;
use http_server::{HttpService, RequestBody};

use crate::{
    body::GatewayBody,
    dialect::Dialect,
    error::GatewayError,
    error_response::error_response,
    gateway::{Gateway, is_for_a_node},
    route,
};

/// Gives `/v1/*` to the gateway and everything else to `inner`, for example a router of control
/// routes. The data path passes through neither router nor middleware. The gateway also refuses
/// every request that another gateway has sent to a node, whatever its path.
#[derive(Debug, Clone)]
pub struct PathRouter<S> {
    gateway: Gateway,
    inner: S,
}

impl<S> PathRouter<S> {
    /// The gateway in front of `inner`.
    #[must_use]
    pub fn new(gateway: Gateway, inner: S) -> Self {
        Self { gateway, inner }
    }
}

impl<S: HttpService> HttpService for PathRouter<S> {
    type Body = Either<GatewayBody, S::Body>;

    fn respond(
        self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        if Gateway::serves(request.uri().path()) || is_for_a_node(request.headers()) {
            // Boxed: the future is large, and the server moves it.
            let response = Box::pin(self.gateway.handle(request));
            future::Either::Left(response.map(|response| response.map(Either::Left)))
        } else {
            let uri = request.uri().clone();
            let response = self.inner.respond(request);
            future::Either::Right(response.map(move |response| {
                if response.status() == StatusCode::NOT_FOUND
                    && let Some(response) = misspelled(uri.path())
                {
                    return response.map(Either::Left);
                }
                response.map(Either::Right)
            }))
        }
    }
}

/// The response for a path that no service knows, if it is like one of the gateway's.
fn misspelled(path: &str) -> Option<Response<GatewayBody>> {
    let is_possible = !path.starts_with("/v2/") && route::nearest(path).is_some();
    let error = is_possible.then(|| GatewayError::no_such_route(path))?;
    Some(error_response(&error, Dialect::Plain, None, None))
}
