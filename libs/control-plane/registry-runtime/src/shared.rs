//! The registry behind its lock, and what every change of it sets off.

use std::{fmt, sync::Arc, time::Duration};

use event_log::EventLog;
use parking_lot::Mutex;
use routing_table::{RouteChange, RouteSink};
use service_registry::{Config, Registry};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{events::EventPublisher, log};

/// What the handle, the task, the keeper and the prober share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    pub(crate) sink: Arc<dyn RouteSink>,
    pub(crate) origin: Instant,
    pub(crate) config: Config,
    /// Something is due before the task wakes by itself.
    pub(crate) due_earlier: Notify,
    /// The store should have something else than it has.
    pub(crate) dirty: Notify,
    /// Nodes are to be probed in another way. Without a prober nobody waits for that.
    pub(crate) retargeted: Notify,
    pub(crate) has_prober: bool,
    /// The registry's revision, updated while it has a subscriber.
    pub(crate) revisions: watch::Sender<u64>,
}

struct Core {
    registry: Registry,
    news: EventPublisher,
    /// What the last event changed of endpoints. Its memory is used for the next.
    routes: Vec<RouteChange>,
    /// Until when the task sleeps.
    sleeps_until: Option<Duration>,
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
        has_prober: bool,
    ) -> Self {
        Self {
            config: registry.config().clone(),
            core: Mutex::new(Core {
                registry,
                news: EventPublisher::new(EventLog::new()),
                routes: Vec::new(),
                sleeps_until: None,
            }),
            sink,
            origin,
            due_earlier: Notify::new(),
            dirty: Notify::new(),
            retargeted: Notify::new(),
            has_prober,
            revisions: watch::Sender::new(0),
        }
    }

    pub(crate) fn set_events(&self, events: EventLog) {
        self.core.lock().news = EventPublisher::new(events);
    }

    /// Makes an event happen now. When this returns, the data path routes by it and the log tells
    /// it.
    pub(crate) fn event<T>(&self, event: impl FnOnce(&mut Registry, Duration) -> T) -> T {
        let mut core = self.core.lock();
        // Read with the lock held, so that time does not go back from one event to the next.
        let result = event(&mut core.registry, self.origin.elapsed());
        self.spread(&mut core);
        result
    }

    /// Looks at the registry.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.core.lock().registry)
    }

    /// Takes something out of the registry that no reader sees.
    pub(crate) fn take<T>(&self, take: impl FnOnce(&mut Registry) -> T) -> T {
        take(&mut self.core.lock().registry)
    }

    /// Lets time pass. Returns when to do so again at the latest.
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
            news,
            routes,
            sleeps_until,
        } = core;
        registry.take_routes(routes);
        if !routes.is_empty() {
            self.sink.apply(routes);
            routes.clear();
        }
        for delta in registry.take_deltas() {
            log::delta(&delta);
            news.delta(&delta);
        }
        if registry.has_touched() {
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
