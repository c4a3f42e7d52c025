//! One connection to an upstream, polled by the code that holds it.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, IoSlice},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use socket2::Socket;
use thiserror::Error;
use tls_config::ClientTls;
use tokio::{
    io::ReadBuf,
    runtime::{Handle, Id},
    time::Instant,
};

use crate::{
    connect::{Destination, connect},
    timer::Timer,
    upstream_stream::UpstreamStream,
    wire::{BodyDecoder, ProtocolError, ResponseHead, parse_head},
};

/// Bytes of one read: about one socket buffer. A larger buffer would only delay bytes that are
/// already here.
const READ_BYTES: usize = 32 * 1024;

/// A body up to this size is sent in one buffer with its head. Copying it costs less than a
/// vectored write.
const JOINED_BODY_BYTES: usize = 16 * 1024;

/// The most interim responses (1xx) before the final one. Without a bound, an upstream could send
/// them for as long as the first byte of a body may take.
pub const MAX_INTERIM_RESPONSES: u8 = 16;

thread_local! {
    /// Receives each read before it is decoded. One per thread, not one per connection, so a
    /// connection that waits for its next bytes holds no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Why a response did not arrive, or not completely.
#[derive(Debug, Error)]
pub enum ResponseError {
    /// The upstream closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The upstream sent bytes that are not HTTP/1.x.
    #[error("the response is not HTTP")]
    Protocol(#[source] ProtocolError),
}

impl ResponseError {
    /// Whether the upstream ended the connection. False if it sent something invalid.
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
            ),
            Self::Protocol(_) => false,
        }
    }
}

/// The part of a request that is not written yet.
#[derive(Debug, Default)]
struct Unsent {
    head: Vec<u8>,
    body: Bytes,
    /// Bytes of head and body that have been written.
    written: usize,
}

impl Unsent {
    fn new(mut head: Vec<u8>, body: &Bytes) -> Self {
        let mut body = body.clone();
        if body.len() <= JOINED_BODY_BYTES {
            head.extend_from_slice(&body);
            body = Bytes::new();
        }
        Self {
            head,
            body,
            written: 0,
        }
    }

    /// Writes the first bytes to a socket that no runtime polls yet.
    fn send(&mut self, socket: &Socket) -> io::Result<()> {
        let [head, _] = self.parts();
        self.written = socket.send(head)?;
        Ok(())
    }

    fn parts(&self) -> [&[u8]; 2] {
        let head = self.head.get(self.written..).unwrap_or_default();
        let of_body = self.written.saturating_sub(self.head.len());
        [head, self.body.get(of_body..).unwrap_or_default()]
    }
}

/// A connection to an upstream and the state of its current exchange.
///
/// Only its holder reads and writes it: polling moves it on, and dropping it closes the socket. It
/// lives in a box, because it changes hands several times in each exchange.
#[derive(Debug)]
pub struct UpstreamConnection {
    stream: UpstreamStream,
    /// The runtime that polls the socket.
    runtime: Id,
    timer: Timer,
    unsent: Unsent,
    /// Writing failed. Bytes that the upstream sent before it closed may still be read, and
    /// explain more.
    write_error: Option<io::Error>,
    /// The beginning of a head that did not arrive in one read.
    partial_head: Vec<u8>,
    body: BodyDecoder,
    /// Body bytes that arrived with the head.
    read_ahead: Vec<u8>,
    keep_alive: bool,
    /// How long the upstream keeps the connection open without a request, where it says so.
    idle_limit: Option<Duration>,
    /// Whether a byte of the current response has arrived.
    has_response_byte: bool,
    /// Interim responses before the current one.
    interim: u8,
}

impl UpstreamConnection {
    /// Connects to the first address of the host that accepts and begins an exchange: the first
    /// bytes of the request leave with the connection if the socket takes them.
    ///
    /// `head` is made by [`RequestHead`](crate::RequestHead).
    ///
    /// # Errors
    /// When no address accepts or is allowed, or this process cannot open a socket.
    pub async fn open(
        destination: Destination<'_>,
        head: Vec<u8>,
        body: &Bytes,
    ) -> io::Result<Box<Self>> {
        let mut unsent = Unsent::new(head, body);
        let stream = connect(destination, |socket| unsent.send(socket)).await?;
        Ok(Self::new(UpstreamStream::Plain(stream), unsent))
    }

    /// The same with TLS. The request leaves after the handshake.
    ///
    /// # Errors
    /// When no address accepts or is allowed, this process cannot open a socket, or `tls` does not
    /// trust the server.
    pub async fn open_tls(
        tls: &ClientTls,
        destination: Destination<'_>,
        head: Vec<u8>,
        body: &Bytes,
    ) -> io::Result<Box<Self>> {
        let nothing_yet = |_: &Socket| Err(io::ErrorKind::WouldBlock.into());
        let socket = connect(destination, nothing_yet).await?;
        let stream = UpstreamStream::begin_tls(tls, destination.host, socket).await?;
        Ok(Self::new(stream, Unsent::new(head, body)))
    }

    fn new(stream: UpstreamStream, unsent: Unsent) -> Box<Self> {
        Box::new(Self {
            stream,
            runtime: Handle::current().id(),
            timer: Timer::default(),
            unsent,
            write_error: None,
            partial_head: Vec::new(),
            body: BodyDecoder::EMPTY,
            read_ahead: Vec::new(),
            keep_alive: true,
            idle_limit: None,
            has_response_byte: false,
            interim: 0,
        })
    }

    /// The runtime that polls the socket.
    pub(crate) fn runtime(&self) -> Id {
        self.runtime
    }

    /// Registers the idle connection with the current runtime.
    ///
    /// # Errors
    /// When the connection's runtime or the current one has ended.
    pub(crate) fn move_to_current_runtime(self) -> io::Result<Self> {
        Ok(Self {
            stream: self.stream.move_to_current_runtime()?,
            runtime: Handle::current().id(),
            // The old timer belongs to the other runtime.
            timer: Timer::default(),
            ..self
        })
    }

    /// Begins another exchange. Nothing is written before [`poll_head`](Self::poll_head).
    pub fn send(&mut self, head: Vec<u8>, body: &Bytes) {
        self.unsent = Unsent::new(head, body);
        self.has_response_byte = false;
        self.interim = 0;
    }

    /// Sends the rest of the request, and is ready with the head of the response to a request with
    /// this method.
    pub fn poll_head(
        &mut self,
        method: &Method,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, ResponseError>> {
        loop {
            // An upstream may respond before it has read the whole request, so reading does not
            // wait for writing.
            self.poll_send(cx);
            let head = ready!(self.poll_read(cx, |this, read| this.take_head(read, method)))?;
            if let Some(head) = head {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Reads a part of the body and appends it to `out`; ready with whether the body is complete.
    pub fn poll_body(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, ResponseError>> {
        if !self.read_ahead.is_empty() {
            out.append(&mut self.read_ahead);
            return Poll::Ready(Ok(self.body.is_complete()));
        }
        while out.is_empty() && !self.body.is_complete() {
            self.poll_send(cx);
            match ready!(self.poll_read(cx, |this, read| this.take_body(read, out))) {
                Ok(()) => {}
                Err(ResponseError::Closed) if self.body.may_end_here() => {
                    return Poll::Ready(Ok(true));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(self.body.is_complete()))
    }

    /// Ready once `at` has passed.
    pub fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.poll_until(at, cx)
    }

    /// Waits for [`poll_head`](Self::poll_head).
    ///
    /// # Errors
    /// When the connection ends, or the response is not HTTP.
    pub async fn head(&mut self, method: &Method) -> Result<ResponseHead, ResponseError> {
        poll_fn(|cx| self.poll_head(method, cx)).await
    }

    /// Waits until [`poll_body`](Self::poll_body) has appended at least one byte to an empty `out`,
    /// and returns whether the body is complete.
    ///
    /// # Errors
    /// When the connection ends before the body, or the body is not HTTP.
    pub async fn read_body(&mut self, out: &mut Vec<u8>) -> Result<bool, ResponseError> {
        poll_fn(|cx| self.poll_body(out, cx)).await
    }

    /// Whether a byte of the current response has arrived.
    #[must_use]
    pub fn has_response_byte(&self) -> bool {
        self.has_response_byte
    }

    /// The number of body bytes still to be read, if it is known.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        Some(self.body.bytes_left()? + self.read_ahead.len() as u64)
    }

    /// Whether the exchange is complete and another one may begin.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        let all_sent = self.unsent.parts().iter().all(|part| part.is_empty());
        self.keep_alive && all_sent && self.body.is_complete() && self.write_error.is_none()
    }

    /// Whether the upstream has neither closed nor sent anything while the connection was idle. No
    /// task polls an idle connection, so this looks at the socket.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut without_waker = Context::from_waker(std::task::Waker::noop());
        self.poll_read(&mut without_waker, |_, _| Ok(()))
            .is_pending()
    }

    /// Whether the socket itself has neither a byte nor the end of the connection to read. Unlike
    /// [`is_quiet`](Self::is_quiet), this sees what the runtime has not noticed yet.
    pub(crate) fn is_silent(&self) -> bool {
        self.stream.is_silent()
    }

    /// How long the connection may be idle, where the upstream says so.
    pub(crate) fn idle_limit(&self) -> Option<Duration> {
        self.idle_limit
    }

    /// Hands the next read to `take`. The end of the connection is an error here.
    fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut Self, &[u8]) -> Result<T, ProtocolError>,
    ) -> Poll<Result<T, ResponseError>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            match ready!(self.stream.poll_read(cx, &mut read)) {
                Err(error) => return Poll::Ready(Err(ResponseError::Io(error))),
                Ok(()) if read.filled().is_empty() => {
                    let error = self
                        .write_error
                        .take()
                        .map_or(ResponseError::Closed, ResponseError::Io);
                    return Poll::Ready(Err(error));
                }
                Ok(()) => self.has_response_byte = true,
            }
            Poll::Ready(take(self, read.filled()).map_err(ResponseError::Protocol))
        })
    }

    fn take_head(
        &mut self,
        read: &[u8],
        method: &Method,
    ) -> Result<Option<ResponseHead>, ProtocolError> {
        let earlier = std::mem::take(&mut self.partial_head);
        let joined;
        let mut input = if earlier.is_empty() {
            read
        } else {
            joined = [&earlier, read].concat();
            &joined
        };
        while let Some((head, length)) = parse_head(input, method)? {
            input = input.get(length..).unwrap_or_default();
            // The final response follows `100 Continue` and other interim ones.
            if head.status.is_informational() {
                if self.interim == MAX_INTERIM_RESPONSES {
                    return Err(ProtocolError::TooManyInterim(MAX_INTERIM_RESPONSES));
                }
                self.interim += 1;
                continue;
            }
            self.keep_alive = head.keep_alive;
            self.idle_limit = head.idle_limit;
            self.body = head.body.clone();
            let mut read_ahead = std::mem::take(&mut self.read_ahead);
            self.take_body(input, &mut read_ahead)?;
            self.read_ahead = read_ahead;
            return Ok(Some(head));
        }
        self.partial_head = input.to_vec();
        Ok(None)
    }

    fn take_body(&mut self, read: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        out.reserve(read.len());
        // Trailing bytes mean that the peer is out of sync; do not reuse the connection.
        let trailing = self.body.decode(read, out)?;
        self.keep_alive &= trailing.is_empty();
        Ok(())
    }

    /// Writes as much as the socket takes. A failure is stored and reported if reading fails too.
    fn poll_send(&mut self, cx: &mut Context<'_>) {
        while self.write_error.is_none() {
            let [head, body] = self.unsent.parts();
            let stream = &mut self.stream;
            let written = match (head.is_empty(), body.is_empty()) {
                (true, true) => {
                    match stream.poll_flush(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => self.write_error = Some(error),
                        Poll::Pending => return,
                    }
                    // Free the request body before the response arrives.
                    self.unsent = Unsent::default();
                    return;
                }
                (false, true) => stream.poll_write(cx, head),
                (true, false) => stream.poll_write(cx, body),
                (false, false) => {
                    stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)])
                }
            };
            match written {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => self.write_error = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => self.unsent.written += written,
                Poll::Ready(Err(error)) => self.write_error = Some(error),
            }
        }
    }
}
