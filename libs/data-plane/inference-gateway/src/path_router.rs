//! The gateway beside the other routes of a listener.

use futures_util::{FutureExt as _, future};
use http::{Request, Response};
use http_body_util::Either;
use http_server::{HttpService, RequestBody};

use crate::{
    body::GatewayBody,
    gateway::{Gateway, is_for_a_node},
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
        if Gateway::serves(request.uri().path()) || is_for_a_node(&request) {
            // Boxed: the future is large, and the server moves it.
            let response = Box::pin(self.gateway.handle(request));
            future::Either::Left(response.map(|response| response.map(Either::Left)))
        } else {
            let response = self.inner.respond(request);
            future::Either::Right(response.map(|response| response.map(Either::Right)))
        }
    }
}
