//! What readers see: the nodes for people, the endpoints for the data path.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{
    Capabilities, GpuStatus, HttpUrl, MachineId, NodeId, NodeStatus, PoolId, PoolStatus,
};
use routing_table::{Availability, Endpoint, EndpointKey, Hop, RoutingTable};

use crate::{
    Registry,
    intent::{Drain, Intent},
    node::{Node, Pool},
    suspicion::Trust,
};

/// All nodes at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodesSnapshot {
    /// Sorted by id.
    pub nodes: Vec<NodeView>,
    /// Most nodes fell silent together, and those that did are held routable.
    pub self_suspicion: bool,
}

impl NodesSnapshot {
    /// The node, if it is known.
    #[must_use]
    pub fn get(&self, node_id: &NodeId) -> Option<&NodeView> {
        let place = self
            .nodes
            .binary_search_by(|node| node.node_id.cmp(node_id))
            .ok()?;
        self.nodes.get(place)
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub node_id: NodeId,
    /// The machine it runs on.
    pub machine_id: MachineId,
    /// Where it listens.
    pub address: HttpUrl,
    /// Where it serves its metrics without a token, if anywhere.
    pub metrics_address: Option<HttpUrl>,
    /// Where it stands.
    pub status: NodeStatus,
    /// Why, when it is offline or unreachable; for people.
    pub reason: Option<String>,
    /// Routable although it is offline or unreachable, because most nodes are.
    pub held: bool,
    /// When it was last heard, on the registry's clock. A restored node counts as heard when it was restored.
    pub last_heard: Duration,
    /// Which life of it.
    pub incarnation: Option<u64>,
    /// The agent's version.
    pub version: Option<Arc<str>>,
    /// Its hardware.
    pub capabilities: Arc<Capabilities>,
    /// Its GPUs as it last reported them; `None` when it has not.
    pub gpus: Option<Arc<[GpuStatus]>>,
    /// An operator drains it.
    pub drain: Option<Drain>,
    /// Its pools in the order it reports them.
    pub pools: Vec<PoolView>,
}

impl NodeView {
    /// The pool, if the node has it.
    #[must_use]
    pub fn pool(&self, pool_id: &PoolId) -> Option<&PoolView> {
        self.pools.iter().find(|pool| pool.status.pool_id == *pool_id)
    }
}

/// One pool of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView {
    /// As the node reported it.
    pub status: Arc<PoolStatus>,
    /// An operator drains it, or its node.
    pub drain: Option<Drain>,
    /// Whether the data path may give it requests.
    pub availability: Availability,
}

impl Registry {
    /// All nodes as they are now.
    #[must_use]
    pub fn snapshot(&self) -> NodesSnapshot {
        NodesSnapshot {
            nodes: self
                .nodes
                .iter()
                .map(|(node_id, node)| self.node_view(node_id, node))
                .collect(),
            self_suspicion: matches!(self.trust, Trust::Suspicious { .. }),
        }
    }

    fn node_view(&self, node_id: &NodeId, node: &Node) -> NodeView {
        let intent = self.intents.get(node_id);
        let identity = &node.identity;
        NodeView {
            node_id: node_id.clone(),
            machine_id: identity.machine_id.clone(),
            address: identity.address.clone(),
            metrics_address: identity.metrics_address.clone(),
            status: node.status,
            reason: node.lost_at.is_some().then(|| node.explain(self.now)),
            held: node.held,
            last_heard: node.observed.last_heard,
            incarnation: identity.incarnation,
            version: identity.version.clone(),
            capabilities: identity.capabilities.clone(),
            gpus: node.observed.gpus.clone(),
            drain: intent.and_then(|intent| intent.node),
            pools: node
                .observed
                .pools
                .iter()
                .map(|pool| PoolView {
                    status: pool.status.clone(),
                    drain: intent.and_then(|intent| intent.of_pool(&pool.status.pool_id)),
                    availability: self.availability(node, intent, pool),
                })
                .collect(),
        }
    }

    /// One endpoint per pool of every known node, routable or not.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        for (node_id, node) in &self.nodes {
            let intent = self.intents.get(node_id);
            endpoints.extend(
                node.observed
                    .pools
                    .iter()
                    .map(|pool| self.endpoint(node_id, node, intent, pool)),
            );
        }
        endpoints
    }

    /// The endpoints as the data path takes them.
    #[must_use]
    pub fn routing_table(&self, version: u64) -> RoutingTable {
        RoutingTable::new(version, self.endpoints())
    }

    fn endpoint(&self, node_id: &NodeId, node: &Node, intent: Option<&Intent>, pool: &Pool) -> Endpoint {
        let status = &pool.status;
        Endpoint {
            key: EndpointKey {
                node: node_id.clone(),
                pool: status.pool_id.clone(),
                replica: None,
            },
            // Without an incarnation every life looks the same; the report still rises.
            incarnation: node.identity.incarnation.unwrap_or(0),
            target: pool.target.clone(),
            hop: Hop::Node,
            availability: self.availability(node, intent, pool),
            slots_total: status.slots_total,
            slots_free: status.slots_free,
            report: node.observed.report,
            vram_free_bytes: status.vram_free_bytes,
            models: pool.models.clone(),
            engine: status.engine.clone(),
            engine_version: pool.engine_version.clone(),
        }
    }

    /// Ready only when all three facts agree; a held node's silence does not count.
    fn availability(&self, node: &Node, intent: Option<&Intent>, pool: &Pool) -> Availability {
        if node.lost_at.is_some() && !node.held {
            return Availability::NotReady(node.explain(self.now).into());
        }
        if let Some(objection) = node.observed.basis.objection() {
            return Availability::NotReady(objection.into());
        }
        let wished = intent.is_some_and(|intent| intent.of_pool(&pool.status.pool_id).is_some());
        if wished || pool.status.draining {
            return Availability::Draining;
        }
        match (pool.status.ready, &pool.status.last_error) {
            (true, _) if pool.status.sleeping => Availability::Asleep,
            (true, _) => Availability::Ready,
            (false, Some(error)) => Availability::NotReady(format!("no replica ready: {error}").into()),
            (false, None) => Availability::NotReady("no replica ready".into()),
        }
    }
}
