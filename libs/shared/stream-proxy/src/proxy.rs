//! Sending one request to one upstream.

use std::{future::poll_fn, io, pin::pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header::HOST, uri::PathAndQuery};
use http_body_util::Full;
use hyper::body::Incoming;
use pool_registry_types::HttpUrl;
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::{
    ProxyBody,
    body::Timer,
    headers::strip_hop_by_hop,
    link::Link,
    pool::{IdleStack, MAX_IDLE, Stacks},
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
}

impl Default for Clocks {
    /// 1 s to connect, 120 s to the first byte (prompts are long), 60 s between frames, no deadline.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(120),
            between_frames: Duration::from_secs(60),
            deadline: None,
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
    /// The headers; hop-by-hop ones and `Host` are replaced.
    pub headers: HeaderMap,
    /// The body, byte for byte as the client sent it.
    pub body: Bytes,
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
    /// This process itself lacks what a connection needs (file descriptors, ports, memory). Says nothing about the
    /// upstream.
    #[error("no connection can be opened from here")]
    Local(#[source] io::Error),
    /// No connection within the limit: the request cannot have reached the upstream.
    #[error("{target} did not accept a connection within {} ms", limit.as_millis())]
    ConnectTimeout {
        /// Where to.
        target: HttpUrl,
        /// The limit.
        limit: Duration,
    },
    /// The connection ended, or turned to something that is not HTTP, before the first byte of the body.
    #[error("{target} broke off before it answered")]
    Reset {
        /// Where to.
        target: HttpUrl,
        /// What hyper said.
        source: hyper::Error,
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
    /// The target's base path and the request's path are no URI together. A bug of the caller.
    #[error("{target} and {path} make no valid URI")]
    Uri {
        /// Where to.
        target: HttpUrl,
        /// The path asked for.
        path: PathAndQuery,
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
    /// The answer's hop-by-hop headers are gone. A request that meets an idle connection which the upstream is just
    /// closing is sent once more, on a new connection; one that an upstream has worked on is not.
    ///
    /// # Errors
    /// See [`ForwardError`]. No error means that the upstream answered; what it answered, an HTTP error status
    /// included, is the caller's to judge.
    pub async fn forward(
        &self,
        target: &HttpUrl,
        request: &Outbound,
        clocks: Clocks,
    ) -> Result<Response<ProxyBody>, ForwardError> {
        let uri = uri(target, &request.path)?;
        let home = self.stacks.of(target);
        let exchange = Exchange {
            target,
            request,
            uri,
            clocks,
            home: &home,
        };
        if let Some(idle) = home.take() {
            let sent = Instant::now();
            match exchange.run(idle).await {
                // Closed by the other side while it lay idle: nobody's failure, and no byte was answered.
                Err(ForwardError::Reset { source, .. })
                    if sent.elapsed() < STALE_WINDOW && is_stale(&source) => {}
                answered => return answered,
            }
        }
        exchange.run(exchange.connect().await?).await
    }

    /// Closes connections that have been idle too long, until `stop` is done. Without it they are closed when
    /// the next request to the same upstream comes.
    pub async fn sweep(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        while timeout(MAX_IDLE / 2, &mut stop).await.is_err() {
            self.stacks.sweep();
        }
    }
}

/// Who is to blame for a connection that did not come about.
fn connect_error(source: io::Error, target: HttpUrl) -> ForwardError {
    use rustix::io::Errno;
    let ours = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    match source.raw_os_error() {
        Some(code) if ours.iter().any(|errno| errno.raw_os_error() == code) => ForwardError::Local(source),
        _ => ForwardError::Connect { target, source },
    }
}

/// For how long after it was sent a request on a reused connection may fail because the connection was being
/// closed by the other side: a few round trips. Later the upstream has had the request in its hands.
const STALE_WINDOW: Duration = Duration::from_millis(20);

/// Whether a request on a reused connection failed because the connection had been closed.
fn is_stale(error: &hyper::Error) -> bool {
    let reset = |error: &hyper::Error| {
        std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<io::Error>())
            .is_some_and(|io| {
                matches!(
                    io.kind(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                )
            })
    };
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || reset(error)
}

fn uri(target: &HttpUrl, path: &PathAndQuery) -> Result<Uri, ForwardError> {
    let joined = if target.base_path().is_empty() {
        Ok(Uri::from(path.clone()))
    } else {
        [target.base_path(), path.as_str()].concat().parse()
    };
    joined.map_err(|_| ForwardError::Uri {
        target: target.clone(),
        path: path.clone(),
    })
}

/// One request and the upstream it goes to.
struct Exchange<'a> {
    target: &'a HttpUrl,
    request: &'a Outbound,
    uri: Uri,
    clocks: Clocks,
    home: &'a Arc<IdleStack>,
}

impl Exchange<'_> {
    async fn connect(&self) -> Result<Link, ForwardError> {
        let target = || self.target.clone();
        let left = self
            .clocks
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = left.map_or(self.clocks.connect, |left| left.min(self.clocks.connect));
        match timeout(limit, Link::connect(self.target)).await {
            Ok(connected) => connected.map_err(|source| connect_error(source, target())),
            Err(_) if limit < self.clocks.connect => Err(ForwardError::Deadline { target: target() }),
            Err(_) => Err(ForwardError::ConnectTimeout {
                target: target(),
                limit,
            }),
        }
    }

    fn outbound(&self) -> Request<Full<Bytes>> {
        let mut sent = Request::new(Full::new(self.request.body.clone()));
        *sent.method_mut() = self.request.method.clone();
        *sent.uri_mut() = self.uri.clone();
        let headers = sent.headers_mut();
        headers.clone_from(&self.request.headers);
        strip_hop_by_hop(headers);
        if let Ok(host) = HeaderValue::from_str(self.target.authority().as_str()) {
            headers.insert(HOST, host);
        }
        sent
    }

    async fn run(&self, mut link: Link) -> Result<Response<ProxyBody>, ForwardError> {
        let start = Instant::now();
        let first_byte = start + self.clocks.first_byte;
        let limit = self
            .clocks
            .deadline
            .map_or(first_byte, |deadline| deadline.min(first_byte));
        let mut timer = Timer::new(limit);
        let late = || {
            let target = self.target.clone();
            if limit == first_byte {
                ForwardError::FirstByte {
                    target,
                    limit: self.clocks.first_byte,
                }
            } else {
                ForwardError::Deadline { target }
            }
        };
        let reset = |source| ForwardError::Reset {
            target: self.target.clone(),
            source,
        };

        let head: Option<hyper::Result<Response<Incoming>>> = {
            let mut answer = pin!(link.send(self.outbound()));
            poll_fn(|cx| {
                // How a connection ended, the waiting answer tells.
                let _ = link.drive(cx);
                if let Poll::Ready(head) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Some(head));
                }
                timer.poll_until(limit, cx).map(|()| None)
            })
            .await
        };
        let (mut parts, incoming) = head.ok_or_else(late)?.map_err(reset)?.into_parts();
        strip_hop_by_hop(&mut parts.headers);
        let mut body = ProxyBody::new(
            incoming,
            link,
            self.home.clone(),
            timer,
            self.clocks.between_frames,
            self.clocks.deadline,
        );
        poll_fn(|cx| body.poll_first(limit, cx))
            .await
            .ok_or_else(late)?
            .map_err(reset)?;
        Ok(Response::from_parts(parts, body))
    }
}
