//! Serves one connection, from its first byte to its end.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body as ControlBody;
use futures_util::{FutureExt as _, future};
use http::{
    HeaderValue, Request, Response, Version,
    header::{CONNECTION, Entry, HOST, TRANSFER_ENCODING},
};
use http_body_util::Either;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use pool_registry_types::headers;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    ApiError, Caller, HttpService, Limits, MAX_HEADERS, PeerAddr, RequestBody, RequestId,
    control::{Stage, StageWatcher},
    observed_io::ObservedIo,
    permits::ConnectionPermit,
    phase::{ConnectionState, Overdue},
    quiet_waker::QuietWaker,
    response_body::TrackedBody,
};

/// Serves `io` until either side closes it, a deadline passes, or the server is killed.
pub(crate) async fn serve_connection<Io, S>(
    io: Io,
    peer: PeerAddr,
    service: S,
    limits: Arc<Limits>,
    mut watcher: StageWatcher,
    permit: Arc<ConnectionPermit>,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let state = Arc::new(ConnectionState::new(Instant::now(), permit));
    let mut timer = Timer::new(Arc::clone(&state), Arc::clone(&limits));
    let io = TokioIo::new(ObservedIo::new(io, Arc::clone(&state)));
    let builder = builder(&limits);
    let answered = Arc::clone(&state);
    let answer = service_fn(move |request| {
        answered.on_request();
        answer(
            service.clone(),
            request,
            peer,
            Arc::clone(&answered),
            Arc::clone(&limits),
        )
    });
    let mut connection = pin!(builder.serve_connection(io, answer));
    let mut draining = false;
    let mut waker = QuietWaker::default();
    let end = poll_fn(|cx| {
        let cx = &mut Context::from_waker(waker.of(cx));
        match watcher.poll_stage(cx) {
            Stage::Killed => return Poll::Ready(ConnectionEnd::Killed),
            Stage::Draining if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            _ => {}
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(ConnectionEnd::Closed(result)),
            Poll::Pending if state.client_gone() => Poll::Ready(ConnectionEnd::ClientGone),
            // After its request was read, if there is one: it may hold a token.
            Poll::Pending if state.permit().poll_displaced(cx) => {
                Poll::Ready(ConnectionEnd::Displaced)
            }
            // Polled last, because progress moves the deadline.
            Poll::Pending => timer.poll_overdue(cx).map(ConnectionEnd::Overdue),
        }
    })
    .await;
    // At DEBUG: clients come and go, and no line here asks an operator to act.
    match end {
        ConnectionEnd::Closed(Ok(())) => {}
        ConnectionEnd::Closed(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(peer = %peer.0, error, "a connection broke off");
        }
        ConnectionEnd::ClientGone => {
            tracing::debug!(peer = %peer.0, "a client left before its response ended");
        }
        ConnectionEnd::Displaced => {
            tracing::debug!(
                peer = %peer.0,
                "an unauthenticated connection was displaced by a new one"
            );
        }
        ConnectionEnd::Overdue(overdue) => {
            tracing::debug!(peer = %peer.0, ?overdue, "a connection made no progress");
        }
        ConnectionEnd::Killed => {
            tracing::debug!(peer = %peer.0, "a connection was dropped at shutdown");
        }
    }
}

/// How a connection ended.
enum ConnectionEnd {
    Closed(hyper::Result<()>),
    /// While its request was being served.
    ClientGone,
    /// It was not authenticated, and was displaced by a new one.
    Displaced,
    Overdue(Overdue),
    Killed,
}

/// The timer of a connection.
///
/// It is reset only when it fires, or when a deadline is earlier than it. While a response streams
/// there is no deadline, so the timer of the header or of the idle time just stays set.
struct Timer {
    state: Arc<ConnectionState>,
    limits: Arc<Limits>,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    fn new(state: Arc<ConnectionState>, limits: Arc<Limits>) -> Self {
        let first = Instant::now() + limits.first_byte;
        Self {
            state,
            limits,
            sleep: Box::pin(sleep_until(first)),
        }
    }

    /// Ready when the deadline of the state has passed. Otherwise the task is woken at that time or
    /// earlier.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        let Some((deadline, overdue)) = self.state.deadline(&self.limits) else {
            return Poll::Pending;
        };
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(overdue);
            }
            // It was set for an earlier deadline.
            self.sleep.as_mut().reset(deadline);
        }
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

/// The body of the service, or of an error of this crate.
type AnswerBody<S> = TrackedBody<Either<<S as HttpService>::Body, ControlBody>>;

/// Checks a request before its target is looked at.
///
/// A message with both `Transfer-Encoding` and `Content-Length` does not get here: hyper uses the
/// first, removes the second and closes after the response, so nothing can be smuggled.
fn malformed<B>(request: &Request<B>) -> Option<ApiError> {
    // RFC 9112, section 6.1. hyper requires only that `chunked` comes last. Any other coding would
    // be forwarded undecoded and unnamed.
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        return Some(ApiError::invalid(
            "Transfer-Encoding must be chunked, once and alone",
        ));
    }
    // RFC 9112, section 3.2. With two hosts, two recipients may disagree about the target.
    match request.headers().get_all(HOST).iter().count() {
        0 if request.version() >= Version::HTTP_11 => {
            Some(ApiError::invalid("the Host header is missing"))
        }
        0 | 1 => None,
        _ => Some(ApiError::invalid("there is more than one Host header")),
    }
}

/// Replaces `Host` with the host of an absolute target (RFC 9112, section 3.2.2), so that later
/// code sees the effective host.
fn name_host_of_target<B>(request: &mut Request<B>) {
    if let Some(authority) = request.uri().authority() {
        // A parsed authority is always a valid header value. An empty one names no host.
        let host = HeaderValue::from_str(authority.as_str());
        let host = host.unwrap_or(const { HeaderValue::from_static("") });
        request.headers_mut().insert(HOST, host);
    }
}

/// Converts the request, lets the service respond, and adds the request id to the response.
fn answer<S: HttpService>(
    service: S,
    mut request: Request<Incoming>,
    peer: PeerAddr,
    state: Arc<ConnectionState>,
    limits: Arc<Limits>,
) -> impl Future<Output = Result<Response<AnswerBody<S>>, Infallible>> + use<S> {
    let malformed = malformed(&request);
    name_host_of_target(&mut request);
    let id = RequestId::from_headers(request.headers());
    let caller = Caller {
        peer: Some(peer),
        id: id.clone(),
    };
    let request =
        request.map(|incoming| RequestBody::new(incoming, caller, Arc::clone(&state), &limits));
    let (answer, close) = match malformed {
        None => {
            let answer = service
                .respond(request)
                .map(|response| response.map(Either::Left));
            (future::Either::Left(answer), false)
        }
        Some(error) => {
            let response = error.into_response_for(request.uri().path(), Some(&id));
            (
                future::Either::Right(future::ready(response.map(Either::Right))),
                true,
            )
        }
    };
    // Not an `async` block, which would hold the awaited future twice.
    answer.map(move |mut response| {
        if let Entry::Vacant(vacant) = response.headers_mut().entry(headers::REQUEST_ID) {
            vacant.insert(id.header_value());
        }
        if close || state.body_left_unread() || state.ends_soon(&limits, Instant::now) {
            // Tells the client not to send another request on this connection.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| TrackedBody::new(body, state)))
    })
}

// `MAX_HEADERS` is hyper's default and so is not set: setting it costs an allocation per request.
const _: () = assert!(MAX_HEADERS == 100);
