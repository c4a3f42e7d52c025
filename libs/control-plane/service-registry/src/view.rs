//! What people see of the nodes, and where the prober finds them.

use std::{collections::BTreeSet, ops::Bound, sync::Arc, time::Duration};

use pool_registry_types::{
    Capabilities, GpuStatus, HttpUrl, MachineId, NodeId, NodeStatus, PoolId, PoolStatus,
};
use routing_table::EndpointKey;

use crate::{
    Registry,
    intent::{Drain, Intent},
    node::Node,
    pool::Pool,
};

/// Whether a pool takes requests, with the reason for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It takes requests.
    Ready,
    /// It takes requests, after it has started an engine.
    Asleep,
    /// It takes no new ones; running ones finish.
    Draining,
    /// It cannot serve now, and why.
    NotReady(Arc<str>),
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
    /// When it was last heard, on the registry's clock. A restored node counts as heard when it
    /// was restored.
    pub last_heard: Duration,
    /// Which start of its agent.
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
        self.pools
            .iter()
            .find(|pool| pool.status.pool_id == *pool_id)
    }
}

/// One pool of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView {
    /// As the node reported it.
    pub status: Arc<PoolStatus>,
    /// An operator drains it, or its node.
    pub drain: Option<Drain>,
    /// Whether it may be given requests.
    pub availability: Availability,
    /// The endpoints that it is for the data path: its replicas, or itself.
    pub endpoints: Vec<EndpointKey>,
}

/// Which nodes to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Those with this status.
    pub status: Option<NodeStatus>,
    /// Those with an endpoint that names this model.
    pub model: Option<String>,
}

/// Some of the nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodesPage {
    /// Sorted by id.
    pub nodes: Vec<NodeView>,
    /// There are others behind them.
    pub more: bool,
}

/// Where a page is that is put together in several steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// All of it is there.
    Done,
    /// It goes on behind this node.
    Behind(NodeId),
}

/// How a node is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    /// Where it listens.
    pub address: Arc<HttpUrl>,
    /// Which start of its agent should answer.
    pub incarnation: Option<u64>,
    /// It was silent for the timeout.
    pub offline: bool,
}

impl Registry {
    /// One node, if it is known.
    #[must_use]
    pub fn node(&self, node_id: &NodeId) -> Option<NodeView> {
        let (node_id, node) = self.nodes.get_key_value(node_id)?;
        Some(self.view(node_id, node))
    }

    /// Up to `limit` nodes behind `after`.
    #[must_use]
    pub fn page(&self, after: Option<&NodeId>, limit: usize, filter: &NodeFilter) -> NodesPage {
        let mut page = NodesPage::default();
        let _ = self.add_to_page(&mut page, after, limit, filter, usize::MAX);
        page
    }

    /// Adds nodes behind `after` to a page of up to `limit`, and looks at `most` nodes at most for
    /// that.
    pub fn add_to_page(
        &self,
        page: &mut NodesPage,
        after: Option<&NodeId>,
        limit: usize,
        filter: &NodeFilter,
        most: usize,
    ) -> Step {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (looked_at, (node_id, node)) in
            (1..).zip(self.nodes.range::<NodeId, _>((from, Bound::Unbounded)))
        {
            if passes(node, filter) {
                if page.nodes.len() >= limit {
                    page.more = true;
                    return Step::Done;
                }
                page.nodes.push(self.view(node_id, node));
            }
            if looked_at >= most {
                return Step::Behind(node_id.clone());
            }
        }
        Step::Done
    }

    fn view(&self, node_id: &NodeId, node: &Node) -> NodeView {
        let intent = self.intents.get(node_id);
        let identity = &node.identity;
        NodeView {
            node_id: node_id.clone(),
            machine_id: identity.machine_id.clone(),
            address: HttpUrl::clone(&identity.address),
            metrics_address: identity.metrics_address.as_deref().cloned(),
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
                    endpoints: pool
                        .routes
                        .iter()
                        .map(|route| route.endpoint.key().clone())
                        .collect(),
                })
                .collect(),
        }
    }

    /// Ready only when all three facts agree; a held node's silence does not count.
    fn availability(&self, node: &Node, intent: Option<&Intent>, pool: &Pool) -> Availability {
        if node.is_lost() {
            return Availability::NotReady(node.explain(self.now).into());
        }
        if let Some(objection) = node.observed.basis.objection() {
            return Availability::NotReady(objection.into());
        }
        let status = &pool.status;
        let wished = intent.is_some_and(|intent| intent.of_pool(&status.pool_id).is_some());
        if wished || status.draining {
            return Availability::Draining;
        }
        match (status.ready, &status.last_error) {
            (true, _) if status.sleeping => Availability::Asleep,
            (true, _) => Availability::Ready,
            (false, Some(error)) => {
                Availability::NotReady(format!("no replica ready: {error}").into())
            }
            (false, None) => Availability::NotReady("no replica ready".into()),
        }
    }

    /// The nodes that are to be probed in another way than when this was last called: they have
    /// joined or left, moved or started anew, gone offline or come back.
    #[must_use]
    pub fn take_targets(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.targets)
    }

    /// One of those, taken out.
    pub fn pop_target(&mut self) -> Option<NodeId> {
        self.targets.pop_first()
    }

    /// Whether there is any of those.
    #[must_use]
    pub fn has_targets(&self) -> bool {
        !self.targets.is_empty()
    }

    /// How to probe the node; `None` when it is not known.
    #[must_use]
    pub fn target(&self, node_id: &NodeId) -> Option<ProbeTarget> {
        let node = self.nodes.get(node_id)?;
        Some(ProbeTarget {
            address: Arc::clone(&node.identity.address),
            incarnation: node.identity.incarnation,
            offline: node.observed.offline,
        })
    }
}

fn passes(node: &Node, filter: &NodeFilter) -> bool {
    let model = filter.model.as_deref();
    filter.status.is_none_or(|status| node.status == status)
        && model.is_none_or(|model| node.observed.pools.iter().any(|pool| pool.names(model)))
}
