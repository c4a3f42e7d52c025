//! Nodes, as `GET /v2/nodes` shows them.

use std::time::Duration;

use pool_registry_types::{
    Capabilities, GpuStatus, HttpUrl, MachineId, NodeId, NodeStatus, PoolId, PoolStatus,
    RefusedHandoff, ReplicaStatus, millis,
};
use serde::Serialize;
use service_registry::{Availability, Drain, NodeView, NodesPage, PoolView, RefusedNode};

use crate::{
    data_path::{DataPathSource, QuarantineView},
    pages::next_after,
};

/// `GET /v2/nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodesAnswer {
    /// Sorted by id.
    pub nodes: Vec<NodeAnswer>,
    /// There are more nodes: ask for those after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<NodeId>,
    /// More than half of the nodes fell silent together, so they stay routable for a while.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub self_suspicion: bool,
    /// Nodes that were refused in the last ten minutes, the latest first; on the first page only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_nodes: Vec<RefusedNodeAnswer>,
}

/// A node that the control plane refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefusedNodeAnswer {
    /// Its network address, or the URL that it wants to be reached at.
    pub from: String,
    /// Its id, when its token was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// Why it was refused the last time.
    pub reason: String,
    /// How often it was refused.
    pub times: u64,
    /// Time since it was refused the last time, in milliseconds.
    pub last_ms: u64,
}

impl RefusedNodeAnswer {
    pub(crate) fn new((node, age): (RefusedNode, Duration)) -> Self {
        Self {
            from: node.from,
            node_id: node.node_id,
            reason: node.reason,
            times: node.times,
            last_ms: millis(age),
        }
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeAnswer {
    /// Its id.
    pub node_id: NodeId,
    /// The machine it runs on.
    pub machine_id: MachineId,
    /// Its address.
    pub address: HttpUrl,
    /// Its status.
    pub status: NodeStatus,
    /// The reason, when it is offline or unreachable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Routable although it is offline or unreachable.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Time since its last heartbeat or registration, in milliseconds.
    pub last_heartbeat_age_ms: u64,
    /// The incarnation of its agent; null when it reports none.
    pub incarnation: Option<u64>,
    /// The version of its agent; null when it reports none.
    pub version: Option<String>,
    /// Its hardware.
    pub capabilities: Capabilities,
    /// Its GPUs as last reported; absent before the first report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Vec<GpuStatus>>,
    /// The handoffs that it refuses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_handoffs: Vec<RefusedHandoff>,
    /// The drain of an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainAnswer>,
    /// Its pools.
    pub pools: Vec<NodePoolAnswer>,
}

/// One pool of a node: its last report, and what the control plane adds to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodePoolAnswer {
    /// As last reported by the node, slots included; `draining` also when an operator drains it.
    #[serde(flatten)]
    pub status: PoolStatus,
    /// Replaces the replicas of the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Vec<ReplicaAnswer>>,
    /// The drain of an operator, of the pool or of its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainAnswer>,
    /// Requests that this control plane runs there now; absent when unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_running: Option<u64>,
    /// Why it gets no requests, when it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
    /// The open circuit breaker, when those of all its endpoints are open; null otherwise.
    pub quarantine: Option<QuarantineView>,
}

/// One replica of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplicaAnswer {
    /// As last reported by the node, slots included.
    #[serde(flatten)]
    pub status: ReplicaStatus,
    /// Requests that this control plane runs there now; absent when unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_running: Option<u64>,
    /// Its open circuit breaker; absent when it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<QuarantineView>,
}

/// The drain of an operator and its progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DrainAnswer {
    /// Time since the drain began, in milliseconds.
    pub for_ms: u64,
    /// Time left for running requests, in milliseconds; 0 after the deadline, null without one.
    pub deadline_ms: Option<u64>,
    /// Slots that are still taken, as last reported.
    pub slots_busy: u32,
    /// Requests that this control plane runs there now; absent when unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_running: Option<u64>,
}

/// The answer to a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DrainBegunAnswer {
    /// Always true.
    pub success: bool,
    /// Requests that this control plane still runs there; absent when unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_running: Option<u64>,
}

impl NodesAnswer {
    /// A page of nodes at the registry's time `now`.
    pub(crate) fn new(
        page: &NodesPage,
        self_suspicion: bool,
        now: Duration,
        data_path: &dyn DataPathSource,
    ) -> Self {
        Self {
            nodes: page
                .nodes
                .iter()
                .map(|node| NodeAnswer::new(node, now, data_path))
                .collect(),
            next_after: next_after(page),
            self_suspicion,
            refused_nodes: Vec::new(),
        }
    }
}

impl NodeAnswer {
    /// One node at the registry's time `now`.
    pub(crate) fn new(node: &NodeView, now: Duration, data_path: &dyn DataPathSource) -> Self {
        let busy = node.pools.iter().map(|pool| busy(&pool.status)).sum();
        let pools: Vec<_> = node
            .pools
            .iter()
            .map(|pool| NodePoolAnswer::new(pool, now, data_path))
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
            refused_handoffs: node.refused_handoffs.clone(),
            drain: node
                .drain
                .map(|drain| DrainAnswer::new(drain, now, busy, total(&pools))),
            pools,
        }
    }
}

impl NodePoolAnswer {
    fn new(pool: &PoolView, now: Duration, data_path: &dyn DataPathSource) -> Self {
        let mut status = PoolStatus::clone(&pool.status);
        status.draining |= pool.drain.is_some();
        let reported = status.replicas.take();
        let replicas = reported.map(|replicas| {
            let answer = |replica| ReplicaAnswer::new(replica, pool, data_path);
            replicas.into_iter().map(answer).collect()
        });
        // The sum is unknown when one part is.
        let requests_running = pool
            .endpoints
            .iter()
            .map(|key| data_path.requests_running(key))
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
            quarantine: quarantine_of_all(pool, data_path),
            status,
        }
    }
}

impl ReplicaAnswer {
    fn new(status: ReplicaStatus, pool: &PoolView, data_path: &dyn DataPathSource) -> Self {
        let mut endpoints = pool.endpoints.iter();
        // Where the whole pool is the endpoint, nothing is known about one replica.
        let key = endpoints.find(|key| key.replica.as_ref() == Some(&status.replica_id));
        Self {
            requests_running: key.and_then(|key| data_path.requests_running(key)),
            quarantine: key.and_then(|key| data_path.quarantine(key)),
            status,
        }
    }
}

/// When all endpoints of the pool are in quarantine: the quarantine that ends first.
fn quarantine_of_all(pool: &PoolView, data_path: &dyn DataPathSource) -> Option<QuarantineView> {
    let quarantines = pool.endpoints.iter().map(|key| data_path.quarantine(key));
    let all: Option<Vec<QuarantineView>> = quarantines.collect();
    all?.into_iter()
        .min_by_key(|quarantine| quarantine.retry_in_ms)
}

impl NodeAnswer {
    /// The requests that run on one pool, or on all pools.
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

/// The requests of all pools; `None` when those of one are unknown.
fn total(pools: &[NodePoolAnswer]) -> Option<u64> {
    pools.iter().map(|pool| pool.requests_running).sum()
}

fn busy(status: &PoolStatus) -> u32 {
    status.slots_total().saturating_sub(status.slots_free())
}
