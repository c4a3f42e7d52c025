//! How answers read the registry: in pages, so that its lock is free in between.

use pool_registry_types::NodeId;
use service_registry::{NodeFilter, NodeView, NodesPage};

use crate::{ControlApi, NodesQuery};

/// How many nodes are looked at together where an answer needs all of them: few enough that the
/// thread has time for others in between.
const NODES_TOGETHER: usize = 256;

impl ControlApi {
    /// The nodes that a query is about.
    pub(crate) fn page(&self, query: &NodesQuery) -> NodesPage {
        self.registry
            .page(query.after.as_ref(), query.limit, &query.filter)
    }

    /// All nodes, by id. Those that join or leave meanwhile are seen or not.
    pub(crate) async fn each_node(&self, mut visit: impl FnMut(&NodeView)) {
        let all = NodeFilter::default();
        let mut after: Option<NodeId> = None;
        loop {
            let page = self.registry.page(after.as_ref(), NODES_TOGETHER, &all);
            page.nodes.iter().for_each(&mut visit);
            match page.nodes.last() {
                Some(last) if page.more => after = Some(last.node_id.clone()),
                _ => return,
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The node behind which the next page begins; `None` when this was the last one.
pub(crate) fn next_after(page: &NodesPage) -> Option<NodeId> {
    let last = page.nodes.last().filter(|_| page.more);
    last.map(|node| node.node_id.clone())
}
