//! Who registers, where, and how often it reports.

use std::{path::PathBuf, time::Duration};

use bearer_auth::ApiToken;
use pool_registry_types::{HttpUrl, MachineId, NodeId, PoolId};

/// How often a node reports when nothing changes: a third of the control plane's default timeout of
/// 30 s, so that two heartbeats may be lost.
pub const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// How long a connection may take to come about: a machine of the same network answers in
/// milliseconds, and one that is gone should not hold up the next address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a whole request may take: a control plane that needs longer for a few hundred bytes is
/// in trouble.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What [`NodeRegistration`](crate::NodeRegistration) needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this node is.
    pub node_id: NodeId,
    /// The machine it runs on.
    pub machine_id: MachineId,
    /// Where the control plane reaches this node.
    pub address: HttpUrl,
    /// Where this node serves its metrics without a token, if anywhere.
    pub metrics_address: Option<HttpUrl>,
    /// Where the control plane is. Several replicas may be named: the next one is used when one
    /// fails.
    pub orchestrators: Vec<HttpUrl>,
    /// The pools this node expects to have.
    pub pools: Vec<PoolId>,
    /// The version of the program that reports.
    pub version: Option<String>,
    /// How often to report when nothing changes. The control plane may ask for a shorter interval,
    /// down to one second and to a third of its timeout. One with a large fleet sets a longer
    /// one.
    pub heartbeat_interval: Duration,
    /// Sent with each request; never logged.
    pub token: Option<ApiToken>,
    /// A file that remembers the last incarnation, so that it rises at each start even when the
    /// clock was set back in between. Without one, the start time alone has to rise.
    pub incarnation_file: Option<PathBuf>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a whole request may take.
    pub request_timeout: Duration,
}

impl Config {
    /// A configuration with the defaults: no pools, no token, a heartbeat every
    /// [`DEFAULT_HEARTBEAT_INTERVAL`], 1 s to connect and 5 s for a request.
    #[must_use]
    pub fn new(
        node_id: NodeId,
        machine_id: MachineId,
        address: HttpUrl,
        orchestrator: HttpUrl,
    ) -> Self {
        Self {
            node_id,
            machine_id,
            address,
            metrics_address: None,
            orchestrators: vec![orchestrator],
            pools: Vec::new(),
            version: None,
            heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
            token: None,
            incarnation_file: None,
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
        }
    }
}
