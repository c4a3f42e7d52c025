//! The response body: reading it drives the upstream connection.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http1_client::{IdlePool, ResponseError, UpstreamConnection};
use tokio::time::Instant;

use crate::{delay::own_delay, error::StreamError, timeouts::Timeouts};

/// A resource that a caller holds while the upstream works on a request, such as a slot.
///
/// Dropping it without [`done`](Self::done) means that the response broke or its reader left. The
/// connection is closed by then, and the upstream may still work on the request.
pub trait BodyGuard: fmt::Debug + Send + Sync {
    /// The upstream has sent its complete response.
    fn done(self: Box<Self>);
}

/// A response body that polls its own upstream connection.
///
/// Reading it to its end returns the connection to the idle pool. Dropping it earlier closes the
/// connection, which cancels the request upstream.
#[derive(Debug)]
pub struct ProxyBody {
    /// `None` once the body is complete or broken.
    connection: Option<Box<UpstreamConnection>>,
    idle_pool: Arc<IdlePool>,
    /// Bytes that [`ProxyBody::poll_first`] read ahead, or that were put back.
    first: Option<Bytes>,
    timeouts: Timeouts,
    /// When the reader began to wait; `None` while frames are ready.
    waiting_since: Option<Instant>,
    /// Declared after `connection`, so that dropping the body closes the connection first.
    guard: Option<Box<dyn BodyGuard>>,
}

impl ProxyBody {
    pub(crate) fn new(
        connection: Box<UpstreamConnection>,
        idle_pool: Arc<IdlePool>,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            connection: Some(connection),
            idle_pool,
            first: None,
            timeouts,
            waiting_since: None,
            guard: None,
        }
    }

    /// Whether the upstream has sent its complete response, read or not.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.connection.is_none()
    }

    /// Holds `guard` until the upstream has sent its complete response. Call it before reading the
    /// body; if the response is complete already, the guard is done at once.
    pub fn attach(&mut self, guard: Box<dyn BodyGuard>) {
        if self.is_complete() {
            guard.done();
        } else {
            self.guard = Some(guard);
        }
    }

    /// Closes the connection and drops the guard without calling it done.
    fn break_off(&mut self) {
        self.connection = None;
        self.guard = None;
    }

    /// Puts back bytes that were read from this body; they are read next.
    pub fn put_back(&mut self, read: Bytes) {
        if read.is_empty() {
            return;
        }
        self.first = Some(match self.first.take() {
            None => read,
            Some(later) => [read, later].concat().into(),
        });
    }

    /// Reads ahead until the first bytes or the end have arrived; `None` when `limit` passes first.
    pub(crate) fn poll_first(
        &mut self,
        limit: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(), ResponseError>>> {
        match self.poll_part(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.first = Some(bytes);
                Poll::Ready(Some(Ok(())))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(Some(Ok(()))),
            Poll::Pending => match &mut self.connection {
                Some(connection) => connection.poll_until(limit, cx).map(|()| None),
                None => Poll::Pending,
            },
        }
    }

    /// All bytes that the upstream has sent so far. At the end of the body the connection returns
    /// to the idle pool or is closed.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ResponseError>>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(None);
        };
        let mut part = Vec::new();
        match ready!(connection.poll_body(&mut part, cx)) {
            Err(error) => {
                self.break_off();
                return Poll::Ready(Some(Err(error)));
            }
            Ok(true) => {
                if let Some(connection) = self.connection.take()
                    && connection.is_reusable()
                {
                    self.idle_pool.put(connection, self.timeouts.idle);
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
                let stalled = since + this.timeouts.between_frames;
                let limit = this
                    .timeouts
                    .deadline
                    .map_or(stalled, |deadline| deadline.min(stalled));
                if let Some(connection) = &mut this.connection {
                    ready!(connection.poll_until(limit, cx));
                }
                this.break_off();
                let allowed = this.timeouts.between_frames;
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
        self.connection.is_none() && self.first.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        let left = self
            .connection
            .as_ref()
            .map_or(Some(0), |connection| connection.bytes_left());
        match left {
            Some(rest) => SizeHint::with_exact(first + rest),
            None => {
                let mut hint = SizeHint::new();
                hint.set_lower(first);
                hint
            }
        }
    }
}
