//! The nodes, as operators see them.

use std::time::Duration;

use pool_registry_types::{
    Capabilities, GpuStatus, HttpUrl, MachineId, NodeId, NodeStatus, PoolId, PoolStatus,
    ReplicaStatus,
};
use serde::Serialize;
use service_registry::{Availability, Drain, NodeView, NodesPage, PoolView};

use super::{Lookups, QuarantineView};
use crate::pages::next_after;

/// `GET /v2/nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodesAnswer {
    /// Sorted by id.
    pub nodes: Vec<NodeAnswer>,
    /// There are more: ask for those after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<NodeId>,
    /// Most nodes fell silent together, so those that did stay routable for a while.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub self_suspicion: bool,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeAnswer {
    /// Its id.
    pub node_id: NodeId,
    /// The machine it runs on.
    pub machine_id: MachineId,
    /// Where it listens.
    pub address: HttpUrl,
    /// Where it stands.
    pub status: NodeStatus,
    /// Why, when it is offline or unreachable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Routable although it is offline or unreachable.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// How long ago it was last heard, in milliseconds.
    pub last_heartbeat_age_ms: u64,
    /// Which start of its agent; null when it does not say.
    pub incarnation: Option<u64>,
    /// The agent's version; null when it does not say.
    pub version: Option<String>,
    /// Its hardware.
    pub capabilities: Capabilities,
    /// Its GPUs as it last reported them; absent when it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Vec<GpuStatus>>,
    /// An operator drains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainAnswer>,
    /// Its pools.
    pub pools: Vec<NodePoolAnswer>,
}

/// One pool of a node: as in the heartbeat, and what the control plane makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodePoolAnswer {
    /// As in the heartbeat; `draining` also when an operator drains it.
    #[serde(flatten)]
    pub status: PoolStatus,
    /// In the place of those of the status, which has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Vec<ReplicaAnswer>>,
    /// An operator drains it, or its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainAnswer>,
    /// How many requests this control plane has running there at this moment; absent where nobody
    /// knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_running: Option<u64>,
    /// Why it is given no requests, when it is not ready for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
    /// Why the data path keeps requests from all of it; null when it does not.
    pub quarantine: Option<QuarantineView>,
}

/// One replica of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplicaAnswer {
    /// As in the heartbeat.
    #[serde(flatten)]
    pub status: ReplicaStatus,
    /// How many requests this control plane has running there at this moment; absent where nobody
    /// knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_running: Option<u64>,
    /// Why the data path keeps requests from it; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<QuarantineView>,
}

/// An operator's drain and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DrainAnswer {
    /// For how long it has been draining, in milliseconds.
    pub for_ms: u64,
    /// How long running requests may still take, in milliseconds; 0 when that is over, null
    /// without a deadline.
    pub deadline_ms: Option<u64>,
    /// How many slots are still taken, as last reported.
    pub slots_busy: u32,
    /// How many requests this control plane has running there at this moment; absent where nobody
    /// knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_running: Option<u64>,
}

/// The answer to a drain that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DrainBegunAnswer {
    /// Always true.
    pub success: bool,
    /// How many requests this control plane still has running there; absent where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_running: Option<u64>,
}

impl NodesAnswer {
    /// A page of nodes at the registry's time `now`.
    pub(crate) fn new(
        page: &NodesPage,
        self_suspicion: bool,
        now: Duration,
        lookups: &Lookups,
    ) -> Self {
        Self {
            nodes: page
                .nodes
                .iter()
                .map(|node| NodeAnswer::new(node, now, lookups))
                .collect(),
            next_after: next_after(page),
            self_suspicion,
        }
    }
}

impl NodeAnswer {
    /// One node at the registry's time `now`.
    pub(crate) fn new(node: &NodeView, now: Duration, lookups: &Lookups) -> Self {
        let busy = node.pools.iter().map(|pool| busy(&pool.status)).sum();
        let pools: Vec<_> = node
            .pools
            .iter()
            .map(|pool| NodePoolAnswer::new(pool, now, lookups))
            .collect();
        Self {
            node_id: node.node_id.clone(),
            machine_id: node.machine_id.clone(),
            address: node.address.clone(),
            status: node.status,
            status_reason: node.reason.clone(),
            held: node.held,
            last_heartbeat_age_ms: millis(now.saturating_sub(node.last_heard)),
            incarnation: node.incarnation,
            version: node.version.as_deref().map(str::to_owned),
            capabilities: Capabilities::clone(&node.capabilities),
            gpus: node.gpus.as_deref().map(<[GpuStatus]>::to_vec),
            drain: node
                .drain
                .map(|drain| DrainAnswer::new(drain, now, busy, total(&pools))),
            pools,
        }
    }
}

impl NodePoolAnswer {
    fn new(pool: &PoolView, now: Duration, lookups: &Lookups) -> Self {
        let mut status = PoolStatus::clone(&pool.status);
        status.draining |= pool.drain.is_some();
        let reported = status.replicas.take();
        let replicas = reported.map(|replicas| {
            let answer = |replica| ReplicaAnswer::new(replica, pool, lookups);
            replicas.into_iter().map(answer).collect()
        });
        // A sum of which a part is not known is not known.
        let requests_running = pool
            .endpoints
            .iter()
            .map(|key| (lookups.running)(key))
            .sum();
        Self {
            drain: pool
                .drain
                .map(|drain| DrainAnswer::new(drain, now, busy(&status), requests_running)),
            replicas,
            requests_running,
            unavailable: match &pool.availability {
                Availability::NotReady(reason) => Some(reason.as_ref().to_owned()),
                Availability::Ready | Availability::Asleep | Availability::Draining => None,
            },
            quarantine: quarantine_of_all(pool, lookups),
            status,
        }
    }
}

impl ReplicaAnswer {
    fn new(status: ReplicaStatus, pool: &PoolView, lookups: &Lookups) -> Self {
        let mut endpoints = pool.endpoints.iter();
        // Where the pool as a whole is the endpoint nothing is known of a single replica.
        let key = endpoints.find(|key| key.replica.as_ref() == Some(&status.replica_id));
        Self {
            requests_running: key.and_then(|key| (lookups.running)(key)),
            quarantine: key.and_then(|key| (lookups.quarantine)(key)),
            status,
        }
    }
}

/// When all endpoints of the pool are in quarantine, that of the one which is tried again first.
fn quarantine_of_all(pool: &PoolView, lookups: &Lookups) -> Option<QuarantineView> {
    let quarantines = pool.endpoints.iter().map(|key| (lookups.quarantine)(key));
    let all: Option<Vec<QuarantineView>> = quarantines.collect();
    all?.into_iter()
        .min_by_key(|quarantine| quarantine.retry_in_ms)
}

impl NodeAnswer {
    /// The requests that run on one of its pools, or on all of them.
    pub(crate) fn running(&self, pool: Option<&PoolId>) -> Option<u64> {
        match pool {
            None => total(&self.pools),
            Some(id) => {
                let pool = self.pools.iter().find(|pool| pool.status.pool_id == *id)?;
                pool.requests_running
            }
        }
    }
}

impl DrainAnswer {
    fn new(drain: Drain, now: Duration, slots_busy: u32, requests_running: Option<u64>) -> Self {
        Self {
            for_ms: millis(now.saturating_sub(drain.since)),
            deadline_ms: drain
                .deadline
                .map(|deadline| millis(deadline.saturating_sub(now))),
            slots_busy,
            requests_running,
        }
    }
}

/// The requests of all pools together; `None` when those of one are not known.
fn total(pools: &[NodePoolAnswer]) -> Option<u64> {
    pools.iter().map(|pool| pool.requests_running).sum()
}

fn busy(status: &PoolStatus) -> u32 {
    status.slots_total().saturating_sub(status.slots_free())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
