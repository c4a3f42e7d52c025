//! A server without a network, and a client that can misbehave.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{Full, combinators::BoxBody};
use http_server::{
    HttpService, Limits, Listener, PlainHttp, RequestBody, ServerHandle, serve_on, serve_tls_on,
};
use service_runtime::{Shutdown, Tasks};
use tls_config::ServerTls;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream},
    sync::{mpsc, oneshot},
    time::Instant,
};
use tower_service::Service;

/// Smaller than any response that must get stuck.
const PIPE_BYTES: usize = 4096;

pub(crate) const PEER: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(
    std::net::Ipv4Addr::new(192, 0, 2, 1),
    4321,
));

/// How much the client reads at a time.
pub(crate) const READ_BYTES: usize = 1024;

type Accepted = io::Result<(DuplexStream, SocketAddr)>;

struct Memory(mpsc::UnboundedReceiver<Accepted>);

impl Listener for Memory {
    type Io = DuplexStream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Accepted> {
        ready!(self.0.poll_recv(cx)).map_or(Poll::Pending, Poll::Ready)
    }
}

/// A running server.
pub(crate) struct Server {
    accepted: mpsc::UnboundedSender<Accepted>,
    pub(crate) handle: ServerHandle,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: Shutdown,
}

impl Server {
    pub(crate) fn start(limits: Limits, service: impl HttpService) -> Self {
        Self::start_with(None, limits, service)
    }

    /// A server with TLS beside plain HTTP.
    pub(crate) fn start_with(
        tls: Option<(ServerTls, PlainHttp)>,
        limits: Limits,
        service: impl HttpService,
    ) -> Self {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let (accepted, listener) = mpsc::unbounded_channel();
        let (listener, stop) = (Memory(listener), shutdown.clone());
        let handle = match tls {
            None => serve_on(listener, limits, service, &tasks, stop),
            Some(tls) => serve_tls_on(listener, limits, tls, service, &tasks, stop),
        };
        Self {
            accepted,
            handle,
            tasks,
            shutdown,
        }
    }

    pub(crate) fn connect(&self) -> Client<DuplexStream> {
        Client::new(self.pipe())
    }

    /// The client's end of a new connection.
    pub(crate) fn pipe(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        self.accepted.send(Ok((theirs, PEER))).unwrap();
        ours
    }

    pub(crate) fn fail_accepting(&self, error: io::Error) {
        self.accepted.send(Err(error)).unwrap();
    }

    /// Whether the listener is closed.
    pub(crate) async fn stopped_accepting(&self) {
        self.accepted.closed().await;
    }
}

/// One connection, whose bytes the test controls.
pub(crate) struct Client<Io> {
    io: Io,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The status, and the code and message of the `/v2` error envelope.
    pub(crate) fn error(&self) -> (u16, String, String) {
        let error = &self.json()["error"];
        let text = |field: &str| error[field].as_str().unwrap().to_owned();
        (self.status, text("code"), text("message"))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Client<Io> {
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io,
            unread: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    /// As `send`, but the server may close before the end.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.io.write_all(bytes.as_ref()).await
    }

    /// Closes the sending side.
    pub(crate) async fn half_close(&mut self) {
        self.io.shutdown().await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"))
            .await;
        self.reply().await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Reply {
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await;
        self.reply().await
    }

    /// Reads up to and including `end`.
    pub(crate) async fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self
                .unread
                .windows(end.len())
                .position(|window| window == end)
            {
                return self.unread.drain(..at + end.len()).collect();
            }
            let seen = String::from_utf8_lossy(&self.unread).into_owned();
            assert!(self.read_some().await > 0, "closed after {seen:?}");
        }
    }

    pub(crate) async fn read_exact(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.read_some().await > 0, "closed too soon");
        }
        self.unread.drain(..count).collect()
    }

    async fn read_some(&mut self) -> usize {
        let mut buffer = [0; READ_BYTES];
        let count = self.io.read(&mut buffer).await.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..count]);
        count
    }

    /// Reads until the server closes, and returns what it sent.
    pub(crate) async fn until_closed(&mut self) -> Vec<u8> {
        while self.read_some().await > 0 {}
        std::mem::take(&mut self.unread)
    }

    pub(crate) async fn head(&mut self) -> (u16, HashMap<String, String>) {
        let head = String::from_utf8(self.read_until(b"\r\n\r\n").await).unwrap();
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        (status, headers)
    }

    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        let size = String::from_utf8(self.read_until(b"\r\n").await).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let chunk = self.read_exact(size).await;
        assert_eq!(self.read_exact(2).await, b"\r\n");
        chunk
    }

    pub(crate) async fn reply(&mut self) -> Reply {
        let (status, headers) = self.head().await;
        let mut body = Vec::new();
        if headers
            .get("transfer-encoding")
            .is_some_and(|v| v == "chunked")
        {
            loop {
                let chunk = self.chunk().await;
                if chunk.is_empty() {
                    break;
                }
                body.extend(chunk);
            }
        } else if let Some(length) = headers.get("content-length") {
            body = self.read_exact(length.parse().unwrap()).await;
        }
        Reply {
            status,
            headers,
            body,
        }
    }
}

/// A service made of a function.
#[derive(Clone)]
pub(crate) struct Answering<F>(pub(crate) F);

pub(crate) type TestBody = BoxBody<Bytes, Infallible>;

impl<F, A> Service<Request<RequestBody>> for Answering<F>
where
    F: Fn(Request<RequestBody>) -> A,
    A: Future<Output = Response<TestBody>> + Send + 'static,
{
    type Response = Response<TestBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let answer = (self.0)(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

pub(crate) fn full(body: impl Into<Bytes>) -> TestBody {
    BoxBody::new(Full::new(body.into()))
}

/// Responds to every request with "hello".
pub(crate) fn hello() -> impl HttpService {
    Answering(|_| async { Response::new(full("hello")) })
}

/// A notice whose end can be awaited.
pub(crate) fn notice() -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
    oneshot::channel()
}

/// A body with a notice of its drop.
pub(crate) struct Noticed<B> {
    body: B,
    _sender: oneshot::Sender<()>,
}

impl<B> Noticed<B> {
    pub(crate) fn new(body: B, sender: oneshot::Sender<()>) -> Self {
        Self {
            body,
            _sender: sender,
        }
    }
}

impl<B: Body<Data = Bytes, Error = Infallible> + Unpin> Body for Noticed<B> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Hands its value out once, to a closure that is called for each request.
pub(crate) fn once<T>(value: T) -> impl Fn() -> T {
    let value = parking_lot::Mutex::new(Some(value));
    move || value.lock().take().expect("asked for twice")
}

/// Asserts that `expected` has passed since `start`, to the granularity of the timer.
#[track_caller]
pub(crate) fn assert_elapsed(start: Instant, expected: Duration) {
    let elapsed = start.elapsed();
    let slack = Duration::from_millis(2);
    assert!(
        elapsed >= expected && elapsed <= expected + slack,
        "{elapsed:?} instead of {expected:?}"
    );
}
