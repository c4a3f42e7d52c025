//! One node: its identity, its last report, and the results of probes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use pool_registry_types::{
    BootId, Capabilities, GpuStatus, HttpUrl, MachineId, NodeId, NodeStatus, PoolId, PoolStatus,
    RefusedHandoff, RegisterRequest, Text, limits::MAX_POOLS,
};
use routing_table::{Endpoint, RouteChange};

use crate::{
    PROBES_TO_UNREACHABLE, RegistryError,
    intent::Intent,
    pool::{NodeContext, Pool, PoolGate, not_ready, placeholder, rebuild},
    report::differs,
};

/// The identity of a node, from its registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) machine_id: MachineId,
    pub(crate) address: Arc<HttpUrl>,
    /// Boxed, because few nodes have one.
    pub(crate) metrics_address: Option<Box<HttpUrl>>,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) version: Option<Text>,
    pub(crate) incarnation: Option<u64>,
    pub(crate) boot_id: Option<BootId>,
    pub(crate) takes_replica_hint: bool,
}

/// The source of the state of a node's pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportBasis {
    /// The node has not reported since it started, or since it was offline.
    Awaited,
    /// The store has a report from before this process started.
    Remembered,
    /// The same, and the node has answered a probe since.
    Confirmed,
    /// The node has reported to this process.
    Reported,
}

impl ReportBasis {
    /// Why the pools cannot be used yet; `None` when they can.
    pub(crate) fn unavailable_reason(self) -> Option<&'static str> {
        match self {
            Self::Awaited => Some("waiting for the node's first heartbeat"),
            Self::Remembered => {
                Some("waiting for a probe or heartbeat since the control plane started")
            }
            Self::Confirmed | Self::Reported => None,
        }
    }
}

/// A digest of everything in a report but its time, incarnation and sequence number. Two reports
/// with the same digest are equal. A node that forges it harms only itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportDigest(pub u128);

/// How long a node may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// When the silence began: at the last message, or later when this process did not run
    /// meanwhile.
    pub(crate) since: Duration,
    /// The timeout in the answer to its last message.
    pub(crate) announced: Duration,
    /// The longer of the last two timeouts, because an answer may be lost.
    pub(crate) granted: Duration,
    /// The time of its entry among the deadlines.
    pub(crate) armed: Option<Duration>,
}

/// The last report of the node, and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) last_heard: Duration,
    pub(crate) offline: bool,
    /// When to forget it. Set when it is offline, or was offline before this process started and is
    /// silent since.
    pub(crate) forget_at: Option<Duration>,
    pub(crate) seq: Option<u64>,
    pub(crate) report: u64,
    pub(crate) basis: ReportBasis,
    pub(crate) pools: Vec<Pool>,
    /// `None` until it reports them.
    pub(crate) gpus: Option<Arc<[GpuStatus]>>,
    pub(crate) refused_handoffs: Box<[RefusedHandoff]>,
    /// The digest of the report in `pools` and `gpus`, if it is known.
    pub(crate) digest: Option<ReportDigest>,
}

/// The results of probes of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Failures in a row, up to the number that makes it unreachable.
    pub(crate) failed_probes: u32,
    pub(crate) error: Option<Arc<str>>,
}

impl Evidence {
    pub(crate) fn unreachable(&self) -> bool {
        self.failed_probes >= PROBES_TO_UNREACHABLE
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) observed: Observed,
    pub(crate) allowance: Allowance,
    pub(crate) evidence: Evidence,
    /// The status when it was last derived.
    pub(crate) status: NodeStatus,
    /// When it became offline or unreachable.
    pub(crate) lost_at: Option<Duration>,
    /// Routable although it is lost.
    pub(crate) held: bool,
}

/// Endpoints that a node no longer has.
pub(crate) type RemovedEndpoints = Vec<Arc<Endpoint>>;

/// The changes by a report.
#[derive(Debug)]
pub(crate) struct PoolsChange {
    pub(crate) gone: RemovedEndpoints,
    /// Whether more than free slots, free memory and engine load changed.
    pub(crate) differs: bool,
}

impl Node {
    pub(crate) fn new(request: &RegisterRequest, now: Duration) -> Result<Self, RegistryError> {
        let mut node = Self {
            observed: Observed {
                last_heard: now,
                offline: false,
                forget_at: None,
                seq: None,
                report: 0,
                basis: ReportBasis::Awaited,
                pools: Vec::new(),
                gpus: None,
                refused_handoffs: Box::default(),
                digest: None,
            },
            allowance: Allowance {
                since: now,
                announced: Duration::ZERO,
                granted: Duration::ZERO,
                armed: None,
            },
            identity: Identity::from(request),
            evidence: Evidence::default(),
            status: NodeStatus::Online,
            lost_at: None,
            held: false,
        };
        node.set_pools(&request.node_id, expected(request, Vec::new()), false)?;
        Ok(node)
    }

    /// The status that follows from the three facts; the worst one counts.
    pub(crate) fn derive_status(&self, intent: Option<&Intent>) -> NodeStatus {
        if self.observed.offline {
            NodeStatus::Offline
        } else if self.evidence.unreachable() {
            NodeStatus::Unreachable
        } else if intent.is_some_and(|intent| intent.node.is_some()) || self.all_pools_drain(intent)
        {
            NodeStatus::Draining
        } else {
            NodeStatus::Online
        }
    }

    fn all_pools_drain(&self, intent: Option<&Intent>) -> bool {
        let drained = |pool: &PoolId| intent.is_some_and(|intent| intent.pools.contains_key(pool));
        let pools = &self.observed.pools;
        !pools.is_empty()
            && pools
                .iter()
                .all(|pool| pool.status.draining || drained(&pool.status.pool_id))
    }

    /// When the node goes offline if it stays silent, or is forgotten when it is offline. A timeout
    /// that has grown since holds at once.
    pub(crate) fn due(&self, timeout: Duration) -> Duration {
        match self.observed.forget_at {
            Some(at) if self.observed.offline => at,
            _ => self
                .allowance
                .since
                .saturating_add(self.allowance.granted.max(timeout)),
        }
    }

    /// Whether it is offline or unreachable, and not held.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost_at.is_some() && !self.held
    }

    /// Publishes its changed routes. The silence of a held node does not count.
    pub(crate) fn publish_routes(
        &mut self,
        intent: Option<&Intent>,
        changes: &mut Vec<RouteChange>,
    ) {
        let shut = self.is_lost() || self.observed.basis.unavailable_reason().is_some();
        for pool in &mut self.observed.pools {
            let drained =
                || intent.is_some_and(|intent| intent.of_pool(&pool.status.pool_id).is_some());
            let gate = if shut {
                PoolGate::Shut
            } else if pool.status.draining || drained() {
                PoolGate::Draining
            } else {
                PoolGate::Open
            };
            pool.publish(gate, self.observed.report, changes);
        }
    }

    /// The reason for its status, for people.
    pub(crate) fn explain(&self, now: Duration) -> String {
        match self.status {
            NodeStatus::Offline => {
                let silence = now.saturating_sub(self.observed.last_heard);
                format!("node offline for {} s", silence.as_secs())
            }
            NodeStatus::Unreachable => format!(
                "node unreachable: {} probes failed in a row, the last with: {}",
                self.evidence.failed_probes,
                self.evidence.error.as_deref().unwrap_or("no answer")
            ),
            NodeStatus::Draining => "it takes no new requests".to_owned(),
            NodeStatus::Online => "it reports and takes requests".to_owned(),
        }
    }

    /// Applies the registration of a new incarnation. Only the names of pools and models stay, so
    /// that requests for these models wait instead of failing as unknown.
    pub(crate) fn restart(
        &mut self,
        request: &RegisterRequest,
    ) -> Result<RemovedEndpoints, RegistryError> {
        let has_moved = *self.identity.address != request.address;
        self.identity = Identity::from(request);
        let before = self
            .observed
            .pools
            .iter()
            .map(|pool| Arc::new(not_ready(&pool.status)));
        let pools = expected(request, before.collect());
        self.observed.gpus = None;
        self.observed.refused_handoffs = Box::default();
        self.observed.digest = None;
        self.observed.seq = None;
        self.observed.basis = ReportBasis::Awaited;
        self.evidence = Evidence::default();
        Ok(self.set_pools(&request.node_id, pools, has_moved)?.gone)
    }

    /// Applies another registration of the same incarnation.
    pub(crate) fn renew(
        &mut self,
        request: &RegisterRequest,
    ) -> Result<RemovedEndpoints, RegistryError> {
        let has_moved = *self.identity.address != request.address;
        self.identity = Identity::from(request);
        if has_moved {
            self.evidence = Evidence::default();
        }
        if self.observed.offline {
            // Its pools may have changed while it was silent, so it must report first.
            self.observed.basis = ReportBasis::Awaited;
        }
        let same = self
            .observed
            .pools
            .iter()
            .map(|pool| Arc::clone(&pool.status));
        let same: Vec<_> = same.collect();
        Ok(self.set_pools(&request.node_id, same, has_moved)?.gone)
    }

    /// Replaces the pools.
    pub(crate) fn set_pools(
        &mut self,
        node_id: &NodeId,
        statuses: impl IntoIterator<Item = Arc<PoolStatus>>,
        has_moved: bool,
    ) -> Result<PoolsChange, RegistryError> {
        let home = NodeContext {
            node_id,
            address: &self.identity.address,
            incarnation: self.identity.incarnation.unwrap_or(0),
            takes_replica_hint: self.identity.takes_replica_hint,
        };
        let (mut pools, gone) = rebuild(&home, &self.observed.pools, statuses, has_moved)?;
        pools.shrink_to_fit();
        let differs = differs(&self.observed.pools, &pools);
        self.observed.pools = pools;
        Ok(PoolsChange { gone, differs })
    }
}

impl Identity {
    /// Whether the request is surely from another start of a machine, or from another machine.
    pub(crate) fn is_other_boot(&self, request: &RegisterRequest) -> bool {
        let both = self.boot_id.as_ref().zip(request.boot_id.as_ref());
        both.is_some_and(|(known, new)| known != new)
    }
}

impl From<&RegisterRequest> for Identity {
    fn from(request: &RegisterRequest) -> Self {
        Self {
            machine_id: request.machine_id.clone(),
            address: Arc::new(request.address.clone()),
            metrics_address: request.metrics_address.clone().map(Box::new),
            capabilities: Arc::new(request.capabilities.clone()),
            version: request.version.clone(),
            incarnation: request.incarnation,
            boot_id: request.boot_id.clone(),
            takes_replica_hint: request.takes_replica_hint,
        }
    }
}

/// The pools that a registration announces, and those known from before. Above [`MAX_POOLS`] the
/// announced pools come first.
fn expected(request: &RegisterRequest, known: Vec<Arc<PoolStatus>>) -> Vec<Arc<PoolStatus>> {
    let mut missing: BTreeSet<&PoolId> = request.pools.iter().take(MAX_POOLS).collect();
    let mut room = MAX_POOLS - missing.len();
    let fits = |pool: &Arc<PoolStatus>| {
        let named = missing.remove(&pool.pool_id);
        let fits = named || room > 0;
        room -= usize::from(fits && !named);
        fits
    };
    let mut pools: Vec<Arc<PoolStatus>> = known.into_iter().filter(fits).collect();
    let new = request
        .pools
        .iter()
        .filter(|pool_id| missing.remove(pool_id));
    pools.extend(new.cloned().map(placeholder).map(Arc::new));
    pools
}
