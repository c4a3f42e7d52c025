//! One connection, from its first byte to its end.

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
    control::{Stage, Watcher},
    observed_io::ObservedIo,
    phase::{ConnectionState, Overdue},
    places::Place,
    quiet_waker::QuietWaker,
    response_body::TrackedBody,
};

/// Serves `io` until either side ends it, a deadline passes, or the server is killed.
pub(crate) async fn serve_connection<Io, S>(
    io: Io,
    peer: PeerAddr,
    service: S,
    limits: Arc<Limits>,
    mut watcher: Watcher,
    place: Arc<Place>,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let state = Arc::new(ConnectionState::new(Instant::now(), place));
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
            Stage::Killed => return Poll::Ready(End::Killed),
            Stage::Draining if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            _ => {}
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(End::Closed(result)),
            Poll::Pending if state.client_gone() => Poll::Ready(End::ClientGone),
            // After its request was looked at, if there is one: it may hold a token.
            Poll::Pending if state.place().poll_displaced(cx) => Poll::Ready(End::Displaced),
            // Asked last, because what just happened moves the deadline.
            Poll::Pending => timer.poll_overdue(cx).map(End::Overdue),
        }
    })
    .await;
    // At DEBUG: clients come and go, and nothing here is for an operator to act on.
    match end {
        End::Closed(Ok(())) => {}
        End::Closed(Err(error)) => {
            tracing::debug!(peer = %peer.0, error = &error as &dyn std::error::Error, "a connection broke off");
        }
        End::ClientGone => tracing::debug!(peer = %peer.0, "a client left before its answer ended"),
        End::Displaced => {
            tracing::debug!(peer = %peer.0, "a connection without authentication made room for another one");
        }
        End::Overdue(overdue) => {
            tracing::debug!(peer = %peer.0, ?overdue, "a connection made no progress");
        }
        End::Killed => tracing::debug!(peer = %peer.0, "a connection was dropped at shutdown"),
    }
}

/// How a connection ended.
enum End {
    Closed(hyper::Result<()>),
    /// While its request was being served.
    ClientGone,
    /// Nobody on it was authenticated, and its place was needed.
    Displaced,
    Overdue(Overdue),
    Killed,
}

/// The one timer of a connection.
///
/// It is set anew only when it fires, or when a deadline comes sooner than it would: while a
/// response streams there is no deadline, and the timer of the header or of the idle time before it
/// is just left behind.
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

    /// Ready when the state's deadline has passed; otherwise the task is woken no later than then.
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
    // No timer: the deadlines are ours. No half-close: a client that closes its sending side has
    // lost interest, as inference engines see it too, and hyper then drops the response.
    builder
        .max_buf_size(limits.max_header_bytes.max(Limits::MIN_BUFFER_BYTES))
        .max_header_size(limits.max_header_bytes)
        .half_close(false);
    builder
}

/// The service's body, or one of our own.
type AnswerBody<S> = TrackedBody<Either<<S as HttpService>::Body, ControlBody>>;

/// What is wrong with a request before anybody looks at what it asks for.
///
/// A message with `Transfer-Encoding` and `Content-Length` is not seen here: hyper takes the first,
/// removes the second, and closes after the answer, so that nothing can hide behind it.
fn malformed<B>(request: &Request<B>) -> Option<ApiError> {
    // RFC 9112, section 6.1. Whatever else the body is coded with would go on undecoded and
    // unnamed: hyper asks only that `chunked` comes last.
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        return Some(ApiError::invalid(
            "Transfer-Encoding must be chunked, once and alone",
        ));
    }
    // RFC 9112, section 3.2. Two hosts mean that two parties disagree about who is asked.
    match request.headers().get_all(HOST).iter().count() {
        0 if request.version() >= Version::HTTP_11 => {
            Some(ApiError::invalid("the Host header is missing"))
        }
        0 | 1 => None,
        _ => Some(ApiError::invalid("there is more than one Host header")),
    }
}

/// Makes the host of an absolute target the request's `Host`: it counts, and the header is ignored
/// (RFC 9112, section 3.2.2). Whoever looks at the header then sees who is really asked.
fn name_host_of_target<B>(request: &mut Request<B>) {
    if let Some(authority) = request.uri().authority() {
        // What was parsed as an authority is a header's value, too; an empty one names nobody.
        let host = HeaderValue::from_str(authority.as_str());
        let host = host.unwrap_or(const { HeaderValue::from_static("") });
        request.headers_mut().insert(HOST, host);
    }
}

/// Builds our view of the request, has it answered, and names it in the response.
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
            let response = error.into_response_for(request.uri().path());
            (
                future::Either::Right(future::ready(response.map(Either::Right))),
                true,
            )
        }
    };
    // Not an `async` block, which would hold the answer that is awaited twice.
    answer.map(move |mut response| {
        if let Entry::Vacant(vacant) = response.headers_mut().entry(headers::REQUEST_ID) {
            vacant.insert(id.header_value());
        }
        if close || state.body_left_unread() || state.ends_soon(&limits, Instant::now) {
            // The client learns that it cannot send its next request here.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| TrackedBody::new(body, state)))
    })
}

// `MAX_HEADERS` is hyper's default and so is not set: setting it costs an allocation per request.
const _: () = assert!(MAX_HEADERS == 100);
