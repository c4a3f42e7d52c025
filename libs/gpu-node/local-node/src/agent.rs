//! The agent of a node whose control plane is in the same process: it registers the node and
//! reports its state, at once when something changes and at the control plane's interval.

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::OptionFuture;
use pool_registry_types::{
    Capabilities, GpuStatus, HeartbeatRequest, HttpUrl, MachineId, NodeId, PoolStatus,
    RegisterRequest,
};
use service_runtime::{Latch, Shutdown};
use thiserror::Error;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::LocalNode;

/// How long a control plane that refuses the node is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// Who a node is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its id.
    pub node_id: NodeId,
    /// The machine it is.
    pub machine_id: MachineId,
    /// Where it listens.
    pub address: HttpUrl,
    /// Where it serves its metrics without a token, if anywhere.
    pub metrics_address: Option<HttpUrl>,
    /// The version of the process.
    pub version: &'static str,
}

/// Why a control plane does not take what a node says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistrarError {
    /// It knows a later start of this node: the clock was put back.
    #[error("a later start of this node is known")]
    Stale {
        /// When that was, as the node counts.
        known: u64,
    },
    /// It does not know the node, which has to register again.
    #[error("the node is not registered")]
    Unknown,
    /// Something else, for people.
    #[error("{0}")]
    Refused(String),
}

/// A control plane in the same process. Nothing here waits.
pub trait Registrar: Debug + Send + Sync {
    /// Takes in a node, and says when it is to report next.
    ///
    /// # Errors
    /// When it does not.
    fn register(&self, request: RegisterRequest) -> Result<Duration, RegistrarError>;

    /// Takes in the state of a node, and says when it is to report next.
    ///
    /// # Errors
    /// When it does not.
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
    identity: Identity,
    registrar: Arc<dyn Registrar>,
    capabilities: Capabilities,
    incarnation: u64,
    seq: u64,
    is_registered: bool,
}

impl InProcessAgent {
    /// The agent of `node`, which reports to `registrar`.
    #[must_use]
    pub fn new(node: LocalNode, identity: Identity, registrar: Arc<dyn Registrar>) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            node,
            identity,
            registrar,
            capabilities: Capabilities::default(),
            incarnation: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            seq: 0,
            is_registered: false,
        }
    }

    /// Reports until `shutdown` is requested. `known` is released when the control plane knows
    /// every engine that was announced at the start.
    pub async fn run(mut self, known: Latch, shutdown: Shutdown) {
        let mut changes = self.node.registry().subscribe();
        let mut scanned = self.node.scanned();
        let mut known = Some(known);
        // The driver is read on a blocking thread. Only the first read is awaited, because the
        // registration contains it.
        let node = self.node.clone();
        let mut look: Option<Look> = None;
        let hardware = spawn_look(move || (node.capabilities(), node.report().1));
        tokio::select! {
            () = shutdown.requested() => return,
            found = hardware => match found {
                Ok((capabilities, _)) => self.capabilities = capabilities,
                Err(error) => tracing::error!(%error, "the hardware of this machine cannot be read"),
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
                    // The GPUs are looked at when it is their time.
                    self.report();
                }
                // An error says that the watcher is gone: nothing is waited for any more.
                _ = scanned.wait_for(|scanned| *scanned), if known.is_some() => {
                    self.report();
                    known.take().into_iter().for_each(Latch::release);
                }
                Some(looked) = OptionFuture::from(look.as_mut()) => {
                    look = None;
                    if let Err(error) = looked {
                        tracing::error!(%error, "the GPUs cannot be read");
                    }
                    due = Instant::now() + self.report();
                }
                () = sleep_until(due), if look.is_none() => {
                    let node = self.node.clone();
                    look = Some(spawn_look(move || node.report()));
                }
            }
        }
    }

    /// Reports the node as it is, after it has registered where it must. When to report next.
    fn report(&mut self) -> Duration {
        // Once more when the control plane has forgotten the node, and once when it knows a later
        // start.
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
                    tracing::error!(%node_id, %error, "this machine cannot be its own node");
                    return RETRY;
                }
            }
        }
        RETRY
    }

    fn register(&mut self) -> Result<Duration, RegistrarError> {
        let Identity {
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
        request.version = Some(version.to_owned());
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
            humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            self.node.registry().statuses(),
        );
        request.incarnation = Some(self.incarnation);
        request.seq = Some(self.seq);
        request.gpus = Some(self.node.gpus().borrow().to_vec());
        request.bound();
        self.registrar.report(&self.identity.node_id, request)
    }
}

type Look = JoinHandle<(Vec<PoolStatus>, Vec<GpuStatus>)>;

/// Asks the driver where blocking is allowed, within the present span.
fn spawn_look<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(look))
}
