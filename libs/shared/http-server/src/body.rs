//! Request bodies with a size limit and a deadline.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bearer_auth::{CertificateHolder, Principal};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tls_config::PeerCertificate;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    Limits, RequestId,
    body_error::BodyError,
    caller::{BoxError, Caller},
    content_coding,
    phase::ConnectionState,
    quiet_waker,
};

/// The most bytes to reserve because of an announced length. More are reserved as they arrive.
const MAX_TRUSTED_RESERVE_BYTES: u64 = 1024 * 1024;

/// The body of a request: bytes as they arrive, up to a limit, while they keep arriving.
///
/// A body whose announced length exceeds the limit fails at its first poll, before anything is
/// read.
pub struct RequestBody {
    source: Source,
    /// Bytes that may still arrive.
    remaining: u64,
    limit: u64,
    ended: bool,
    caller: Option<Caller>,
    /// Who the caller is, once that is known.
    principal: Option<Principal>,
}

enum Source {
    /// From a connection.
    Connection(Connection),
    /// Made by a caller in the same process.
    Memory(Option<Bytes>),
}

struct Connection {
    incoming: Incoming,
    state: Arc<ConnectionState>,
    /// The longest wait for a piece.
    progress: Duration,
    bytes_per_sec: u32,
    received: u64,
    /// When the current wait for the next piece began.
    waiting: Option<Instant>,
    /// The time waited for the pieces so far.
    waited: Duration,
    /// Made at the first wait: most bodies arrive with their header.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(crate) fn new(
        incoming: Incoming,
        caller: Caller,
        state: Arc<ConnectionState>,
        limits: &Limits,
    ) -> Self {
        let ended = incoming.is_end_stream();
        if ended {
            state.on_request_read();
        }
        Self {
            ended,
            caller: Some(caller),
            principal: None,
            source: Source::Connection(Connection {
                incoming,
                state,
                progress: limits.body_progress,
                bytes_per_sec: limits.body_bytes_per_sec.max(1),
                received: 0,
                waiting: None,
                waited: Duration::ZERO,
                sleep: None,
            }),
            remaining: limits.max_body_bytes,
            limit: limits.max_body_bytes,
        }
    }

    /// The sender; `None` for a body that was made in this process.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// The id of its request.
    #[must_use]
    pub fn request_id(&self) -> Option<&RequestId> {
        self.caller().map(|caller| &caller.id)
    }

    /// Sets the caller, for code in this process that sends requests for a client, and for tests.
    #[must_use]
    pub fn sent_by(mut self, caller: Caller) -> Self {
        self.caller = Some(caller);
        self
    }

    /// Who the caller is; `None` before authentication. A body that was made in this process is
    /// this process's.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// Sets who the caller is.
    pub fn set_principal(&mut self, principal: Principal) {
        self.principal = Some(principal);
    }

    /// The verified certificate that the client presented in its TLS handshake, if it did.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&PeerCertificate> {
        match &self.source {
            Source::Connection(connection) => connection.state.peer_certificate(),
            Source::Memory(_) => None,
        }
    }

    /// Whom that certificate names: a node, or the control plane.
    pub(crate) fn certificate_holder(&self) -> Option<&Arc<CertificateHolder>> {
        match &self.source {
            Source::Connection(connection) => connection.state.certificate_holder(),
            Source::Memory(_) => None,
        }
    }

    /// Whether the request came over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        match &self.source {
            Source::Connection(connection) => connection.state.is_tls(),
            Source::Memory(_) => false,
        }
    }

    /// Marks the connection as authenticated. Returns false if no more authenticated connections
    /// are allowed.
    pub(crate) fn authenticate(&self) -> bool {
        match &self.source {
            Source::Connection(connection) => connection.state.permit().authenticate(),
            Source::Memory(_) => true,
        }
    }

    /// Reads the whole body, if it has at most `cap` bytes. A body that arrived in one piece is not
    /// copied.
    ///
    /// # Errors
    /// When it is too large or too slow, or breaks off.
    pub async fn read_all(mut self, cap: usize) -> Result<Bytes, BodyError> {
        // By reference: a future has two places for what it moves into another one.
        collect(&mut self, cap).await
    }

    /// The same, decoded if these headers of the request name a content coding. The bound holds for
    /// the encoded and for the decoded body.
    ///
    /// # Errors
    /// When the coding is not known, or the body does not have it.
    pub async fn read_decoded(
        &mut self,
        headers: &HeaderMap,
        cap: usize,
    ) -> Result<Bytes, BodyError> {
        let coding = content_coding::coding(headers)?;
        let body = collect(self, cap).await?;
        content_coding::decode(coding, body, cap).await
    }

    /// Counts a piece.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let limit = self.limit;
        self.remaining = self
            .remaining
            .checked_sub(length)
            .ok_or(BodyError::TooLarge { limit })?;
        Ok(frame)
    }
}

impl Connection {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let incoming = &mut self.incoming;
        let piece = quiet_waker::take(cx, |cx| {
            let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
            let is_last = incoming.is_end_stream();
            Poll::Ready((frame, is_last))
        });
        match piece {
            Poll::Ready(frame) => {
                if let Some(since) = self.waiting.take() {
                    self.waited += since.elapsed();
                }
                Poll::Ready(frame.map(|result| match result {
                    Ok(frame) => {
                        self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                        Ok(frame)
                    }
                    Err(error) => Err(BodyError::Broken(error.into())),
                }))
            }
            Poll::Pending => {
                let after = ready!(self.poll_deadline(cx));
                Poll::Ready(Some(Err(BodyError::TooSlow { after })))
            }
        }
    }

    /// Ready with the time waited, once that is too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let since = *self.waiting.get_or_insert_with(Instant::now);
        let on_the_whole = self.progress + self.received_worth();
        let left = on_the_whole.saturating_sub(self.waited);
        let (deadline, after) = if left < self.progress {
            (since + left, on_the_whole)
        } else {
            (since + self.progress, self.progress)
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(after);
            }
            // It was set for an earlier piece.
            sleep.as_mut().reset(deadline);
        }
    }

    /// The time that the bytes so far may have taken.
    fn received_worth(&self) -> Duration {
        Duration::from_millis(self.received.saturating_mul(1000) / u64::from(self.bytes_per_sec))
    }
}

impl From<Bytes> for RequestBody {
    /// A complete body, for callers in this process and for tests.
    fn from(bytes: Bytes) -> Self {
        Self {
            ended: bytes.is_empty(),
            caller: None,
            principal: Some(Principal::Process),
            remaining: bytes.len() as u64,
            limit: bytes.len() as u64,
            source: Source::Memory(Some(bytes).filter(|bytes| !bytes.is_empty())),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let piece = match &mut this.source {
            Source::Memory(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Source::Connection(connection) => {
                if connection.incoming.size_hint().lower() > this.remaining {
                    let limit = this.limit;
                    return Poll::Ready(Some(Err(BodyError::TooLarge { limit })));
                }
                ready!(connection.poll_piece(cx))
            }
        };
        let piece = piece.map(|piece| piece.and_then(|frame| this.take(frame)));
        if let Source::Connection(connection) = &this.source {
            this.ended = match &piece {
                None => true,
                Some(piece) => piece.is_ok() && connection.incoming.is_end_stream(),
            };
            if this.ended {
                connection.state.on_request_read();
            }
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || matches!(self.source, Source::Memory(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Connection(connection) => connection.incoming.size_hint(),
            Source::Memory(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (Source::Connection(connection), false) = (&self.source, self.ended) {
            connection.state.on_body_abandoned();
        }
    }
}

impl std::fmt::Debug for RequestBody {
    /// Shows sizes only: bodies hold prompts.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody")
            .field("size", &self.size_hint())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Reads `body` to its end, if it has at most `cap` bytes.
pub(crate) async fn collect<B>(body: B, cap: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let too_large = || BodyError::TooLarge { limit: cap as u64 };
    let announced = body.size_hint().lower();
    if announced > cap as u64 {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::from_boxed(error.into()))?;
        // No route needs trailers.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + all.len() + data.len() > cap {
            return Err(too_large());
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                let expected = announced.min(MAX_TRUSTED_RESERVE_BYTES);
                all.reserve(usize::try_from(expected).unwrap_or_default());
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
