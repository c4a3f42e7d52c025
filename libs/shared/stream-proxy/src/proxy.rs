//! Sends one request to one upstream.

use std::{borrow::Cow, future::poll_fn, io, net::IpAddr, pin::pin, sync::Arc, task::Poll};

use address_ranges::AddressRanges;
use http::Response;
use http1_client::{
    Destination, IdlePool, IdlePools, ResponseHead, SWEEP_INTERVAL, UpstreamConnection,
};
use pool_registry_types::{HttpUrl, NodeId, node_uri};
use tls_config::ClientTls;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    body::ProxyBody, delay::own_delay, error::ForwardError, outbound::Outbound, timeouts::Timeouts,
};

/// How often a request tries again to connect after this process has noticed a timeout late. A
/// process that is late so often is overloaded.
const MAX_LATE_CONNECTS: u32 = 3;

/// Sends requests to upstreams and reuses their connections. Clones share the idle connections.
#[derive(Debug, Clone)]
pub struct StreamProxy {
    idle_pools: Arc<IdlePools>,
    /// Which `https` upstreams are trusted.
    tls: ClientTls,
    /// The only addresses that are connected to.
    allowed: Option<AddressRanges>,
}

impl Default for StreamProxy {
    fn default() -> Self {
        Self::with_tls(ClientTls::system())
    }
}

impl StreamProxy {
    /// A proxy without connections. It trusts `https` upstreams as the system does.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A proxy without connections, which trusts `https` upstreams as `tls` says.
    #[must_use]
    pub fn with_tls(tls: ClientTls) -> Self {
        Self {
            idle_pools: Arc::default(),
            tls,
            allowed: None,
        }
    }

    /// The same, connecting only to addresses in these ranges, whatever names resolve to.
    #[must_use]
    pub fn within(self, allowed: AddressRanges) -> Self {
        Self {
            allowed: Some(allowed),
            ..self
        }
    }

    /// The same without its connections.
    #[must_use]
    pub(crate) fn without_connections(&self) -> Self {
        Self {
            idle_pools: Arc::default(),
            tls: self.tls.clone(),
            allowed: self.allowed.clone(),
        }
    }

    /// Sends `request` to `target` and returns its response once the first byte of the body has
    /// arrived.
    ///
    /// The response has no hop-by-hop headers, and the version of this side. If a reused connection
    /// closes without a byte of a response, the request is sent once more on a new connection,
    /// provided that [`Outbound::resend`] allows it.
    ///
    /// # Errors
    /// See [`ForwardError`]. Any response is a success here, also one with an HTTP error status.
    pub async fn forward(
        &self,
        target: &HttpUrl,
        request: &Outbound,
        timeouts: Timeouts,
    ) -> Result<Response<ProxyBody>, ForwardError> {
        self.forward_to(None, target, request, timeouts).await
    }

    /// The same for a node: with TLS, a server whose certificate is that of another holder is
    /// refused, and connections that were opened for another node are not used.
    ///
    /// # Errors
    /// See [`ForwardError`]. Any response is a success here, also one with an HTTP error status.
    pub async fn forward_to(
        &self,
        node: Option<&NodeId>,
        target: &HttpUrl,
        request: &Outbound,
        timeouts: Timeouts,
    ) -> Result<Response<ProxyBody>, ForwardError> {
        let idle_pool = match (target.is_https(), node) {
            // A host and port may serve both.
            (true, Some(node)) => self.idle_pools.of(&format!("{target} {node}")),
            (true, None) => self.idle_pools.of(&target.to_string()),
            // Nothing shows who answers.
            (false, _) => self.idle_pools.of(target.authority().as_str()),
        };
        let exchange = Exchange {
            node,
            target,
            request,
            timeouts,
            idle_pool: &idle_pool,
            tls: &self.tls,
            allowed: self.allowed.as_ref(),
        };
        let sent = Instant::now();
        if let Some(mut idle) = idle_pool.take(sent) {
            idle.send(request.encode_head(target), &request.body);
            match exchange.run(idle, sent).await {
                Err(ExchangeError { is_stale: true, .. }) if request.resend.take() => {
                    // Both attempts share one timeout.
                    let connection = Box::pin(exchange.open(Some(sent))).await?;
                    return exchange
                        .run(connection, sent)
                        .await
                        .map_err(|failed| failed.error);
                }
                response => return response.map_err(|failed| failed.error),
            }
        }
        // Few requests connect. The box keeps the future of every request small.
        let connection = Box::pin(exchange.open(None)).await?;
        exchange
            .run(connection, Instant::now())
            .await
            .map_err(|failed| failed.error)
    }

    /// Closes connections that have been idle too long, until `stop` completes. Without it they are
    /// closed by the next request to the same upstream.
    pub async fn sweep(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        while timeout(SWEEP_INTERVAL, &mut stop).await.is_err() {
            self.idle_pools.sweep();
        }
    }
}

/// Why an exchange got no response.
struct ExchangeError {
    error: ForwardError,
    /// The upstream ended the connection without a byte of a response.
    is_stale: bool,
}

impl From<ForwardError> for ExchangeError {
    fn from(error: ForwardError) -> Self {
        Self {
            error,
            is_stale: false,
        }
    }
}

/// One request and its upstream.
struct Exchange<'a> {
    /// The only node that may answer.
    node: Option<&'a NodeId>,
    target: &'a HttpUrl,
    request: &'a Outbound,
    timeouts: Timeouts,
    idle_pool: &'a Arc<IdlePool>,
    tls: &'a ClientTls,
    allowed: Option<&'a AddressRanges>,
}

impl Exchange<'_> {
    /// Opens a connection and sends the request. `first_sent` is the time of the first attempt, if
    /// this is the second.
    async fn open(
        &self,
        first_sent: Option<Instant>,
    ) -> Result<Box<UpstreamConnection>, ForwardError> {
        let start = first_sent.unwrap_or_else(Instant::now);
        let mut late_tries = 0;
        loop {
            match self.try_open(start, first_sent.is_some()).await {
                // A delay of this process says nothing about the upstream, and nothing was sent.
                Err(ForwardError::OwnDelay { .. }) if late_tries < MAX_LATE_CONNECTS => {
                    late_tries += 1;
                }
                opened => return opened,
            }
        }
    }

    /// Opens a connection when it is this request's turn. `start` is when the request's time began;
    /// a first attempt has only the caller's deadline, because waiting here is no answer yet.
    async fn try_open(
        &self,
        start: Instant,
        is_second: bool,
    ) -> Result<Box<UpstreamConnection>, ForwardError> {
        let target = || self.target.clone();
        let until = match (is_second, self.timeouts.deadline) {
            (true, _) => self.limit(start),
            (false, Some(deadline)) => deadline,
            (false, None) => start + self.timeouts.first_byte,
        };
        let handshake = timeout_at(until, self.idle_pool.begin_handshake())
            .await
            .map_err(|_| self.late(start))?;
        let connect = self.timeouts.connect;
        if handshake.is_hopeless() {
            return Err(ForwardError::ConnectTimeout {
                target: target(),
                limit: connect,
            });
        }
        let began = Instant::now();
        let limit = until.saturating_duration_since(began).min(connect);
        let due = began + limit;
        match timeout_at(due, self.connect()).await {
            Ok(Ok(connection)) => {
                handshake.accepted();
                Ok(connection)
            }
            Ok(Err(source)) => Err(ForwardError::connect(source, target())),
            Err(_) if limit < connect => Err(self.late(start)),
            Err(_) => {
                let target = target();
                Err(match own_delay(due, limit, Instant::now()) {
                    Some(late) => ForwardError::OwnDelay { target, late },
                    // A machine that is gone does not answer. This machine is not gone, and it
                    // refuses connections to a port without a server.
                    None if is_this_machine(target.host())
                        || self.idle_pool.is_alive_since(began) =>
                    {
                        ForwardError::AcceptQueueFull { target, limit }
                    }
                    None => {
                        handshake.unanswered();
                        ForwardError::ConnectTimeout { target, limit }
                    }
                })
            }
        }
    }

    /// Connects, with TLS where the URL says so, and sends the request.
    async fn connect(&self) -> io::Result<Box<UpstreamConnection>> {
        let destination = Destination {
            host: self.target.host(),
            port: self.target.port(),
            allowed: self.allowed,
        };
        let head = self.request.encode_head(self.target);
        let body = &self.request.body;
        if self.target.is_https() {
            let tls = match self.node {
                Some(node) => Cow::Owned(self.tls.expecting(node_uri(node))),
                None => Cow::Borrowed(self.tls),
            };
            UpstreamConnection::open_tls(&tls, destination, head, body).await
        } else {
            UpstreamConnection::open(destination, head, body).await
        }
    }

    /// When the response to a request sent at `start` must have begun.
    fn limit(&self, start: Instant) -> Instant {
        let first_byte = start + self.timeouts.first_byte;
        self.timeouts
            .deadline
            .map_or(first_byte, |deadline| deadline.min(first_byte))
    }

    /// The error when [`limit`](Self::limit) has passed.
    fn late(&self, start: Instant) -> ForwardError {
        let target = self.target.clone();
        let allowed = self.timeouts.first_byte;
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

    /// Waits for the response to the request that was sent at `start`.
    async fn run(
        &self,
        mut connection: Box<UpstreamConnection>,
        start: Instant,
    ) -> Result<Response<ProxyBody>, ExchangeError> {
        let limit = self.limit(start);
        let late = || self.late(start);
        let broken = |source| ForwardError::response(source, self.target);

        let head = poll_fn(|cx| match connection.poll_head(&self.request.method, cx) {
            Poll::Ready(head) => Poll::Ready(Some(head)),
            Poll::Pending => connection.poll_until(limit, cx).map(|()| None),
        })
        .await
        .ok_or_else(late)?
        .map_err(|source| ExchangeError {
            is_stale: source.is_disconnect() && !connection.has_response_byte(),
            error: broken(source),
        })?;
        let mut body = ProxyBody::new(connection, self.idle_pool.clone(), self.timeouts);
        poll_fn(|cx| body.poll_first(limit, cx))
            .await
            .ok_or_else(late)?
            .map_err(broken)?;
        Ok(response(head, body))
    }
}

/// Whether `host` is this machine by its loopback address.
fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn response(head: ResponseHead, body: ProxyBody) -> Response<ProxyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}
