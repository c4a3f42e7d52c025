//! A socket that records what its client does.

use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::{
    phase::{ConnectionState, Interruption, Phase},
    refused_head::explain,
};

/// The buffer size for discarding while lingering, and for reading ahead of hyper.
const PIECE_BYTES: usize = 4096;

/// The most bytes read ahead of hyper: any request that a client reasonably pipelines. A client
/// that sends more is not read further, so its leaving is noticed only when hyper reads on.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// The first byte of TLS: the type of a handshake record. No request begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Wraps a socket and updates a [`ConnectionState`]. It has no timer: the loop of the connection
/// checks the state when it is idle. A successful read or write costs an atomic load or two.
///
/// Only reading shows that a client has left. While hyper serves a request, it reads only as long
/// as it holds no byte of the next one. So after a stray line break behind a body, a leaving client
/// would go unnoticed. This reads ahead in hyper's place, whenever hyper flushes, which it does in
/// each of its rounds.
pub(crate) struct ObservedIo<Io> {
    io: Io,
    state: Arc<ConnectionState>,
    /// Bytes read but not yet given to hyper. Almost always empty, without an allocation.
    ahead: BytesMut,
    /// The next byte is the first one, and tells TLS from HTTP.
    may_be_tls: bool,
    /// The sending side is closed.
    is_shut: bool,
    /// Present on HTTP/1.1.
    refusals: Option<Refusals>,
}

/// Tells the refusals that hyper writes by itself from the responses of handlers: a write is one
/// when no request began since everything was sent.
struct Refusals {
    /// How many requests had begun when everything was sent.
    answered: u32,
    /// For the message.
    max_header_bytes: usize,
    /// The rest of the response in place of hyper's.
    rest: Option<Bytes>,
}

impl<Io> ObservedIo<Io> {
    pub(crate) fn new(io: Io, state: Arc<ConnectionState>) -> Self {
        Self {
            io,
            state,
            ahead: BytesMut::new(),
            may_be_tls: false,
            is_shut: false,
            refusals: None,
        }
    }

    /// Interrupts the connection if its first byte is that of TLS.
    pub(crate) fn or_tls(self, may_be_tls: bool) -> Self {
        Self { may_be_tls, ..self }
    }

    /// Replaces hyper's refusals of requests, which have no body. For HTTP/1.1.
    pub(crate) fn explain_refusals(self, max_header_bytes: usize) -> Self {
        let refusals = Refusals {
            answered: self.state.requests(),
            max_header_bytes,
            rest: None,
        };
        Self {
            refusals: Some(refusals),
            ..self
        }
    }

    /// The socket, and what was read of it but not yet given to hyper.
    pub(crate) fn into_parts(self) -> (Io, BytesMut) {
        (self.io, self.ahead)
    }

    fn observe_write<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(_) => self.state.on_written(Instant::now),
            Poll::Pending => self.state.on_write_stuck(Instant::now),
        }
        result
    }
}

impl<Io: AsyncRead + Unpin> ObservedIo<Io> {
    /// Reads ahead while there is room. The task is woken when more arrives, or the client closes.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        while self.ahead.len() < READ_AHEAD_BYTES {
            let mut piece = [0; PIECE_BYTES];
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.io).poll_read(cx, &mut piece) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    self.ahead.extend_from_slice(piece.filled());
                }
                Poll::Ready(_) => return self.state.interrupt(Interruption::ClientGone),
            }
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for ObservedIo<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = if self.ahead.is_empty() {
            Pin::new(&mut self.io).poll_read(cx, buf)
        } else {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(count));
            Poll::Ready(Ok(()))
        };
        if buf.filled().len() > before {
            self.state.on_bytes(Instant::now);
            if mem::take(&mut self.may_be_tls) && buf.filled().get(before) == Some(&TLS_HANDSHAKE) {
                // hyper sees nothing of it, and is not polled again.
                self.ahead.extend_from_slice(&buf.filled()[before..]);
                buf.set_filled(before);
                self.state.interrupt(Interruption::TlsBegins);
                return Poll::Pending;
            }
        } else if result.is_pending() {
            self.state.on_read_pending();
        }
        result
    }
}

impl<Io: AsyncWrite + Unpin> ObservedIo<Io> {
    /// Writes the explained form of `bare` if that is a refusal of hyper; `None` if it is not.
    fn poll_refusal(
        &mut self,
        cx: &mut Context<'_>,
        bare: &[u8],
    ) -> Option<Poll<io::Result<usize>>> {
        let refusals = self.refusals.as_mut()?;
        if refusals.answered != self.state.requests() {
            return None;
        }
        if refusals.rest.is_none() {
            refusals.rest = Some(explain(bare, refusals.max_header_bytes)?);
        }
        let rest = refusals.rest.as_mut()?;
        while !rest.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, rest) {
                Poll::Ready(Ok(count)) if count > 0 => rest.advance(count),
                Poll::Ready(Ok(_)) => return Some(Poll::Ready(Ok(0))),
                other => return Some(other),
            }
        }
        Some(Poll::Ready(Ok(bare.len())))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ObservedIo<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(result) = self.poll_refusal(cx, buf) {
            return self.observe_write(result);
        }
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.observe_write(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A refusal is one piece.
        if let [first, ..] = bufs
            && let Some(result) = self.poll_refusal(cx, first)
        {
            return self.observe_write(result);
        }
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.observe_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// Flushing a socket does nothing and is no progress. But hyper calls it in each round.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.is_unobserved() {
            self.poll_ahead(cx);
        }
        // hyper flushes the socket when it holds nothing more to write.
        if self.state.phase() != Phase::Request {
            let requests = self.state.requests();
            if let Some(refusals) = &mut self.refusals {
                refusals.answered = requests;
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Closes the sending side. If the client may still be sending, reads and discards until it
    /// closes too.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.is_shut = true;
            if !self.state.client_may_be_sending() {
                return Poll::Ready(Ok(()));
            }
            self.state.on_close(Instant::now());
        }
        loop {
            let mut discarded = [0; PIECE_BYTES];
            let mut discarded = ReadBuf::new(&mut discarded);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut discarded))?;
            if discarded.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::{Limits, permits::ConnectionPermits};

    /// Reads an endless stream of `x`, takes `room` bytes, and says how it was written to.
    struct Fake {
        room: usize,
        vectored: usize,
        closed: bool,
    }

    impl AsyncRead for Fake {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buf.put_slice(b"x");
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Fake {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = buf.len().min(self.room);
            self.room -= taken;
            if taken == 0 {
                Poll::Pending
            } else {
                Poll::Ready(Ok(taken))
            }
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.vectored += 1;
            self.poll_write(cx, &bufs[0])
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.closed = true;
            Poll::Ready(Ok(()))
        }
    }

    fn observed(room: usize) -> ObservedIo<Fake> {
        let fake = Fake {
            room,
            vectored: 0,
            closed: false,
        };
        let permit = ConnectionPermits::new(&Limits::default())
            .acquire()
            .unwrap()
            .permit;
        ObservedIo::new(
            fake,
            Arc::new(ConnectionState::new(Instant::now(), permit.shared())),
        )
    }

    #[tokio::test]
    async fn notes_the_first_byte() {
        let mut io = observed(0);
        io.read_exact(&mut [0]).await.unwrap();
        assert_eq!(io.state.phase(), crate::phase::Phase::Header);
    }

    #[test]
    fn passes_vectored_writes_on_and_notes_a_stuck_one() {
        let mut io = observed(3);
        let limits = crate::Limits::default();
        io.state.on_request();
        assert!(io.is_write_vectored());
        let mut cx = Context::from_waker(Waker::noop());
        let bufs = [IoSlice::new(b"ab"), IoSlice::new(b"c")];
        assert!(
            Pin::new(&mut io)
                .poll_write_vectored(&mut cx, &bufs)
                .is_ready()
        );
        assert_eq!(io.state.deadline(&limits), None);
        assert!(Pin::new(&mut io).poll_write(&mut cx, b"c").is_ready());
        assert!(Pin::new(&mut io).poll_write(&mut cx, b"d").is_pending());
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_ready());
        assert!(io.state.deadline(&limits).is_some());
        io.io.room = 1;
        assert!(Pin::new(&mut io).poll_write(&mut cx, b"d").is_ready());
        assert_eq!(io.state.deadline(&limits), None);
        assert_eq!(io.io.vectored, 1);
    }

    #[test]
    fn closes_at_once_when_nothing_is_on_its_way() {
        let mut io = observed(0);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut io).poll_shutdown(&mut cx).is_ready());
        assert!(io.io.closed);
    }
}
