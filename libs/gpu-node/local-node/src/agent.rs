//! The agent of a node whose control plane is in the same process. It registers the node and
//! reports its state: at once when something changes, and at the interval of the control plane.

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::OptionFuture;
use pool_registry_types::{
    Capabilities, GpuStatus, HeartbeatRequest, HttpUrl, MachineId, NodeId, PoolStatus,
    RegisterRequest, Text,
};
use service_runtime::{Latch, Shutdown};
use thiserror::Error;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::local_node::LocalNode;

/// The pause before another report to a control plane that refused the node.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The identity of a node.
#[derive(Debug, Clone)]
pub struct NodeIdentity {
    /// Its id.
    pub node_id: NodeId,
    /// The machine it runs on.
    pub machine_id: MachineId,
    /// Where it listens.
    pub address: HttpUrl,
    /// Where it serves its metrics without a token, if anywhere.
    pub metrics_address: Option<HttpUrl>,
    /// The version of the process.
    pub version: &'static str,
}

/// Why a control plane does not accept a message of a node.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistrarError {
    /// A later start of this node has registered: the clock was set back.
    #[error("a later start of this node is known")]
    Stale {
        /// The incarnation that has registered.
        known: u64,
    },
    /// It does not know the node, which has to register again.
    #[error("the node is not registered")]
    Unknown,
    /// Another reason, for people.
    #[error("{0}")]
    Refused(String),
}

/// A control plane in the same process. Its methods do not block.
pub trait Registrar: Debug + Send + Sync {
    /// Registers a node. Returns the time until its next report.
    ///
    /// # Errors
    /// When it refuses the node.
    fn register(&self, request: RegisterRequest) -> Result<Duration, RegistrarError>;

    /// Accepts a heartbeat. Returns the time until the next one.
    ///
    /// # Errors
    /// When it refuses the heartbeat.
    fn report(
        &self,
        node_id: &NodeId,
        request: HeartbeatRequest,
    ) -> Result<Duration, RegistrarError>;
}

/// Registers a node and reports its state.
#[derive(Debug)]
pub struct InProcessAgent {
    node: LocalNode,
    identity: NodeIdentity,
    registrar: Arc<dyn Registrar>,
    capabilities: Capabilities,
    incarnation: u64,
    seq: u64,
    is_registered: bool,
}

impl InProcessAgent {
    /// The agent of `node`, which reports to `registrar`.
    #[must_use]
    pub fn new(node: LocalNode, identity: NodeIdentity, registrar: Arc<dyn Registrar>) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            node,
            identity,
            registrar,
            capabilities: Capabilities::default(),
            incarnation: pool_registry_types::millis(now),
            seq: 0,
            is_registered: false,
        }
    }

    /// Reports until `shutdown` is requested. Releases `known` when the control plane knows every
    /// engine that was announced at the start.
    pub async fn run(mut self, known: Latch, shutdown: Shutdown) {
        let mut changes = self.node.registry().subscribe();
        let mut scanned = self.node.scanned();
        let mut known = Some(known);
        // The driver is read on a blocking thread. Only the first read is awaited, because the
        // registration contains it.
        let node = self.node.clone();
        let mut reading: Option<NodeReading> = None;
        let hardware = read_blocking(move || (node.capabilities(), node.report().1));
        tokio::select! {
            () = shutdown.requested() => return,
            found = hardware => match found {
                Ok((capabilities, _)) => self.capabilities = capabilities,
                Err(error) => tracing::error!(%error, "cannot read the hardware of this machine"),
            },
        }
        let mut due = Instant::now() + self.report();
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // The GPUs are read at the regular interval only.
                    self.report();
                }
                // An error means that the watcher is gone, so there is nothing to wait for.
                _ = scanned.wait_for(|left| *left == 0), if known.is_some() => {
                    self.report();
                    known.take().into_iter().for_each(Latch::release);
                }
                Some(result) = OptionFuture::from(reading.as_mut()) => {
                    reading = None;
                    if let Err(error) = result {
                        tracing::error!(%error, "cannot read the GPUs");
                    }
                    due = Instant::now() + self.report();
                }
                () = sleep_until(due), if reading.is_none() => {
                    let node = self.node.clone();
                    reading = Some(read_blocking(move || node.report()));
                }
            }
        }
    }

    /// Registers the node if necessary, then reports its state. Returns the time until the next
    /// report.
    fn report(&mut self) -> Duration {
        // Retry once when the control plane has forgotten the node, and once when a later
        // incarnation has registered.
        for _ in 0..3 {
            let sent = if self.is_registered {
                self.heartbeat()
            } else {
                self.register().and_then(|_| self.heartbeat())
            };
            match sent {
                Ok(next) => return next,
                Err(RegistrarError::Unknown) => self.is_registered = false,
                Err(RegistrarError::Stale { known }) => {
                    self.is_registered = false;
                    self.incarnation = known.saturating_add(1);
                }
                Err(error @ RegistrarError::Refused(_)) => {
                    let node_id = &self.identity.node_id;
                    tracing::error!(
                        %node_id, %error, "the control plane in this process refuses this node"
                    );
                    return RETRY_INTERVAL;
                }
            }
        }
        RETRY_INTERVAL
    }

    fn register(&mut self) -> Result<Duration, RegistrarError> {
        let NodeIdentity {
            node_id,
            machine_id,
            address,
            metrics_address,
            version,
        } = self.identity.clone();
        let pools = self.node.registry().statuses();
        let mut request = RegisterRequest::new(node_id, machine_id, address);
        request.pools = pools.into_iter().map(|pool| pool.pool_id).collect();
        request.capabilities = self.capabilities.clone();
        request.version = Some(Text::cut(version));
        request.incarnation = Some(self.incarnation);
        request.metrics_address = metrics_address;
        request.takes_replica_hint = true;
        request.bound();
        let next = self.registrar.register(request)?;
        self.is_registered = true;
        self.seq = 0;
        Ok(next)
    }

    fn heartbeat(&mut self) -> Result<Duration, RegistrarError> {
        self.seq = self.seq.saturating_add(1);
        let mut request = HeartbeatRequest::new(
            Text::cut(&humantime::format_rfc3339_millis(SystemTime::now()).to_string()),
            self.node.registry().statuses(),
        );
        request.incarnation = Some(self.incarnation);
        request.seq = Some(self.seq);
        request.gpus = Some(self.node.gpus().borrow().to_vec());
        request.refused_handoffs = self.node.registry().refused();
        request.bound();
        self.registrar.report(&self.identity.node_id, request)
    }
}

type NodeReading = JoinHandle<(Vec<PoolStatus>, Vec<GpuStatus>)>;

/// Reads from the driver on a blocking thread, within the current span.
fn read_blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(read))
}
