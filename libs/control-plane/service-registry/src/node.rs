//! One node: who it is, what it last said, and what probing it has shown.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use pool_registry_types::{
    Capabilities, GpuStatus, HttpUrl, MachineId, NodeId, NodeStatus, PoolId, PoolStatus,
    RegisterRequest, limits::MAX_POOLS,
};
use routing_table::{Endpoint, RouteChange};

use crate::{
    PROBES_TO_UNREACHABLE, RegistryError,
    intent::Intent,
    pool::{Gate, Home, Pool, not_ready, placeholder, rebuild},
    report::differs,
};

/// What a node said of itself when it registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) machine_id: MachineId,
    pub(crate) address: Arc<HttpUrl>,
    /// Rare, so that those without one do not keep room for it.
    pub(crate) metrics_address: Option<Box<HttpUrl>>,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) version: Option<Arc<str>>,
    pub(crate) incarnation: Option<u64>,
    pub(crate) takes_replica_hint: bool,
}

/// What the state of the pools rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// The node has not reported yet since it started, or since it was offline.
    Awaited,
    /// It reported before this control plane started.
    Remembered,
    /// As before, and it has answered a probe since.
    Confirmed,
    /// It reported.
    Reported,
}

impl Basis {
    /// Why the pools cannot be used yet, if so.
    pub(crate) fn objection(self) -> Option<&'static str> {
        match self {
            Self::Awaited => Some("waiting for the node's first heartbeat"),
            Self::Remembered => Some("waiting for a sign of life since the control plane started"),
            Self::Confirmed | Self::Reported => None,
        }
    }
}

/// Of what a report was made: two with the same digest say the same. A node can only fool the
/// record of itself with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Of its pools, as they were written.
    pub pools: u128,
    /// Of its GPUs, as they were written.
    pub gpus: u128,
}

/// How long a node may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Silence counts from here: when it was last heard, and later when this process did not run
    /// meanwhile.
    pub(crate) since: Duration,
    /// The timeout with the answer to the message that was heard last.
    pub(crate) told: Duration,
    /// That one or the one before, whichever is longer: an answer may be lost.
    pub(crate) granted: Duration,
    /// When it is looked at.
    pub(crate) armed: Option<Duration>,
}

/// What the node last said, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) last_heard: Duration,
    pub(crate) offline: bool,
    /// When to forget it: it is offline, or was before this control plane started and has not been
    /// heard since.
    pub(crate) forget_at: Option<Duration>,
    pub(crate) seq: Option<u64>,
    pub(crate) report: u64,
    pub(crate) basis: Basis,
    pub(crate) pools: Vec<Pool>,
    /// `None` while it has not told since its last start.
    pub(crate) gpus: Option<Arc<[GpuStatus]>>,
    /// Of the report in `pools` and `gpus`; `None` when it is not known.
    pub(crate) digest: Option<Digest>,
}

/// What trying to reach the node has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// In a row, and no further than it takes to be unreachable.
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
    /// As last derived, so that a change is noticed.
    pub(crate) status: NodeStatus,
    /// Since when it is offline or unreachable.
    pub(crate) lost_at: Option<Duration>,
    /// Routable although lost.
    pub(crate) held: bool,
}

/// Endpoints that a node has no longer.
pub(crate) type Gone = Vec<Arc<Endpoint>>;

/// What another report has changed.
#[derive(Debug)]
pub(crate) struct PoolsChange {
    pub(crate) gone: Gone,
    /// More than free slots, free memory and what engines say of their load.
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
                basis: Basis::Awaited,
                pools: Vec::new(),
                gpus: None,
                digest: None,
            },
            allowance: Allowance {
                since: now,
                told: Duration::ZERO,
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

    /// The gravest of the three facts.
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
        let wished = |pool: &PoolId| intent.is_some_and(|intent| intent.pools.contains_key(pool));
        let pools = &self.observed.pools;
        !pools.is_empty()
            && pools
                .iter()
                .all(|pool| pool.status.draining || wished(&pool.status.pool_id))
    }

    /// When it goes offline, unless it is heard before that; or is forgotten, when it is offline. A
    /// timeout that has grown since holds at once.
    pub(crate) fn due(&self, timeout: Duration) -> Duration {
        match self.observed.forget_at {
            Some(at) if self.observed.offline => at,
            _ => self
                .allowance
                .since
                .saturating_add(self.allowance.granted.max(timeout)),
        }
    }

    /// It is offline or unreachable, and that is believed.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost_at.is_some() && !self.held
    }

    /// Tells the data path what is new of its endpoints. A held node's silence does not count.
    pub(crate) fn tell(&mut self, intent: Option<&Intent>, changes: &mut Vec<RouteChange>) {
        let shut = self.is_lost() || self.observed.basis.objection().is_some();
        for pool in &mut self.observed.pools {
            let wished =
                || intent.is_some_and(|intent| intent.of_pool(&pool.status.pool_id).is_some());
            let gate = if shut {
                Gate::Shut
            } else if pool.status.draining || wished() {
                Gate::Draining
            } else {
                Gate::Open
            };
            pool.tell(gate, self.observed.report, changes);
        }
    }

    /// Why the node has its status, for people.
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
            NodeStatus::Draining => "it takes no new work".to_owned(),
            NodeStatus::Online => "it reports and takes work".to_owned(),
        }
    }

    /// The node has started anew: nothing holds of before but the names of its pools, so that
    /// requests for their models wait for them instead of being told that there is no such
    /// model.
    pub(crate) fn restart(&mut self, request: &RegisterRequest) -> Result<Gone, RegistryError> {
        let has_moved = *self.identity.address != request.address;
        self.identity = Identity::from(request);
        let before = self
            .observed
            .pools
            .iter()
            .map(|pool| Arc::new(not_ready(&pool.status)));
        let pools = expected(request, before.collect());
        self.observed.gpus = None;
        self.observed.digest = None;
        self.observed.seq = None;
        self.observed.basis = Basis::Awaited;
        self.evidence = Evidence::default();
        Ok(self.set_pools(&request.node_id, pools, has_moved)?.gone)
    }

    /// The same start of the node says anew who it is.
    pub(crate) fn renew(&mut self, request: &RegisterRequest) -> Result<Gone, RegistryError> {
        let has_moved = *self.identity.address != request.address;
        self.identity = Identity::from(request);
        if has_moved {
            self.evidence = Evidence::default();
        }
        if self.observed.offline {
            // What it had when it fell silent is history: it says anew what it has.
            self.observed.basis = Basis::Awaited;
        }
        let same = self
            .observed
            .pools
            .iter()
            .map(|pool| Arc::clone(&pool.status));
        let same: Vec<_> = same.collect();
        Ok(self.set_pools(&request.node_id, same, has_moved)?.gone)
    }

    /// Takes in the pools as they are now.
    pub(crate) fn set_pools(
        &mut self,
        node_id: &NodeId,
        statuses: impl IntoIterator<Item = Arc<PoolStatus>>,
        has_moved: bool,
    ) -> Result<PoolsChange, RegistryError> {
        let home = Home {
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

impl From<&RegisterRequest> for Identity {
    fn from(request: &RegisterRequest) -> Self {
        Self {
            machine_id: request.machine_id.clone(),
            address: Arc::new(request.address.clone()),
            metrics_address: request.metrics_address.clone().map(Box::new),
            capabilities: Arc::new(request.capabilities.clone()),
            version: request.version.as_deref().map(Arc::from),
            incarnation: request.incarnation,
            takes_replica_hint: request.takes_replica_hint,
        }
    }
}

/// The pools a registration lets expect: those it names, and those known from before. A node has no
/// more than [`MAX_POOLS`]: those that it names come first.
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
