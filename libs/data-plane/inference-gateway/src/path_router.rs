//! The gateway beside whatever else a listener serves.

use futures_util::{FutureExt as _, future};
use http::{Request, Response};
use http_body_util::Either;
use http_server::{HttpService, RequestBody};

use crate::{Gateway, GatewayBody, gateway::is_for_a_node};

/// Gives `/v1/*` to the gateway and everything else to `inner`, for example a router of control
/// routes. The data path passes through neither router nor middleware. What another gateway has
/// sent to a node, whatever its path, is the gateway's to refuse.
#[derive(Debug, Clone)]
pub struct PathRouter<S> {
    gateway: Gateway,
    inner: S,
}

impl<S> PathRouter<S> {
    /// The gateway before `inner`.
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
            // In a box: the state of a request on its way is large, and the server moves the future
            // around it.
            let answer = Box::pin(self.gateway.handle(request));
            future::Either::Left(answer.map(|response| response.map(Either::Left)))
        } else {
            let answer = self.inner.respond(request);
            future::Either::Right(answer.map(|response| response.map(Either::Right)))
        }
    }
}
