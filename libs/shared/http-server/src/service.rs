//! The trait of services, in one bound instead of six.

use std::{convert::Infallible, future::poll_fn};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pool_registry_types::headers;
use tower_service::Service;

use crate::{
    body::RequestBody,
    caller::{BoxError, Caller},
};

/// A response body that this server can send. Every fitting [`Body`] is one.
pub trait ResponseBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}

impl<B> ResponseBody for B where B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}

/// An extension of requests that came over TLS.
#[derive(Debug, Clone, Copy)]
pub struct OverTls;

/// A service that responds to requests. Every fitting [`Service`] is one, for example an
/// `axum::Router`. Its handlers get the request's [`PeerAddr`](crate::PeerAddr),
/// [`RequestId`](crate::RequestId), [`Principal`](bearer_auth::Principal) and [`OverTls`] as
/// extensions, and the id in the request's header.
///
/// A wrapper around a service should return the inner future as it is, or mapped. An `async` block
/// around it would hold the request twice, and the server moves it for every request.
pub trait HttpService: Clone + Send + 'static {
    /// The body of its responses.
    type Body: ResponseBody;

    /// Responds to one request.
    fn respond(
        self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: ResponseBody,
{
    type Body = B;

    fn respond(
        mut self,
        mut request: Request<RequestBody>,
    ) -> impl Future<Output = Response<B>> + Send {
        if let Some(Caller { peer, id }) = request.body().caller().cloned() {
            request
                .headers_mut()
                .insert(headers::REQUEST_ID, id.header_value());
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            request.extensions_mut().insert(id);
        }
        if request.body().is_tls() {
            request.extensions_mut().insert(OverTls);
        }
        if let Some(principal) = request.body().principal().cloned() {
            request.extensions_mut().insert(principal);
        }
        Box::pin(async move {
            let Ok(()) = poll_fn(|cx| self.poll_ready(cx)).await;
            let Ok(response) = self.call(request).await;
            response
        })
    }
}
