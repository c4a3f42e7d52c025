//! Reads the registry in pages, so that its lock is free in between.

use pool_registry_types::NodeId;
use service_registry::{NodeFilter, NodeView, NodesPage};

use crate::{api::ControlApi, query::NodesQuery};

/// The nodes that are read together where an answer needs all of them. Few, so that other tasks of
/// the thread run in between.
const NODES_TOGETHER: usize = 256;

impl ControlApi {
    /// The nodes that a query selects.
    pub(crate) fn page(&self, query: &NodesQuery) -> NodesPage {
        self.registry
            .page(query.after.as_ref(), query.limit, &query.filter)
    }

    /// Visits all nodes by id. It may miss nodes that join or leave meanwhile.
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

/// The last node of this page; `None` when there is no next page.
pub(crate) fn next_after(page: &NodesPage) -> Option<NodeId> {
    let last = page.nodes.last().filter(|_| page.more);
    last.map(|node| node.node_id.clone())
}
