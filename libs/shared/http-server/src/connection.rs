//! One connection, from its first byte to its end.

use std::{convert::Infallible, future::poll_fn, pin::pin, sync::Arc, task::Poll};

use http::{Request, Response, header::Entry};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use pool_registry_types::headers;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    HttpService, Limits, MAX_HEADERS, PeerAddr, RequestBody, RequestId,
    control::{Stage, Watcher},
    response_body::TrackedBody,
    timed_io::{ConnectionState, TimedIo},
};

/// Serves `io` until either side ends it, a deadline passes, or the server is killed.
pub(crate) async fn serve_connection<Io, S>(
    io: Io,
    peer: PeerAddr,
    service: S,
    limits: Arc<Limits>,
    mut watcher: Watcher,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let state = Arc::new(ConnectionState::new(Instant::now()));
    let io = TokioIo::new(TimedIo::new(io, Arc::clone(&state), *limits));
    let builder = builder(&limits);
    let answer = service_fn(move |request| {
        state.clock.on_request(Instant::now());
        answer(service.clone(), request, peer, Arc::clone(&state), &limits)
    });
    let mut connection = pin!(builder.serve_connection(io, answer));
    let mut draining = false;
    let result = poll_fn(|cx| {
        match watcher.poll_stage(cx) {
            Stage::Killed => return Poll::Ready(Ok(())),
            Stage::Draining if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            _ => {}
        }
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = result {
        // Every client that breaks off ends here: nothing an operator could act on.
        tracing::debug!(peer = %peer.0, error = &error as &dyn std::error::Error, "a connection broke off");
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // No timer: the deadlines are ours. No half-close: a client that closes has lost interest, and hyper then
    // drops the response.
    builder
        .max_buf_size(limits.max_header_bytes.max(Limits::MIN_BUFFER_BYTES))
        .max_header_size(limits.max_header_bytes)
        .half_close(false);
    builder
}

/// Builds our view of the request, has it answered, and names it in the response.
fn answer<S: HttpService>(
    service: S,
    request: Request<Incoming>,
    peer: PeerAddr,
    state: Arc<ConnectionState>,
    limits: &Limits,
) -> impl Future<Output = Result<Response<TrackedBody<S::Body>>, Infallible>> + use<S> {
    let id = RequestId::from_headers(request.headers());
    let mut request = request.map(|incoming| RequestBody::new(incoming, Arc::clone(&state), limits));
    // Whoever passes the request on passes the id on, and never an invalid one.
    request
        .headers_mut()
        .insert(headers::REQUEST_ID, id.header_value());
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(id.clone());
    async move {
        let mut response = service.respond(request).await;
        if let Entry::Vacant(vacant) = response.headers_mut().entry(headers::REQUEST_ID) {
            vacant.insert(id.header_value());
        }
        Ok(response.map(|body| TrackedBody::new(body, state)))
    }
}

// `MAX_HEADERS` is hyper's default and so is not set: setting it costs an allocation per request.
const _: () = assert!(MAX_HEADERS == 100);
