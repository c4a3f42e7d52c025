//! One connection to an upstream, driven by whoever holds it.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Method;
use pool_registry_types::HttpUrl;
use socket2::Socket;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    runtime::{Handle, Id},
    time::Instant,
};

use crate::{
    connect::connect,
    timer::Timer,
    wire::{BodyDecoder, Head, NotHttp, parse_head},
};

/// How much one read takes, and so how much travels on together: a few hundred tokens, about one
/// socket buffer. More would only delay what is already there.
const READ_BYTES: usize = 32 * 1024;

/// A body up to this size is sent in one piece with its head: to copy it costs less than a second
/// part of a write.
const JOINED_BODY_BYTES: usize = 16 * 1024;

/// How many interim answers (1xx) may come before the final one. None of those that exist is worth
/// repeating often, and without a bound an upstream could send them for as long as the first byte
/// of a body may take.
pub(crate) const MAX_INTERIM_ANSWERS: u8 = 16;

thread_local! {
    /// Where reads go before they are decoded. One for each thread, not one for each connection: what waits for its
    /// next token, as most streams do most of the time, holds no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Why an answer did not come, or not whole.
#[derive(Debug, Error)]
pub enum BrokenAnswer {
    /// The upstream closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The upstream does not speak HTTP/1.x.
    #[error("the answer is not HTTP")]
    NotHttp(#[source] NotHttp),
}

impl BrokenAnswer {
    /// Whether the other side has ended the connection, rather than said something that cannot be.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
            ),
            Self::NotHttp(_) => false,
        }
    }
}

/// What is still to be written of a request.
#[derive(Debug, Default)]
struct Unsent {
    head: Vec<u8>,
    body: Bytes,
    /// Bytes of the two that have been written.
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

    /// Writes the beginning to a socket that is not watched yet.
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

/// A connection to an upstream, and where in an exchange it is.
///
/// Nobody but its holder reads or writes it: polling it is what moves it on, and dropping it closes
/// it. Held in a box: it changes hands several times in each exchange.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    /// The runtime that wakes whoever waits for it.
    watched_by: Id,
    timer: Timer,
    unsent: Unsent,
    /// Writing failed. What the upstream said before it closed may still be read, and explains
    /// more.
    write_error: Option<io::Error>,
    /// The beginning of a head that did not come in one read.
    head: Vec<u8>,
    body: BodyDecoder,
    /// Body that was read ahead.
    ahead: Vec<u8>,
    keep_alive: bool,
    /// Whether a byte of the present answer has come.
    answered: bool,
    /// How many interim answers have come before the present one.
    interim: u8,
}

impl Link {
    /// Connects to the first address of `target` that accepts, and begins an exchange on the new
    /// connection.
    pub(crate) async fn open(
        target: &HttpUrl,
        head: Vec<u8>,
        body: &Bytes,
    ) -> io::Result<Box<Self>> {
        let mut unsent = Unsent::new(head, body);
        let stream = connect(target, |socket| unsent.send(socket)).await?;
        Ok(Box::new(Self {
            stream,
            watched_by: Handle::current().id(),
            timer: Timer::default(),
            unsent,
            write_error: None,
            head: Vec::new(),
            body: BodyDecoder::EMPTY,
            ahead: Vec::new(),
            keep_alive: true,
            answered: false,
            interim: 0,
        }))
    }

    /// The runtime that wakes whoever waits for it.
    pub(crate) fn watched_by(&self) -> Id {
        self.watched_by
    }

    /// Has it watched by the runtime that this is called in. For a connection that is idle.
    ///
    /// # Errors
    /// When the runtime that has watched it, or this one, has ended.
    pub(crate) fn move_here(self) -> io::Result<Self> {
        Ok(Self {
            stream: TcpStream::from_std(self.stream.into_std()?)?,
            watched_by: Handle::current().id(),
            // Of the other runtime, too.
            timer: Timer::default(),
            ..self
        })
    }

    /// Begins another exchange. Nothing is written before [`Link::poll_head`].
    pub(crate) fn send(&mut self, head: Vec<u8>, body: &Bytes) {
        self.unsent = Unsent::new(head, body);
        self.answered = false;
        self.interim = 0;
    }

    /// Sends what is left of the request, and is ready with the answer's head to a request with
    /// this method.
    pub(crate) fn poll_head(
        &mut self,
        method: &Method,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, BrokenAnswer>> {
        loop {
            // An upstream may answer before it has the whole request, so one is no condition for
            // the other.
            self.poll_send(cx);
            let head = ready!(self.poll_read(cx, |link, read| link.take_head(read, method)))?;
            if let Some(head) = head {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Reads a part of the body and adds it to `out`; ready with whether the body is over.
    pub(crate) fn poll_body(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, BrokenAnswer>> {
        if !self.ahead.is_empty() {
            out.append(&mut self.ahead);
            return Poll::Ready(Ok(self.body.is_over()));
        }
        while out.is_empty() && !self.body.is_over() {
            self.poll_send(cx);
            match ready!(self.poll_read(cx, |link, read| link.take_body(read, out))) {
                Ok(()) => {}
                Err(BrokenAnswer::Closed) if self.body.may_end_here() => {
                    return Poll::Ready(Ok(true));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(self.body.is_over()))
    }

    /// Ready once `at` has passed.
    pub(crate) fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.poll_until(at, cx)
    }

    /// Whether a byte of the present answer has come.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered
    }

    /// How many bytes of the body are still to come, where that is known.
    pub(crate) fn bytes_left(&self) -> Option<u64> {
        Some(self.body.exact()? + self.ahead.len() as u64)
    }

    /// Whether the exchange is over and another one may begin.
    pub(crate) fn is_reusable(&self) -> bool {
        let all_sent = self.unsent.parts().iter().all(|part| part.is_empty());
        self.keep_alive && all_sent && self.body.is_over() && self.write_error.is_none()
    }

    /// Whether the other side has neither closed nor said anything while the connection lay idle:
    /// nobody watches an idle connection.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut unwatched = Context::from_waker(std::task::Waker::noop());
        self.poll_read(&mut unwatched, |_, _| Ok(())).is_pending()
    }

    /// Hands the next read to `take`; an end of the connection is an error here.
    fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut Self, &[u8]) -> Result<T, NotHttp>,
    ) -> Poll<Result<T, BrokenAnswer>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)) {
                Err(error) => return Poll::Ready(Err(BrokenAnswer::Io(error))),
                Ok(()) if read.filled().is_empty() => {
                    let why = self
                        .write_error
                        .take()
                        .map_or(BrokenAnswer::Closed, BrokenAnswer::Io);
                    return Poll::Ready(Err(why));
                }
                Ok(()) => self.answered = true,
            }
            Poll::Ready(take(self, read.filled()).map_err(BrokenAnswer::NotHttp))
        })
    }

    fn take_head(&mut self, read: &[u8], method: &Method) -> Result<Option<Head>, NotHttp> {
        let earlier = std::mem::take(&mut self.head);
        let joined;
        let mut input = if earlier.is_empty() {
            read
        } else {
            joined = [&earlier, read].concat();
            &joined
        };
        while let Some((head, length)) = parse_head(input, method)? {
            input = input.get(length..).unwrap_or_default();
            // `100 Continue` and its like: the answer comes after them.
            if head.status.is_informational() {
                if self.interim == MAX_INTERIM_ANSWERS {
                    return Err(NotHttp::TooManyInterim(MAX_INTERIM_ANSWERS));
                }
                self.interim += 1;
                continue;
            }
            self.keep_alive = head.keep_alive;
            self.body = head.body.clone();
            let mut ahead = std::mem::take(&mut self.ahead);
            self.take_body(input, &mut ahead)?;
            self.ahead = ahead;
            return Ok(Some(head));
        }
        self.head = input.to_vec();
        Ok(None)
    }

    fn take_body(&mut self, read: &[u8], out: &mut Vec<u8>) -> Result<(), NotHttp> {
        out.reserve(read.len());
        // What stands behind the end was asked for by nobody: the connection cannot be trusted with
        // another request.
        let behind = self.body.decode(read, out)?;
        self.keep_alive &= behind.is_empty();
        Ok(())
    }

    /// Writes what the socket takes; a failure is kept for when reading has nothing better to tell.
    fn poll_send(&mut self, cx: &mut Context<'_>) {
        while self.write_error.is_none() {
            let [head, body] = self.unsent.parts();
            let stream = Pin::new(&mut self.stream);
            let written = match (head.is_empty(), body.is_empty()) {
                (true, true) => {
                    // A prompt is not kept for as long as its answer takes.
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
