//! The configuration of a registration: the node, its control planes and its intervals.

use std::{path::PathBuf, time::Duration};

use bearer_auth::ApiToken;
use pool_registry_types::{BootId, HttpUrl, MachineId, NodeId, PoolId, Text};
use tls_config::ClientTls;

/// The default heartbeat interval: a third of the control plane's default timeout of 30 s, so that
/// two heartbeats may be lost.
pub const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// The default connect timeout. A machine of the same network answers within milliseconds, and one
/// that is down should not delay the next address.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The default timeout of a request of a few hundred bytes.
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest interval or timeout. With zero there would be no pause, or no time for an answer.
const SHORTEST: Duration = Duration::from_millis(1);

/// The configuration of a [`NodeRegistration`](crate::NodeRegistration). It always has at least one
/// control plane, and no interval or timeout is zero.
#[derive(Debug, Clone)]
pub struct RegistrationConfig {
    pub(crate) node_id: NodeId,
    pub(crate) machine_id: MachineId,
    pub(crate) address: HttpUrl,
    pub(crate) metrics_address: Option<HttpUrl>,
    pub(crate) boot_id: Option<BootId>,
    pub(crate) control_plane: HttpUrl,
    pub(crate) fallbacks: Vec<HttpUrl>,
    pub(crate) pools: Vec<PoolId>,
    pub(crate) version: Option<Text>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) token: Option<ApiToken>,
    pub(crate) tls: ClientTls,
    pub(crate) incarnation_file: Option<PathBuf>,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
}

impl RegistrationConfig {
    /// A node on a machine, the address at which the control plane reaches it, and the address of
    /// the control plane. By default it has no pools and no token, reports every
    /// [`DEFAULT_HEARTBEAT_INTERVAL`], connects within 1 s and gets an answer within 5 s.
    #[must_use]
    pub fn new(
        node_id: NodeId,
        machine_id: MachineId,
        address: HttpUrl,
        control_plane: HttpUrl,
    ) -> Self {
        Self {
            node_id,
            machine_id,
            address,
            metrics_address: None,
            boot_id: None,
            control_plane,
            fallbacks: Vec::new(),
            pools: Vec::new(),
            version: None,
            heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
            token: None,
            tls: ClientTls::system(),
            incarnation_file: None,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
        }
    }

    /// Sets further addresses of the control plane. When one fails, the next one is used.
    #[must_use]
    pub fn with_fallbacks(mut self, fallbacks: Vec<HttpUrl>) -> Self {
        self.fallbacks = fallbacks;
        self
    }

    /// Sets the address at which this node serves its metrics without a token.
    #[must_use]
    pub fn with_metrics_address(mut self, address: HttpUrl) -> Self {
        self.metrics_address = Some(address);
        self
    }

    /// Sets the name of this start of the machine, which tells it from another machine with the
    /// same node id.
    #[must_use]
    pub fn with_boot_id(mut self, boot_id: Option<BootId>) -> Self {
        self.boot_id = boot_id;
        self
    }

    /// Sets the pools that this node expects to have.
    #[must_use]
    pub fn with_pools(mut self, pools: Vec<PoolId>) -> Self {
        self.pools = pools;
        self
    }

    /// Sets the version of the program. See [`Text::cut`] for what is kept of an odd one.
    #[must_use]
    pub fn with_version(mut self, version: impl AsRef<str>) -> Self {
        self.version = Some(Text::cut(version.as_ref()));
        self
    }

    /// Sets how often to report when nothing changes; at least 1 ms. The interval in the control
    /// plane's answers takes precedence, see `README.md`.
    #[must_use]
    pub fn with_heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval.max(SHORTEST);
        self
    }

    /// Sets the token that is sent with each request. It is never logged.
    #[must_use]
    pub fn with_token(mut self, token: ApiToken) -> Self {
        self.token = Some(token);
        self
    }

    /// Sets which control planes with TLS are trusted. By default it is those that the system
    /// trusts.
    #[must_use]
    pub fn with_tls(mut self, tls: ClientTls) -> Self {
        self.tls = tls;
        self
    }

    /// Sets a file that stores the last incarnation, so that the incarnation rises at each start,
    /// even when the clock was set back. Without it, only the start time makes it rise.
    #[must_use]
    pub fn with_incarnation_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.incarnation_file = Some(file.into());
        self
    }

    /// Sets how long a connection may take; at least 1 ms.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout.max(SHORTEST);
        self
    }

    /// Sets how long a whole request may take; at least 1 ms.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout.max(SHORTEST);
        self
    }

    /// The id of this node.
    #[must_use]
    pub fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    /// The machine of this node.
    #[must_use]
    pub fn machine_id(&self) -> &MachineId {
        &self.machine_id
    }

    /// The address at which the control plane reaches this node.
    #[must_use]
    pub fn address(&self) -> &HttpUrl {
        &self.address
    }

    /// The addresses of the control plane, in the order in which they are used.
    pub fn control_planes(&self) -> impl Iterator<Item = &HttpUrl> {
        std::iter::once(&self.control_plane).chain(&self.fallbacks)
    }

    /// How often to report when nothing changes.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        self.heartbeat_interval
    }

    /// Whether a token is sent.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: REG-43
    #[test]
    fn no_interval_or_timeout_is_zero_and_there_is_always_a_control_plane() {
        let url = |host: &str| HttpUrl::new(&format!("http://{host}:1")).unwrap();
        let config = RegistrationConfig::new(
            "n".parse().unwrap(),
            "m".parse().unwrap(),
            url("n"),
            url("a"),
        )
        .with_heartbeat_interval(Duration::ZERO)
        .with_connect_timeout(Duration::ZERO)
        .with_request_timeout(Duration::ZERO);
        let spans = [
            config.heartbeat_interval,
            config.connect_timeout,
            config.request_timeout,
        ];
        assert_eq!(spans, [SHORTEST; 3]);
        assert_eq!(config.control_planes().collect::<Vec<_>>(), [&url("a")]);
        let config = config.with_fallbacks(vec![url("b")]);
        let all: Vec<_> = config.control_planes().map(HttpUrl::host).collect();
        assert_eq!(all, ["a", "b"]);
    }
}
