//! The response body: reading it drives the upstream connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use crate::{link::Link, pool::IdleStack};

/// How much is gathered into one frame: a few hundred tokens, about one socket buffer. More would only delay
/// what is already there.
const GATHER_BYTES: usize = 32 * 1024;

/// Why a stream that had begun did not come to its proper end.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The upstream closed or reset the connection, or sent something that is not HTTP.
    #[error("the upstream broke off in the middle of its answer")]
    Broken(#[source] hyper::Error),
    /// Nothing came for too long.
    #[error("the upstream sent nothing for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The caller's deadline passed.
    #[error("the request's deadline passed in the middle of the answer")]
    Deadline,
}

/// One reusable timer. Moving the limit costs nothing: the timer is only set anew when it fires too early.
#[derive(Debug)]
pub(crate) struct Timer(Pin<Box<Sleep>>);

impl Timer {
    pub(crate) fn new(at: Instant) -> Self {
        Self(Box::pin(tokio::time::sleep_until(at)))
    }

    /// Ready once `at` has passed.
    pub(crate) fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        // A limit that moved earlier than the timer: the timer would sleep through it.
        if at < self.0.deadline() {
            self.0.as_mut().reset(at);
        }
        while self.0.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(at);
        }
        Poll::Pending
    }
}

/// A response body that polls its own upstream connection.
///
/// Read to its end, it gives the connection back for the next request. Dropped before, it closes the
/// connection and thereby cancels the request upstream.
#[derive(Debug)]
pub struct ProxyBody {
    incoming: Incoming,
    /// `None` once the body has ended, one way or the other.
    link: Option<Link>,
    home: Arc<IdleStack>,
    /// Read ahead by [`ProxyBody::poll_first`].
    first: Option<Bytes>,
    /// The break that comes after what was gathered before it.
    broken: Option<hyper::Error>,
    timer: Timer,
    between_frames: Duration,
    /// Since when the reader has been waiting; `None` while frames are at hand.
    waiting_since: Option<Instant>,
    deadline: Option<Instant>,
}

impl ProxyBody {
    pub(crate) fn new(
        incoming: Incoming,
        link: Link,
        home: Arc<IdleStack>,
        timer: Timer,
        between_frames: Duration,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            incoming,
            link: Some(link),
            home,
            first: None,
            broken: None,
            timer,
            between_frames,
            waiting_since: None,
            deadline,
        }
    }

    /// Reads ahead until the first bytes, or the end, are there; the caller's limit runs meanwhile.
    pub(crate) fn poll_first(
        &mut self,
        limit: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<()>>> {
        match self.poll_gather(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.first = Some(bytes);
                Poll::Ready(Some(Ok(())))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(Some(Ok(()))),
            Poll::Pending => self.timer.poll_until(limit, cx).map(|()| None),
        }
    }

    /// Everything the upstream has sent by now, up to [`GATHER_BYTES`], in one piece.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Bytes>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(link) = &mut self.link else {
            return Poll::Ready(None);
        };
        let mut gathered = Gathered::default();
        // The connection decodes one frame at a time, and only when the last one was taken: so take, drive, and
        // take again until driving brings nothing new.
        let mut driven = false;
        let ended = loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    driven = false;
                    // Trailers end at this hop.
                    let Ok(data) = frame.into_data() else { continue };
                    gathered.push(data);
                    if self.incoming.is_end_stream() {
                        break true;
                    }
                    if gathered.len() >= GATHER_BYTES {
                        break false;
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.link = None;
                    self.broken = Some(error);
                    break false;
                }
                Poll::Ready(None) => break true,
                Poll::Pending if driven => break false,
                Poll::Pending => {
                    // How the connection ended, the body itself tells at the next turn.
                    let _ = link.drive(cx);
                    driven = true;
                }
            }
        };
        if ended && let Some(link) = self.link.take() {
            self.home.put(link);
        }
        match (gathered.finish(), self.broken.is_some(), ended) {
            (Some(bytes), ..) => Poll::Ready(Some(Ok(bytes))),
            (None, true, _) => Poll::Ready(self.broken.take().map(Err)),
            (None, false, true) => Poll::Ready(None),
            (None, false, false) => Poll::Pending,
        }
    }
}

/// Frames joined into one; a single frame passes without a copy.
#[derive(Default)]
struct Gathered {
    first: Bytes,
    joined: BytesMut,
}

impl Gathered {
    fn len(&self) -> usize {
        self.first.len().max(self.joined.len())
    }

    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() {
            self.first = data;
            return;
        }
        if self.joined.is_empty() {
            self.joined
                .reserve((self.first.len() + data.len()).next_power_of_two());
            self.joined.extend_from_slice(&self.first);
        }
        self.joined.extend_from_slice(&data);
    }

    fn finish(self) -> Option<Bytes> {
        match (self.first.is_empty(), self.joined.is_empty()) {
            (true, _) => None,
            (false, true) => Some(self.first),
            (false, false) => Some(self.joined.freeze()),
        }
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
        match this.poll_gather(cx) {
            Poll::Ready(item) => {
                this.waiting_since = None;
                Poll::Ready(item.map(|result| result.map(Frame::data).map_err(StreamError::Broken)))
            }
            Poll::Pending => {
                let since = *this.waiting_since.get_or_insert_with(Instant::now);
                let stalled = since + this.between_frames;
                let limit = this.deadline.map_or(stalled, |deadline| deadline.min(stalled));
                std::task::ready!(this.timer.poll_until(limit, cx));
                this.link = None;
                Poll::Ready(Some(Err(if limit == stalled {
                    StreamError::Stalled(this.between_frames)
                } else {
                    StreamError::Deadline
                })))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.link.is_none() && self.first.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        let rest = self.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(first + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(first + upper);
        }
        hint
    }
}
