//! The response body: reading it drives the upstream connection.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use local_limits::is_local_limit;
use thiserror::Error;
use tokio::time::Instant;

use crate::{
    Clocks,
    delay::own_delay,
    link::{BrokenAnswer, Link},
    pool::IdleStack,
};

/// Why a stream that had begun did not come to its proper end.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The upstream closed or reset the connection, or sent something that is not HTTP.
    #[error("the upstream broke off in the middle of its answer")]
    Broken(#[source] BrokenAnswer),
    /// Nothing came for too long.
    #[error("the upstream sent nothing for {} s", .0.as_secs())]
    Stalled(Duration),
    /// Nothing came for too long, but this process noticed so late that it says nothing about the
    /// upstream.
    #[error("this process was {} ms late itself in the middle of the answer", .0.as_millis())]
    OwnDelay(Duration),
    /// The caller's deadline passed.
    #[error("the request's deadline passed in the middle of the answer")]
    Deadline,
}

impl StreamError {
    /// Whether this process itself is the reason, so that the failure says nothing about the
    /// upstream.
    #[must_use]
    pub fn is_own(&self) -> bool {
        match self {
            Self::OwnDelay(_) => true,
            Self::Broken(BrokenAnswer::Io(error)) => is_local_limit(error),
            Self::Broken(_) | Self::Stalled(_) | Self::Deadline => false,
        }
    }
}

/// What a caller holds for as long as the upstream works on a request, such as a slot of it.
///
/// Dropping it without [`done`](Self::done) means that the answer broke off, or that its reader
/// left: the connection is closed by then, and the upstream may still work on the request.
pub trait BodyGuard: fmt::Debug + Send + Sync {
    /// The upstream has sent all of its answer.
    fn done(self: Box<Self>);
}

/// A response body that polls its own upstream connection.
///
/// Read to its end, it gives the connection back for the next request. Dropped before, it closes
/// the connection and thereby cancels the request upstream.
#[derive(Debug)]
pub struct ProxyBody {
    /// `None` once the body has ended, one way or the other.
    link: Option<Box<Link>>,
    home: Arc<IdleStack>,
    /// Read ahead by [`ProxyBody::poll_first`], or put back.
    first: Option<Bytes>,
    clocks: Clocks,
    /// Since when the reader has been waiting; `None` while frames are at hand.
    waiting_since: Option<Instant>,
    /// After `link`, so that a body that is dropped closes its connection first.
    guard: Option<Box<dyn BodyGuard>>,
}

impl ProxyBody {
    pub(crate) fn new(link: Box<Link>, home: Arc<IdleStack>, clocks: Clocks) -> Self {
        Self {
            link: Some(link),
            home,
            first: None,
            clocks,
            waiting_since: None,
            guard: None,
        }
    }

    /// Whether the upstream has sent all of its answer, read or not.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.link.is_none()
    }

    /// Holds `guard` until the upstream has sent all of its answer. To be called before the body is
    /// read; where the answer is complete already, the guard is done at once.
    pub fn attach(&mut self, guard: Box<dyn BodyGuard>) {
        if self.is_complete() {
            guard.done();
        } else {
            self.guard = Some(guard);
        }
    }

    /// Closes the connection. A task that waits for the upstream to finish the request learns that
    /// it may not have.
    fn break_off(&mut self) {
        self.link = None;
        self.guard = None;
    }

    /// Puts back bytes that were read from this body, so that they are the next to be read.
    pub fn put_back(&mut self, read: Bytes) {
        if read.is_empty() {
            return;
        }
        self.first = Some(match self.first.take() {
            None => read,
            Some(later) => [read, later].concat().into(),
        });
    }

    /// Reads ahead until the first bytes, or the end, are there; `None` when `limit` passes before.
    pub(crate) fn poll_first(
        &mut self,
        limit: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(), BrokenAnswer>>> {
        match self.poll_part(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.first = Some(bytes);
                Poll::Ready(Some(Ok(())))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(Some(Ok(()))),
            Poll::Pending => match &mut self.link {
                Some(link) => link.poll_until(limit, cx).map(|()| None),
                None => Poll::Pending,
            },
        }
    }

    /// What the upstream has sent by now, in one piece. The connection goes back, or is closed,
    /// with the body's end.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenAnswer>>> {
        let Some(link) = &mut self.link else {
            return Poll::Ready(None);
        };
        let mut part = Vec::new();
        match ready!(link.poll_body(&mut part, cx)) {
            Err(error) => {
                self.break_off();
                return Poll::Ready(Some(Err(error)));
            }
            Ok(true) => {
                if let Some(link) = self.link.take().filter(|link| link.is_reusable()) {
                    self.home.put(link, self.clocks.idle);
                }
                if let Some(guard) = self.guard.take() {
                    guard.done();
                }
            }
            Ok(false) => {}
        }
        Poll::Ready((!part.is_empty()).then(|| Ok(Bytes::from(part))))
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        match this.poll_part(cx) {
            Poll::Ready(item) => {
                this.waiting_since = None;
                Poll::Ready(item.map(|result| result.map(Frame::data).map_err(StreamError::Broken)))
            }
            Poll::Pending => {
                let since = *this.waiting_since.get_or_insert_with(Instant::now);
                let stalled = since + this.clocks.between_frames;
                let limit = this
                    .clocks
                    .deadline
                    .map_or(stalled, |deadline| deadline.min(stalled));
                if let Some(link) = &mut this.link {
                    ready!(link.poll_until(limit, cx));
                }
                this.break_off();
                let allowed = this.clocks.between_frames;
                Poll::Ready(Some(Err(if limit != stalled {
                    StreamError::Deadline
                } else if let Some(late) = own_delay(stalled, allowed, Instant::now()) {
                    StreamError::OwnDelay(late)
                } else {
                    StreamError::Stalled(allowed)
                })))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.link.is_none() && self.first.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        match self.link.as_ref().map_or(Some(0), |link| link.bytes_left()) {
            Some(rest) => SizeHint::with_exact(first + rest),
            None => {
                let mut hint = SizeHint::new();
                hint.set_lower(first);
                hint
            }
        }
    }
}
