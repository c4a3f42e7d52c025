//! The transport to a node over TCP. Hints for the node and the node's report travel in headers.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod response;

pub use response::requested_pause;

use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use pool_registry_types::headers;
use stream_proxy::{ForwardError, StreamProxy, Timeouts};

use crate::transport::{NodeRequest, NodeResponse, NodeTransport, TransportError};

/// How long an idle connection to a node is kept. A node keeps idle connections for 75 s, so that
/// the next burst need not connect again. Engines usually close them after 5 s; they get
/// [`Timeouts::idle`].
pub const NODE_IDLE: Duration = Duration::from_secs(60);

/// The value of [`headers::VIA`].
const FROM_A_GATEWAY: HeaderValue = HeaderValue::from_static("gateway");

/// The headers that this hop sets. Those of an earlier attempt at another node are removed first.
const ADDED: [HeaderName; 6] = [
    AUTHORIZATION,
    headers::VIA,
    headers::MODEL,
    headers::REPLICA_HINT,
    headers::REPLICA_ONLY,
    headers::FIRST_BYTE_MS,
];

/// Reaches nodes over TCP, each at its registered address.
#[derive(Debug)]
pub struct TcpTransport {
    proxy: StreamProxy,
    token: Option<HeaderValue>,
}

impl TcpTransport {
    /// `token` is the value of `Authorization` that nodes expect.
    #[must_use]
    pub fn new(proxy: StreamProxy, token: Option<HeaderValue>) -> Self {
        Self { proxy, token }
    }

    async fn forward(&self, request: NodeRequest<'_>) -> Result<NodeResponse, TransportError> {
        let NodeRequest {
            endpoint,
            is_bound,
            model,
            outbound,
            timeouts,
        } = request;
        let set = &mut outbound.set_headers;
        set.retain(|(name, _)| !ADDED.contains(name));
        let token = self.token.clone();
        set.extend(token.map(|token| (AUTHORIZATION, token)));
        set.push((headers::VIA, FROM_A_GATEWAY));
        let model = HeaderValue::from_bytes(model.as_bytes());
        set.extend(model.ok().map(|model| (headers::MODEL, model)));
        let hint = endpoint.labels().replica.clone();
        if is_bound && hint.is_some() {
            set.push((headers::REPLICA_ONLY, HeaderValue::from_static("true")));
        }
        set.extend(hint.map(|hint| (headers::REPLICA_HINT, hint)));
        // Most requests are streams, which have the usual limit.
        if timeouts.first_byte > Timeouts::default().first_byte {
            let millis = u64::try_from(timeouts.first_byte.as_millis()).unwrap_or(u64::MAX);
            set.push((headers::FIRST_BYTE_MS, HeaderValue::from(millis)));
        }
        let timeouts = Timeouts {
            idle: NODE_IDLE,
            ..timeouts
        };
        let result = self
            .proxy
            .forward_to(
                Some(&endpoint.key().node),
                endpoint.target(),
                outbound,
                timeouts,
            )
            .await;
        let is_pool = endpoint.key().replica.is_none();
        response::read(result.map_err(transport_error)?, is_pool, SystemTime::now())
    }
}

/// A failed connection is the node's failure, not that of one of its engines.
fn transport_error(error: ForwardError) -> TransportError {
    match error {
        ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => {
            TransportError::Unreachable(error)
        }
        error => TransportError::failed(error),
    }
}

impl NodeTransport for TcpTransport {
    fn send<'a>(
        &'a self,
        request: NodeRequest<'a>,
    ) -> BoxFuture<'a, Result<NodeResponse, TransportError>> {
        Box::pin(self.forward(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-19
    #[test]
    fn a_node_keeps_idle_connections_longer_than_the_gateway() {
        assert!(NODE_IDLE < http_server::Limits::default().idle);
    }
}
