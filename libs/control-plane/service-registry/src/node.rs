//! One node: who it is, what it last said, and what probing it has shown.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use pool_registry_types::{
    Capabilities, EngineLoad, GpuStatus, HttpUrl, MachineId, NodeId, NodeStatus, PoolId, PoolStatus,
    RegisterRequest,
    limits::{MAX_ID_BYTES, MAX_POOLS},
};

use crate::{PROBES_TO_UNREACHABLE, RegistryError, intent::Intent};

/// What a node said of itself when it registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) machine_id: MachineId,
    pub(crate) address: HttpUrl,
    pub(crate) metrics_address: Option<HttpUrl>,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) version: Option<Arc<str>>,
    pub(crate) incarnation: Option<u64>,
}

/// What the state of the pools rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// The node has not reported yet in this life, or since it was offline.
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

/// What the node last said, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) last_heard: Duration,
    pub(crate) offline: bool,
    /// It was offline before this control plane started and has not been heard since: when to forget it.
    pub(crate) forget_at: Option<Duration>,
    pub(crate) seq: Option<u64>,
    pub(crate) report: u64,
    pub(crate) basis: Basis,
    pub(crate) pools: Vec<Pool>,
    /// `None` while this life has not told.
    pub(crate) gpus: Option<Arc<[GpuStatus]>>,
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
    pub(crate) evidence: Evidence,
    /// As last derived, so that a change is noticed.
    pub(crate) status: NodeStatus,
    /// Since when it is offline or unreachable.
    pub(crate) lost_at: Option<Duration>,
    /// Routable although lost.
    pub(crate) held: bool,
}

impl Node {
    pub(crate) fn new(request: &RegisterRequest, now: Duration) -> Result<Self, RegistryError> {
        Ok(Self {
            observed: Observed {
                last_heard: now,
                offline: false,
                forget_at: None,
                seq: None,
                report: 0,
                basis: Basis::Awaited,
                pools: expected(request, Vec::new())?,
                gpus: None,
            },
            identity: Identity::from(request),
            evidence: Evidence::default(),
            status: NodeStatus::Online,
            lost_at: None,
            held: false,
        })
    }

    /// The gravest of the three facts.
    pub(crate) fn derive_status(&self, intent: Option<&Intent>) -> NodeStatus {
        if self.observed.offline {
            NodeStatus::Offline
        } else if self.evidence.unreachable() {
            NodeStatus::Unreachable
        } else if intent.is_some_and(|intent| intent.node.is_some()) || self.all_pools_drain(intent) {
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

    /// The node is a new life: nothing of the old one holds but the names of its pools, so that requests for
    /// their models wait for them instead of being told that there is no such model.
    pub(crate) fn begin_life(&mut self, request: &RegisterRequest) -> Result<(), RegistryError> {
        let before = std::mem::take(&mut self.observed.pools);
        let kept = before
            .iter()
            .map(|pool| not_ready(&pool.status))
            .collect::<Vec<_>>();
        self.observed.pools = expected(request, kept)?;
        self.observed.gpus = None;
        self.observed.seq = None;
        self.observed.basis = Basis::Awaited;
        self.evidence = Evidence::default();
        self.identity = Identity::from(request);
        Ok(())
    }

    /// The same life says anew who it is.
    pub(crate) fn renew(&mut self, request: &RegisterRequest) -> Result<(), RegistryError> {
        let moved = self.identity.address != request.address;
        self.identity = Identity::from(request);
        if moved {
            self.evidence = Evidence::default();
            for pool in &mut self.observed.pools {
                *pool = Pool::new(&request.node_id, &request.address, pool.status.clone())?;
            }
        }
        if self.observed.offline {
            // What it had when it fell silent is history: it says anew what it has.
            self.observed.basis = Basis::Awaited;
        }
        Ok(())
    }
}

impl From<&RegisterRequest> for Identity {
    fn from(request: &RegisterRequest) -> Self {
        Self {
            machine_id: request.machine_id.clone(),
            address: request.address.clone(),
            metrics_address: request.metrics_address.clone(),
            capabilities: Arc::new(request.capabilities.clone()),
            version: request.version.as_deref().map(Arc::from),
            incarnation: request.incarnation,
        }
    }
}

/// A pool as reported, with what routing needs of it ready at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) status: Arc<PoolStatus>,
    pub(crate) target: HttpUrl,
    pub(crate) models: Option<Arc<[String]>>,
    pub(crate) engine_version: Option<Arc<str>>,
}

impl Pool {
    pub(crate) fn new(
        node_id: &NodeId,
        address: &HttpUrl,
        status: Arc<PoolStatus>,
    ) -> Result<Self, RegistryError> {
        Ok(Self {
            target: target(node_id, address, status.pool_id.as_str())?,
            models: models(&status),
            engine_version: status.engine_version.as_deref().map(Arc::from),
            status,
        })
    }
}

/// Where the node's agent forwards to the pool.
fn target(node_id: &NodeId, address: &HttpUrl, pool: &str) -> Result<HttpUrl, RegistryError> {
    HttpUrl::new(&format!("{address}/v2/pools/{pool}/engine")).map_err(|_| RegistryError::AddressTooLong {
        node_id: node_id.clone(),
    })
}

/// Refuses an address that would not fit every pool a heartbeat can bring.
pub(crate) fn check_address(request: &RegisterRequest) -> Result<(), RegistryError> {
    let longest_pool_id = "p".repeat(MAX_ID_BYTES);
    target(&request.node_id, &request.address, &longest_pool_id).map(|_| ())
}

/// What the pool or any of its replicas names; `None` while nobody has said.
fn models(status: &PoolStatus) -> Option<Arc<[String]>> {
    let replicas = status.replicas.iter().flatten().map(|replica| &replica.models);
    let told: Vec<&Vec<String>> = std::iter::once(&status.models_available)
        .chain(replicas)
        .flatten()
        .collect();
    if told.is_empty() {
        return None;
    }
    let names: BTreeSet<&String> = told.into_iter().flatten().collect();
    Some(names.into_iter().cloned().collect())
}

pub(crate) fn not_ready(status: &PoolStatus) -> Arc<PoolStatus> {
    Arc::new(PoolStatus {
        ready: false,
        draining: false,
        slots_free: 0,
        replicas: None,
        last_error: None,
        sleeping: false,
        ..status.clone()
    })
}

/// The pools a registration lets expect: those it names, and those known from before. A node has no more than
/// [`MAX_POOLS`]: those that it names come first.
fn expected(request: &RegisterRequest, known: Vec<Arc<PoolStatus>>) -> Result<Vec<Pool>, RegistryError> {
    let mut missing: BTreeSet<&PoolId> = request.pools.iter().take(MAX_POOLS).collect();
    let mut room = MAX_POOLS - missing.len();
    let fits = |pool: &Arc<PoolStatus>| {
        let named = missing.remove(&pool.pool_id);
        let fits = named || room > 0;
        room -= usize::from(fits && !named);
        fits
    };
    let mut pools: Vec<Arc<PoolStatus>> = known.into_iter().filter(fits).collect();
    let new = request.pools.iter().filter(|pool_id| missing.remove(pool_id));
    pools.extend(new.cloned().map(placeholder).map(Arc::new));
    pools
        .into_iter()
        .map(|status| Pool::new(&request.node_id, &request.address, status))
        .collect()
}

fn placeholder(pool_id: PoolId) -> PoolStatus {
    PoolStatus {
        pool_id,
        ready: false,
        draining: false,
        slots_free: 0,
        slots_total: 0,
        vram_free_bytes: 0,
        engine: None,
        engine_version: None,
        models_available: None,
        replicas: None,
        last_error: None,
        device_mask: None,
        sleeping: false,
    }
}

/// Whether two reports differ in more than free slots and free memory.
pub(crate) fn differs(before: &[Pool], after: &[Pool]) -> bool {
    before.len() != after.len()
        || before
            .iter()
            .zip(after)
            .any(|(before, after)| lasting(&before.status) != lasting(&after.status))
}

/// A report without what changes with every request.
fn lasting(status: &PoolStatus) -> PoolStatus {
    let mut status = status.clone();
    status.slots_free = 0;
    status.vram_free_bytes = 0;
    for replica in status.replicas.iter_mut().flatten() {
        replica.slots_free = 0;
        replica.load = EngineLoad::default();
    }
    status
}
