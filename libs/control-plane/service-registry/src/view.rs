//! Views of nodes for people, and targets for the prober.

use std::{collections::BTreeSet, ops::Bound, sync::Arc, time::Duration};

use pool_registry_types::{
    Capabilities, GpuStatus, HttpUrl, MachineId, NodeId, NodeStatus, PoolId, PoolStatus,
    RefusedHandoff, Text,
};
use routing_table::EndpointKey;

use crate::{
    Registry,
    intent::{Drain, Intent},
    node::Node,
    pool::Pool,
};

/// Whether a pool takes requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It takes requests.
    Ready,
    /// It takes requests, and starts an engine for them first.
    Asleep,
    /// It finishes running requests and takes no new ones.
    Draining,
    /// It takes no requests, for this reason.
    NotReady(Arc<str>),
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeView {
    /// Its id.
    pub node_id: NodeId,
    /// The machine it runs on.
    pub machine_id: MachineId,
    /// Its address.
    pub address: HttpUrl,
    /// Where it serves its metrics without a token, if anywhere.
    pub metrics_address: Option<HttpUrl>,
    /// Its status.
    pub status: NodeStatus,
    /// The reason, when it is offline or unreachable; for people.
    pub reason: Option<String>,
    /// Routable although it is offline or unreachable, because most nodes are.
    pub held: bool,
    /// The time of its last message, on the clock of the registry. A restored node counts as heard
    /// when it was restored.
    pub last_heard: Duration,
    /// The incarnation of its agent.
    pub incarnation: Option<u64>,
    /// The version of its agent.
    pub version: Option<Text>,
    /// Its hardware.
    pub capabilities: Arc<Capabilities>,
    /// Its GPUs as last reported; `None` before the first report.
    pub gpus: Option<Arc<[GpuStatus]>>,
    /// The handoffs that it refuses.
    pub refused_handoffs: Vec<RefusedHandoff>,
    /// Its drain.
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
#[non_exhaustive]
pub struct PoolView {
    /// The last report.
    pub status: Arc<PoolStatus>,
    /// The drain of the pool, or of its node.
    pub drain: Option<Drain>,
    /// Whether it takes requests.
    pub availability: Availability,
    /// Its endpoints: the replicas, or the whole pool.
    pub endpoints: Vec<EndpointKey>,
}

/// Selects nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Nodes with this status.
    pub status: Option<NodeStatus>,
    /// Nodes with an endpoint that serves this model.
    pub model: Option<String>,
}

/// A page of nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodesPage {
    /// Sorted by id.
    pub nodes: Vec<NodeView>,
    /// Whether more nodes follow.
    pub more: bool,
}

/// The progress of a page that is made in several steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageStep {
    /// The page is complete.
    Done,
    /// The page continues after this node.
    ContinueAfter(NodeId),
}

/// The target of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    /// Its address.
    pub address: Arc<HttpUrl>,
    /// The incarnation that should answer.
    pub incarnation: Option<u64>,
    /// Whether the node is offline.
    pub offline: bool,
}

impl Registry {
    /// One node, if it is known.
    #[must_use]
    pub fn node(&self, node_id: &NodeId) -> Option<NodeView> {
        let (node_id, node) = self.nodes.get_key_value(node_id)?;
        Some(self.view(node_id, node))
    }

    /// Up to `limit` nodes after `after`.
    #[must_use]
    pub fn page(&self, after: Option<&NodeId>, limit: usize, filter: &NodeFilter) -> NodesPage {
        let mut page = NodesPage::default();
        let _ = self.add_to_page(&mut page, after, limit, filter, usize::MAX);
        page
    }

    /// Adds nodes after `after` to a page of up to `limit`, and reads at most `most` nodes for
    /// that.
    pub fn add_to_page(
        &self,
        page: &mut NodesPage,
        after: Option<&NodeId>,
        limit: usize,
        filter: &NodeFilter,
        most: usize,
    ) -> PageStep {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (read, (node_id, node)) in
            (1..).zip(self.nodes.range::<NodeId, _>((from, Bound::Unbounded)))
        {
            if passes(node, filter) {
                if page.nodes.len() >= limit {
                    page.more = true;
                    return PageStep::Done;
                }
                page.nodes.push(self.view(node_id, node));
            }
            if read >= most {
                return PageStep::ContinueAfter(node_id.clone());
            }
        }
        PageStep::Done
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
            refused_handoffs: node.observed.refused_handoffs.to_vec(),
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

    /// Ready only when all three facts agree. The silence of a held node does not count.
    fn availability(&self, node: &Node, intent: Option<&Intent>, pool: &Pool) -> Availability {
        if node.is_lost() {
            return Availability::NotReady(node.explain(self.now).into());
        }
        if let Some(unavailable_reason) = node.observed.basis.unavailable_reason() {
            return Availability::NotReady(unavailable_reason.into());
        }
        let status = &pool.status;
        let drained = intent.is_some_and(|intent| intent.of_pool(&status.pool_id).is_some());
        if drained || status.draining {
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

    /// Takes the nodes whose probe target has changed since the last call: they joined, left,
    /// moved, restarted, went offline or came back.
    #[must_use]
    pub fn take_targets(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.targets)
    }

    /// Takes one node whose probe target has changed.
    pub fn pop_target(&mut self) -> Option<NodeId> {
        self.targets.pop_first()
    }

    /// Whether any probe target has changed.
    #[must_use]
    pub fn has_targets(&self) -> bool {
        !self.targets.is_empty()
    }

    /// The probe target of a node; `None` when the node is unknown.
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
