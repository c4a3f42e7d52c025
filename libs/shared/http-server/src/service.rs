//! What answers requests, in one bound instead of six.

use std::{convert::Infallible, error::Error, future::poll_fn, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pool_registry_types::headers;
use tower_service::Service;

use crate::{RequestBody, RequestId};

/// Any error, as middleware passes it on.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A response body this server can send. Every fitting [`Body`] is one.
pub trait ResponseBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}

impl<B> ResponseBody for B where B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}

/// Something that answers requests. Every fitting [`Service`] is one, so an `axum::Router` is; its
/// handlers find the request's [`PeerAddr`] and [`RequestId`] as extensions, and the id in the
/// request's header.
///
/// What stands before another one best hands its future on as it is, or mapped: an `async` block
/// around it would hold the request twice, and the server moves it for every request.
pub trait HttpService: Clone + Send + 'static {
    /// The body of its responses.
    type Body: ResponseBody;

    /// Answers one request.
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
        Box::pin(async move {
            let Ok(()) = poll_fn(|cx| self.poll_ready(cx)).await;
            let Ok(response) = self.call(request).await;
            response
        })
    }
}

/// Who sent a request, and what it is called here. It goes with the [`RequestBody`]: a request's
/// extensions would take four allocations for the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The other end of its connection; `None` within the process.
    pub peer: Option<PeerAddr>,
    /// Its name, in every log line and on every hop.
    pub id: RequestId,
}

/// Who is at the other end of the connection; an IPv4 peer on an IPv6 socket appears as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    pub(crate) fn new(mut addr: SocketAddr) -> Self {
        addr.set_ip(addr.ip().to_canonical());
        Self(addr)
    }
}
