//! A socket that closes itself when its client stops making progress.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    Limits,
    phase::{Phase, PhaseClock},
};

/// How long to go on reading what a client sends after our last word. Closing a socket with unread bytes resets
/// the connection, and the reset overtakes the answer that explains it.
const LINGER: Duration = Duration::from_secs(2);

/// How much is thrown away at a time while lingering.
const LINGER_BUFFER_BYTES: usize = 4096;

/// What the parts of one connection share.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    pub(crate) clock: PhaseClock,
    /// A request body was not read to its end, so the client may still be sending.
    pub(crate) body_left_unread: AtomicBool,
}

impl ConnectionState {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            clock: PhaseClock::new(now),
            body_left_unread: AtomicBool::new(false),
        }
    }

    /// Whether bytes of a request may still be on their way: the rest of a body, or of a header that was refused.
    fn client_may_be_sending(&self) -> bool {
        self.body_left_unread.load(Ordering::Relaxed) || self.clock.phase() == Phase::Header
    }
}

/// Wraps a socket. Reading fails when the phase's deadline passes, writing when no byte could be written for
/// [`Limits::write_progress`].
///
/// The hot path costs an atomic load per read and nothing per write: the one timer is looked at only when the
/// socket has nothing to give or to take, and it is set anew only when it fires, or when a deadline comes sooner
/// than it would.
pub(crate) struct TimedIo<Io> {
    io: Io,
    state: Arc<ConnectionState>,
    limits: Limits,
    sleep: Pin<Box<Sleep>>,
    /// Since when the socket has taken nothing.
    write_stuck: Option<Instant>,
    /// Our side is closed and the client's rest is read until then.
    lingering: Option<Instant>,
}

impl<Io> TimedIo<Io> {
    pub(crate) fn new(io: Io, state: Arc<ConnectionState>, limits: Limits) -> Self {
        let first = state.clock.read_deadline(&limits).unwrap_or_else(Instant::now);
        Self {
            io,
            state,
            limits,
            sleep: Box::pin(sleep_until(first)),
            write_stuck: None,
            lingering: None,
        }
    }

    /// Ready when `deadline` has passed; otherwise the task is woken no later than then.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            // It was set for an earlier purpose.
            self.sleep.as_mut().reset(deadline);
        }
    }

    /// The socket has nothing to give.
    fn read_pending<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Some(deadline) = self.state.clock.read_deadline(&self.limits) else {
            return Poll::Pending;
        };
        ready!(self.poll_deadline(cx, deadline));
        Poll::Ready(Err(timed_out("the client sent nothing in time")))
    }

    /// Watches a write: what is stuck for too long fails.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_stuck = None;
            return result;
        }
        let since = *self.write_stuck.get_or_insert_with(Instant::now);
        ready!(self.poll_deadline(cx, since + self.limits.write_progress));
        Poll::Ready(Err(timed_out("the client read nothing in time")))
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<Io: AsyncRead + Unpin> AsyncRead for TimedIo<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(result) => {
                if buf.filled().len() > before {
                    self.state.clock.on_bytes(Instant::now);
                }
                Poll::Ready(result)
            }
            Poll::Pending => self.read_pending(cx),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimedIo<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch_write(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch_write(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        if result.is_ready() {
            // Not progress of a write that is stuck: flushing a socket always succeeds.
            return result;
        }
        self.watch_write(cx, result)
    }

    /// Closes our side; then, when the client may still be sending, reads and discards until it closes too.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = match self.lingering {
            Some(until) => until,
            None => {
                let result = Pin::new(&mut self.io).poll_shutdown(cx);
                ready!(self.watch_write(cx, result))?;
                if !self.state.client_may_be_sending() {
                    return Poll::Ready(Ok(()));
                }
                *self.lingering.insert(Instant::now() + LINGER)
            }
        };
        loop {
            let mut discarded = [0; LINGER_BUFFER_BYTES];
            let mut discarded = ReadBuf::new(&mut discarded);
            let read = Pin::new(&mut self.io).poll_read(cx, &mut discarded);
            if read.is_pending() {
                return self.poll_deadline(cx, until).map(Ok);
            }
            let ended = discarded.filled().is_empty();
            if ended || until <= Instant::now() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
