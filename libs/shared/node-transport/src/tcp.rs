//! To a node over TCP: what its agent is to know goes in headers, and what it says of itself comes
//! back in headers.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod answer;

pub use answer::asked_pause;

use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use pool_registry_types::headers;
use stream_proxy::{ForwardError, StreamProxy, Timeouts};

use crate::{NoAnswer, NodeAnswer, NodeRequest, NodeTransport};

/// How long a connection to a node is kept for another request. A node keeps idle ones for 75 s, so
/// that the next burst need not connect anew; engines, which most often close them after 5 s, get
/// [`Timeouts::idle`].
pub const NODE_IDLE: Duration = Duration::from_secs(60);

/// The value of [`headers::VIA`].
const FROM_A_GATEWAY: HeaderValue = HeaderValue::from_static("gateway");

/// What this hop adds to a request. Those of an earlier try to another node are taken away first.
const ADDED: [HeaderName; 4] = [
    AUTHORIZATION,
    headers::VIA,
    headers::MODEL,
    headers::REPLICA_HINT,
];

/// Reaches nodes over TCP, each at the address that it has registered.
#[derive(Debug)]
pub struct Tcp {
    proxy: StreamProxy,
    token: Option<HeaderValue>,
}

impl Tcp {
    /// `token` is what nodes ask for, as the value of `Authorization`.
    #[must_use]
    pub fn new(proxy: StreamProxy, token: Option<HeaderValue>) -> Self {
        Self { proxy, token }
    }

    async fn forward(&self, request: NodeRequest<'_>) -> Result<NodeAnswer, NoAnswer> {
        let NodeRequest {
            endpoint,
            model,
            outbound,
            clocks,
        } = request;
        let own = &mut outbound.set_headers;
        own.retain(|(name, _)| !ADDED.contains(name));
        let token = self.token.clone();
        own.extend(token.map(|token| (AUTHORIZATION, token)));
        own.push((headers::VIA, FROM_A_GATEWAY));
        let model = HeaderValue::from_bytes(model.as_bytes());
        own.extend(model.ok().map(|model| (headers::MODEL, model)));
        let hint = endpoint.labels().replica.clone();
        own.extend(hint.map(|hint| (headers::REPLICA_HINT, hint)));
        let clocks = Timeouts {
            idle: NODE_IDLE,
            ..clocks
        };
        let answered = self
            .proxy
            .forward(endpoint.target(), outbound, clocks)
            .await;
        let of_pool = endpoint.key().replica.is_none();
        answer::read(answered.map_err(no_answer)?, of_pool, SystemTime::now())
    }
}

/// A connection that does not come about is the node's failure, and not that of one of its engines.
fn no_answer(error: ForwardError) -> NoAnswer {
    match error {
        ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => {
            NoAnswer::Unreachable(error)
        }
        error => NoAnswer::failed(error),
    }
}

impl NodeTransport for Tcp {
    fn send<'a>(&'a self, request: NodeRequest<'a>) -> BoxFuture<'a, Result<NodeAnswer, NoAnswer>> {
        Box::pin(self.forward(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-19
    #[test]
    fn a_node_keeps_an_idle_connection_for_longer_than_we_do() {
        assert!(NODE_IDLE < http_server::Limits::default().idle);
    }
}
