//! The registry behind its lock, and the consequences of every change of it.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use event_log::EventLog;
use parking_lot::Mutex;
use pool_registry_types::NodeId;
use routing_table::{RouteChange, RouteSink};
use service_registry::{Config, PersistedNode, RefusedNode, RefusedNodes, Registry};
use stream_proxy::StreamProxy;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    durability::{PendingWrite, WriteProgress},
    event_publisher::EventPublisher,
    log,
};

/// The state that the handle, the timer, the store writer and the prober share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    pub(crate) sink: Arc<dyn RouteSink>,
    pub(crate) origin: Instant,
    pub(crate) config: Config,
    /// A deadline is earlier than the timer wakes.
    pub(crate) due_earlier: Notify,
    /// The registry differs from the store.
    pub(crate) dirty: Notify,
    /// The targets of probes have changed. Unused without a prober.
    pub(crate) retargeted: Notify,
    pub(crate) has_prober: bool,
    /// How probes reach nodes.
    pub(crate) proxy: StreamProxy,
    /// The revision of the registry, updated while it has a subscriber.
    pub(crate) revisions: watch::Sender<u64>,
    /// The progress of the store writer.
    progress: watch::Receiver<WriteProgress>,
}

/// Nodes of changes that callers await, and the number of the last of these changes.
pub(crate) struct AwaitedChanges {
    pub(crate) nodes: Vec<(NodeId, Option<PersistedNode>)>,
    pub(crate) last: u64,
}

struct Core {
    registry: Registry,
    events: EventPublisher,
    refused: RefusedNodes,
    /// The route changes of the last event. The next event reuses the memory.
    routes: Vec<RouteChange>,
    /// When the timer wakes.
    sleeps_until: Option<Duration>,
    /// Nodes of changes that callers await and that are not yet with the writer.
    awaited: BTreeSet<NodeId>,
    /// The number of the last awaited change.
    last_awaited: u64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        registry: Registry,
        sink: Arc<dyn RouteSink>,
        origin: Instant,
        events: EventLog,
        has_prober: bool,
        proxy: StreamProxy,
        progress: watch::Receiver<WriteProgress>,
    ) -> Self {
        Self {
            config: registry.config().clone(),
            core: Mutex::new(Core {
                registry,
                events: EventPublisher::new(events),
                refused: RefusedNodes::default(),
                routes: Vec::new(),
                sleeps_until: None,
                awaited: BTreeSet::new(),
                last_awaited: 0,
            }),
            sink,
            origin,
            due_earlier: Notify::new(),
            dirty: Notify::new(),
            retargeted: Notify::new(),
            has_prober,
            proxy,
            revisions: watch::Sender::new(0),
            progress,
        }
    }

    /// Applies an event now. When this returns, the data path routes by it and it is logged.
    pub(crate) fn event<T>(&self, event: impl FnOnce(&mut Registry, Duration) -> T) -> T {
        let mut core = self.core.lock();
        // The clock is read under the lock, so that time never goes back between two events.
        let result = event(&mut core.registry, self.origin.elapsed());
        self.spread(&mut core);
        result
    }

    /// Applies an event about `node_id` whose caller waits until the store has it.
    pub(crate) fn awaited_event<T, E>(
        &self,
        node_id: &NodeId,
        event: impl FnOnce(&mut Registry, Duration) -> Result<T, E>,
    ) -> Result<(T, PendingWrite), E> {
        let mut core = self.core.lock();
        let result = event(&mut core.registry, self.origin.elapsed());
        self.spread(&mut core);
        let value = result?;
        core.awaited.insert(node_id.clone());
        core.last_awaited += 1;
        self.dirty.notify_one();
        let pending = PendingWrite::new(core.last_awaited, self.progress.clone());
        Ok((value, pending))
    }

    /// Takes the awaited changes for a write.
    pub(crate) fn take_awaited(&self) -> AwaitedChanges {
        let mut core = self.core.lock();
        let nodes = std::mem::take(&mut core.awaited).into_iter();
        AwaitedChanges {
            nodes: nodes
                .map(|node_id| {
                    let node = core.registry.persisted_node(&node_id);
                    (node_id, node)
                })
                .collect(),
            last: core.last_awaited,
        }
    }

    /// Notes that a node was refused. It is logged and published when it is news.
    pub(crate) fn node_refused(&self, from: &str, node_id: Option<&NodeId>, reason: &str) {
        let mut core = self.core.lock();
        let now = self.origin.elapsed();
        let is_news = core
            .refused
            .refused(from.to_owned(), node_id.cloned(), reason, now);
        if is_news {
            core.events.node_refused(from, node_id, reason);
            log::log_refused_node(from, node_id, reason);
        }
    }

    /// Notes that a node was accepted.
    pub(crate) fn node_accepted(&self, node_id: &NodeId) {
        self.core.lock().refused.accepted(node_id);
    }

    /// The refused nodes, the latest first, and the time.
    pub(crate) fn refused_nodes(&self) -> (Vec<RefusedNode>, Duration) {
        let now = self.origin.elapsed();
        (self.core.lock().refused.list(now), now)
    }

    /// Reads the registry.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.core.lock().registry)
    }

    /// Takes a list of changes out of the registry. Readers see no difference.
    pub(crate) fn take<T>(&self, take: impl FnOnce(&mut Registry) -> T) -> T {
        take(&mut self.core.lock().registry)
    }

    /// Advances the clock of the registry. Returns the latest time for the next call.
    pub(crate) fn tick(&self, longest: Duration) -> Instant {
        let mut core = self.core.lock();
        let now = self.origin.elapsed();
        core.registry.tick(now);
        self.spread(&mut core);
        let latest = now.saturating_add(longest);
        let wake = core
            .registry
            .next_deadline()
            .map_or(latest, |at| at.min(latest));
        core.sleeps_until = Some(wake);
        self.origin + wake
    }

    fn spread(&self, core: &mut Core) {
        let Core {
            registry,
            events,
            routes,
            sleeps_until,
            ..
        } = core;
        registry.take_routes(routes);
        if !routes.is_empty() {
            self.sink.apply(routes);
            routes.clear();
        }
        for delta in registry.take_deltas() {
            log::log_delta(&delta);
            events.publish(&delta);
        }
        if registry.has_dirty() {
            self.dirty.notify_one();
        }
        if registry.has_targets() {
            if self.has_prober {
                self.retargeted.notify_one();
            } else {
                let _ = registry.take_targets();
            }
        }
        if self.revisions.receiver_count() > 0 {
            self.revisions.send_replace(registry.revision());
        }
        let due = registry.next_deadline();
        if let (Some(until), Some(due)) = (*sleeps_until, due)
            && due < until
        {
            *sleeps_until = None;
            self.due_earlier.notify_one();
        }
    }
}
