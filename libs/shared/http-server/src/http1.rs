//! Serves HTTP/1.1 on a connection.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use http_body::Body;
use hyper::{
    body::Incoming,
    server::conn::http1::{self, Connection},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use pool_registry_types::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    ApiError, BoxError, HttpService, Limits, MAX_HEADERS, PeerAddr,
    answer::answer,
    driver::{ConnectionEnd, Driven, Driver},
    observed_io::ObservedIo,
};

/// Serves `io`, and returns it with its end: another protocol may have begun.
///
/// Every request is refused if `is_refused`: the connection needs TLS.
pub(crate) async fn serve<Io, S>(
    driver: &mut Driver,
    io: ObservedIo<Io>,
    peer: PeerAddr,
    service: S,
    limits: &Arc<Limits>,
    is_refused: bool,
) -> (ConnectionEnd<hyper::Result<()>>, ObservedIo<Io>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let builder = builder(limits);
    let io = io.explain_refusals(limits.max_header_bytes);
    let (answered, limits) = (Arc::clone(&driver.state), Arc::clone(limits));
    let respond = service_fn(move |request: Request<Incoming>| {
        answered.on_request();
        answer(
            service.clone(),
            request,
            peer,
            Arc::clone(&answered),
            Arc::clone(&limits),
            is_refused.then(needs_tls),
        )
    });
    let mut requests = Requests(builder.serve_connection(TokioIo::new(io), respond));
    let end = driver.drive(&mut requests).await;
    (end, requests.0.into_parts().io.into_inner())
}

/// The response to a request without TLS from another machine.
fn needs_tls() -> ApiError {
    ApiError::new(
        ErrorCode::Forbidden,
        "other machines are served over TLS only; use https://",
    )
}

struct Requests<Io, S>(Connection<TokioIo<ObservedIo<Io>>, S>)
where
    S: hyper::service::HttpService<Incoming>;

impl<Io, S> Driven for Requests<Io, S>
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
    S: hyper::service::HttpService<Incoming, Error = Infallible>,
    S::ResBody: Body<Error: Into<BoxError>> + 'static,
{
    type Output = hyper::Result<()>;

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Pin::new(&mut self.0).poll(cx)
    }

    fn finish(&mut self) {
        Pin::new(&mut self.0).graceful_shutdown();
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // hyper's timers are off: this crate sets the deadlines. Half-close is off: a client that
    // closes its sending side has lost interest, and hyper then drops the response.
    builder
        .max_buf_size(limits.max_header_bytes.max(Limits::MIN_BUFFER_BYTES))
        .max_header_size(limits.max_header_bytes)
        .half_close(false);
    builder
}

// `MAX_HEADERS` is hyper's default and so is not set: setting it costs an allocation per request.
const _: () = assert!(MAX_HEADERS == 100);
