//! Sending one request to one upstream.

use std::{future::poll_fn, io, pin::pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, uri::PathAndQuery};
use local_limits::is_local_limit;
use pool_registry_types::HttpUrl;
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    ProxyBody, Resend,
    delay::own_delay,
    link::{BrokenAnswer, Link},
    pool::{IdleStack, SWEEP_INTERVAL, Stacks},
    wire::{Head, encode_head},
};

/// How long a request may take, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// To connect. A machine of the same network answers within a millisecond, or is gone.
    pub connect: Duration,
    /// From the connection to the first byte of the answer's body.
    pub first_byte: Duration,
    /// Between two frames of the answer.
    pub between_frames: Duration,
    /// For everything; the caller's own deadline.
    pub deadline: Option<Instant>,
    /// How long the connection may lie idle after the answer and still serve another request.
    /// Shorter than the upstream keeps it, or requests meet connections that are closing under
    /// them.
    pub idle: Duration,
}

impl Default for Clocks {
    /// 1 s to connect, 120 s to the first byte (prompts are long), 60 s between frames, no
    /// deadline, 4 s idle: `llama-server` and vLLM close idle connections after 5 s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(120),
            between_frames: Duration::from_secs(60),
            deadline: None,
            idle: Duration::from_secs(4),
        }
    }
}

/// A request to send on. The body is whole, so that it can be sent again.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// The method.
    pub method: Method,
    /// Path and query, to be appended to the target's base path.
    pub path: PathAndQuery,
    /// The client's headers as they came. Those of one hop (RFC 9110, section 7.6.1), `Host` and
    /// `Content-Length` do not go on, nor do those `removed_headers`.
    pub headers: HeaderMap,
    /// Headers of the client that end here.
    pub removed_headers: &'static [HeaderName],
    /// Headers of the caller's own. They take the place of the client's with the same name, and
    /// nothing that the client sent takes them away.
    pub set_headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, byte for byte as the client sent it.
    pub body: Bytes,
    /// Whether it may be sent a second time, and whether it was.
    pub resend: Resend,
}

impl Outbound {
    /// A request with the client's headers and none of the caller's own.
    #[must_use]
    pub fn new(method: Method, path: PathAndQuery, headers: HeaderMap, body: Bytes) -> Self {
        Self {
            method,
            path,
            headers,
            removed_headers: &[],
            set_headers: Vec::new(),
            body,
            resend: Resend::default(),
        }
    }
}

/// Why no answer came. Nothing was sent to the client yet, so another upstream may still be tried.
#[derive(Debug, Error)]
pub enum ForwardError {
    /// No connection: the request cannot have reached the upstream.
    #[error("cannot connect to {target}")]
    Connect {
        /// Where to.
        target: HttpUrl,
        /// What the system said.
        source: io::Error,
    },
    /// This process itself lacks what a connection needs (file descriptors, ports, memory). Says
    /// nothing about the upstream.
    #[error("no connection can be opened from here")]
    Local(#[source] io::Error),
    /// A time limit passed, and this process noticed so late that the limit says nothing about the
    /// upstream.
    #[error("this process was {} ms late itself, so a time limit for {target} means nothing", late.as_millis())]
    OwnDelay {
        /// Where to.
        target: HttpUrl,
        /// How long after its time the limit was noticed.
        late: Duration,
    },
    /// No connection within the limit: the request cannot have reached the upstream.
    #[error("{target} did not accept a connection within {} ms", limit.as_millis())]
    ConnectTimeout {
        /// Where to.
        target: HttpUrl,
        /// The limit.
        limit: Duration,
    },
    /// The connection ended, or turned to something that is not HTTP, before the first byte of the
    /// body.
    #[error("{target} broke off before it answered")]
    Reset {
        /// Where to.
        target: HttpUrl,
        /// How.
        source: BrokenAnswer,
    },
    /// No first byte within the limit.
    #[error("{target} sent no byte of its answer within {} s", limit.as_secs())]
    FirstByte {
        /// Where to.
        target: HttpUrl,
        /// The limit.
        limit: Duration,
    },
    /// The caller's own deadline passed.
    #[error("the request's deadline passed before {target} answered")]
    Deadline {
        /// Where to.
        target: HttpUrl,
    },
}

/// Sends requests to upstreams and keeps their idle connections. Cloning is cheap and shares them.
#[derive(Debug, Clone, Default)]
pub struct StreamProxy {
    stacks: Arc<Stacks>,
}

impl StreamProxy {
    /// A proxy without connections yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends `request` to `target` and returns its answer once the first byte of the body is there.
    ///
    /// The answer's hop-by-hop headers are gone, and its version is this side's own. A request
    /// whose reused connection is closed without a byte of an answer is sent once more on a new
    /// connection, if [`Outbound::resend`] allows it.
    ///
    /// # Errors
    /// See [`ForwardError`]. No error means that the upstream answered; what it answered, an HTTP
    /// error status included, is the caller's to judge.
    pub async fn forward(
        &self,
        target: &HttpUrl,
        request: &Outbound,
        clocks: Clocks,
    ) -> Result<Response<ProxyBody>, ForwardError> {
        let home = self.stacks.of(target);
        let exchange = Exchange {
            target,
            request,
            clocks,
            home: &home,
        };
        let sent = Instant::now();
        if let Some(mut idle) = home.take(sent) {
            idle.send(encode_head(target, request), &request.body);
            match exchange.run(idle, sent).await {
                Err(Unanswered { is_stale: true, .. }) if request.resend.take() => {
                    // Both sendings together have the time of one.
                    let link = exchange.open(Some(sent)).await?;
                    return exchange
                        .run(link, sent)
                        .await
                        .map_err(|unanswered| unanswered.error);
                }
                answered => return answered.map_err(|unanswered| unanswered.error),
            }
        }
        let link = exchange.open(None).await?;
        exchange
            .run(link, Instant::now())
            .await
            .map_err(|unanswered| unanswered.error)
    }

    /// Closes connections that have been idle too long, until `stop` is done. Without it they are
    /// closed when the next request to the same upstream comes.
    pub async fn sweep(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        while timeout(SWEEP_INTERVAL, &mut stop).await.is_err() {
            self.stacks.sweep();
        }
    }
}

/// Who is to blame for a connection that did not come about.
fn connect_error(source: io::Error, target: HttpUrl) -> ForwardError {
    if is_local_limit(&source) {
        ForwardError::Local(source)
    } else {
        ForwardError::Connect { target, source }
    }
}

/// Who is to blame for an answer that broke off.
fn reset_error(source: BrokenAnswer, target: &HttpUrl) -> ForwardError {
    match source {
        BrokenAnswer::Io(source) if is_local_limit(&source) => ForwardError::Local(source),
        source => ForwardError::Reset {
            target: target.clone(),
            source,
        },
    }
}

/// Why an exchange brought no answer.
struct Unanswered {
    error: ForwardError,
    /// The other side ended the connection without a byte of an answer.
    is_stale: bool,
}

impl From<ForwardError> for Unanswered {
    fn from(error: ForwardError) -> Self {
        Self {
            error,
            is_stale: false,
        }
    }
}

/// One request and the upstream it goes to.
struct Exchange<'a> {
    target: &'a HttpUrl,
    request: &'a Outbound,
    clocks: Clocks,
    home: &'a Arc<IdleStack>,
}

impl Exchange<'_> {
    /// A new connection, with the request on its way. `since`: when it was sent for the first time,
    /// if it was.
    async fn open(&self, since: Option<Instant>) -> Result<Box<Link>, ForwardError> {
        let target = || self.target.clone();
        let start = Instant::now();
        let until = match since {
            Some(since) => Some(self.limit(since)),
            None => self.clocks.deadline,
        };
        let left = until.map(|until| until.saturating_duration_since(start));
        let limit = left.map_or(self.clocks.connect, |left| left.min(self.clocks.connect));
        let head = encode_head(self.target, self.request);
        let due = Instant::now() + limit;
        // In a box: few requests connect, and the futures around this one are moved for all of them.
        let opening = Box::pin(Link::open(self.target, head, &self.request.body));
        match timeout_at(due, opening).await {
            Ok(connected) => connected.map_err(|source| connect_error(source, target())),
            Err(_) if limit < self.clocks.connect => Err(self.late(since.unwrap_or(start))),
            Err(_) => Err(match own_delay(due, limit, Instant::now()) {
                Some(late) => ForwardError::OwnDelay {
                    target: target(),
                    late,
                },
                None => ForwardError::ConnectTimeout {
                    target: target(),
                    limit,
                },
            }),
        }
    }

    /// Until when the answer to what was sent at `start` must have begun.
    fn limit(&self, start: Instant) -> Instant {
        let first_byte = start + self.clocks.first_byte;
        self.clocks
            .deadline
            .map_or(first_byte, |deadline| deadline.min(first_byte))
    }

    /// It had not.
    fn late(&self, start: Instant) -> ForwardError {
        let target = self.target.clone();
        let allowed = self.clocks.first_byte;
        let first_byte = start + allowed;
        if self.limit(start) != first_byte {
            return ForwardError::Deadline { target };
        }
        match own_delay(first_byte, allowed, Instant::now()) {
            Some(late) => ForwardError::OwnDelay { target, late },
            None => ForwardError::FirstByte {
                target,
                limit: allowed,
            },
        }
    }

    /// Waits for the answer to what is sent on `link`; its time began at `start`.
    async fn run(
        &self,
        mut link: Box<Link>,
        start: Instant,
    ) -> Result<Response<ProxyBody>, Unanswered> {
        let limit = self.limit(start);
        let late = || self.late(start);
        let reset = |source| reset_error(source, self.target);

        let head = poll_fn(|cx| match link.poll_head(&self.request.method, cx) {
            Poll::Ready(head) => Poll::Ready(Some(head)),
            Poll::Pending => link.poll_until(limit, cx).map(|()| None),
        })
        .await
        .ok_or_else(late)?
        .map_err(|source| Unanswered {
            is_stale: source.is_end() && !link.has_answered(),
            error: reset(source),
        })?;
        let mut body = ProxyBody::new(link, self.home.clone(), self.clocks);
        poll_fn(|cx| body.poll_first(limit, cx))
            .await
            .ok_or_else(late)?
            .map_err(reset)?;
        Ok(answer(head, body))
    }
}

fn answer(head: Head, body: ProxyBody) -> Response<ProxyBody> {
    let mut answer = Response::new(body);
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    answer
}
