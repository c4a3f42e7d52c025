//! Serves HTTP/2 on a connection.
//!
//! The streams of a connection are no tasks: its one task polls them, so everything ends with the
//! connection, as with HTTP/1.1.
//!
//! | HTTP/1.1 | HTTP/2 |
//! |---|---|
//! | the deadline of a header | the idle time: only a request or the end of one renews it |
//! | closed after a response | `GOAWAY`; the other streams finish |
//! | a stuck write closes the connection | the same; a stream whose window stays shut is reset |
//! | the client leaves | the same, and `RST_STREAM` |
//! | one request at a time | [`MAX_STREAMS`], and few resets in a row |

use std::{
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{
    HeaderValue, Request,
    header::{CONNECTION, COOKIE},
};
use http_body::{Body, Frame, SizeHint};
use hyper::{
    body::Incoming,
    rt::Executor,
    server::conn::http2::{Builder, Connection},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    BoxError, HttpService, Limits, PeerAddr, ResponseBody,
    answer::answer,
    driver::{ConnectionEnd, Driven, Driver, Timer},
    observed_io::ObservedIo,
    phase::{ConnectionState, Overdue, Phase},
    response_body::TrackedBody,
};

/// Requests of a connection at the same time; more wait at the client.
pub(crate) const MAX_STREAMS: u32 = 128;

/// Streams that a client may reset before they were answered, in a row. A client that opens and
/// resets streams costs much more than it pays (CVE-2023-44487).
pub(crate) const MAX_RESETS: usize = 32;

/// What a client may send ahead on one stream, and on all of them.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// The most bytes that wait for the window of one stream.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// The most of a frame that is handed over before the client has room for more.
const PIECE_BYTES: usize = 64 * 1024;

/// A client that does not answer a ping in time has gone without a word.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves `io`.
pub(crate) async fn serve<Io, S>(
    driver: &mut Driver,
    io: ObservedIo<Io>,
    peer: PeerAddr,
    service: S,
    limits: &Arc<Limits>,
) -> ConnectionEnd<hyper::Result<()>>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let streams = NewStreams::default();
    let ends = Arc::new(AtomicBool::new(false));
    let (opened, state) = (streams.clone(), Arc::clone(&driver.state));
    let (ending, stream_limits) = (Arc::clone(&ends), Arc::clone(limits));
    let respond = service_fn(move |mut request: Request<Incoming>| {
        join_cookies(&mut request);
        state.on_request();
        let stream = Arc::new(state.of_stream());
        opened.0.lock().state = Some(Arc::clone(&stream));
        let (ends, response_limits) = (Arc::clone(&ending), Arc::clone(&stream_limits));
        let answer = answer(
            service.clone(),
            request,
            peer,
            Arc::clone(&stream),
            Arc::clone(&stream_limits),
            None,
        );
        async move {
            answer.await.map(|mut response| {
                // What it says to HTTP/1.1 is a frame here, and only for the end of a life.
                response.headers_mut().remove(CONNECTION);
                if stream.ends_soon(&response_limits, Instant::now) {
                    ends.store(true, Ordering::Relaxed);
                }
                response.map(|body| PacedBody::new(body, stream))
            })
        }
    });
    let connection = builder(limits, streams.clone()).serve_connection(TokioIo::new(io), respond);
    let mut requests = Requests {
        connection: Box::pin(connection),
        new: streams,
        running: FuturesUnordered::new(),
        state: Arc::clone(&driver.state),
        limits: Arc::clone(limits),
        ends,
    };
    driver.drive(&mut requests).await
}

fn builder(limits: &Limits, streams: NewStreams) -> Builder<NewStreams> {
    let mut builder = Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// RFC 9113, section 8.2.3: clients split `Cookie`, and later code expects one.
fn join_cookies<B>(request: &mut Request<B>) {
    let mut all = request.headers().get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (all.next(), all.next()) else {
        return;
    };
    let rest = all.map(HeaderValue::as_bytes);
    let parts = [first.as_bytes(), second.as_bytes()]
        .into_iter()
        .chain(rest);
    let joined = parts.collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        request.headers_mut().insert(COOKIE, joined);
    }
}

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where hyper puts the future of each new stream.
#[derive(Clone, Default)]
struct NewStreams(Arc<Mutex<Opened>>);

#[derive(Default)]
struct Opened {
    /// Of the request that hyper has just handed to the service. It executes its future next.
    state: Option<Arc<ConnectionState>>,
    futures: Vec<(BoxFuture, Option<Arc<ConnectionState>>)>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for NewStreams {
    fn execute(&self, future: F) {
        let mut opened = self.0.lock();
        let state = opened.state.take();
        opened.futures.push((Box::pin(future), state));
    }
}

/// One stream: its request and its response.
struct Stream {
    future: BoxFuture,
    timer: Option<Timer>,
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let timer = self.timer.as_mut();
        // Dropping the future resets the stream.
        timer.map_or(Poll::Pending, |timer| timer.poll_overdue(cx).map(|_| ()))
    }
}

struct Requests<C> {
    connection: Pin<Box<C>>,
    new: NewStreams,
    running: FuturesUnordered<Stream>,
    state: Arc<ConnectionState>,
    limits: Arc<Limits>,
    /// A response was the last one that this connection should give.
    ends: Arc<AtomicBool>,
}

impl<C> Requests<C> {
    /// Takes over what hyper has opened.
    fn take_new(&mut self) {
        for (future, state) in mem::take(&mut self.new.0.lock().futures) {
            let timer = state.map(|state| Timer::new(state, Arc::clone(&self.limits)));
            self.running.push(Stream { future, timer });
        }
    }

    fn poll_streams(&mut self, cx: &mut Context<'_>) {
        let were_any = !self.running.is_empty();
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
        if were_any && self.running.is_empty() && self.state.phase() == Phase::Request {
            self.state.on_idle(Instant::now());
        }
    }
}

impl<Io, S, B> Driven for Requests<Connection<TokioIo<ObservedIo<Io>>, S, NewStreams>>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = PacedBody<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: ResponseBody,
{
    type Output = hyper::Result<()>;

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let mut connection = self.connection.as_mut().poll(cx);
        self.take_new();
        self.poll_streams(cx);
        if connection.is_pending() && self.ends.swap(false, Ordering::Relaxed) {
            self.finish();
            connection = self.connection.as_mut().poll(cx);
        }
        connection
    }

    fn finish(&mut self) {
        self.connection.as_mut().graceful_shutdown();
    }

    /// A client that sends a request at this moment learns that it was not taken.
    fn is_over(&mut self, overdue: Overdue, cx: &Context<'_>) -> bool {
        if !matches!(overdue, Overdue::Read(phase) if phase != Phase::Closing) {
            return true;
        }
        self.state.on_close(Instant::now());
        self.finish();
        cx.waker().wake_by_ref();
        false
    }
}

pin_project! {
    /// The body of a response, in pieces. It records since when hyper has a piece that the client
    /// has no room for: hyper asks for the next one when the window of the stream is open.
    struct PacedBody<B> {
        #[pin]
        body: TrackedBody<B>,
        rest: Bytes,
        stream: Arc<ConnectionState>,
    }
}

impl<B> PacedBody<B> {
    fn new(body: TrackedBody<B>, stream: Arc<ConnectionState>) -> Self {
        stream.on_write_stuck(Instant::now);
        Self {
            body,
            rest: Bytes::new(),
            stream,
        }
    }
}

impl<B: ResponseBody> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        this.stream.on_written(Instant::now);
        if this.rest.is_empty() {
            match ready!(this.body.poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => *this.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        this.stream.on_write_stuck(Instant::now);
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() {
            self.body.size_hint()
        } else {
            SizeHint::default()
        }
    }
}
