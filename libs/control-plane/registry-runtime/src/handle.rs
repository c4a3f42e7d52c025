//! The front of the registry.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{HeartbeatRequest, NodeId, RegisterRequest};
use service_registry::{
    Config, FleetSummary, HeartbeatOutcome, NodeFilter, NodeView, NodesPage, Pace, RegisterOutcome,
    Registry, RegistryError, Step, Target,
};
use tokio::sync::watch;

use crate::{
    HeartbeatError,
    heartbeat::{repeat, whole},
    log,
    shared::Shared,
};

/// How many nodes are looked at without letting anybody else in between, when a page is put
/// together: less than a millisecond's work.
const NODES_AT_ONCE: usize = 1024;

/// The registry, for whoever has something to tell it or to see in it. Cheap to clone.
///
/// Nothing here waits for anything but a short lock: the data path routes by an event when the
/// method returns.
#[derive(Debug, Clone)]
pub struct RegistryHandle {
    pub(crate) shared: Arc<Shared>,
    /// Turns of the task.
    pub(crate) turns: watch::Receiver<u64>,
}

impl RegistryHandle {
    /// A node joins; see [`Registry::register`].
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn register(&self, request: RegisterRequest) -> Result<RegisterOutcome, RegistryError> {
        self.event(|registry, now| registry.register(request, now))
    }

    /// A node reports; see [`Registry::heartbeat`].
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn heartbeat(
        &self,
        node_id: &NodeId,
        request: HeartbeatRequest,
    ) -> Result<HeartbeatOutcome, RegistryError> {
        let outcome = self.event(|registry, now| registry.heartbeat(node_id, request, now));
        log_heartbeat(node_id, outcome.as_ref().ok());
        outcome
    }

    /// The same of a heartbeat as it comes over the wire, in JSON. One that says the same as the
    /// last is not taken apart.
    ///
    /// Numbers are taken as `serde_json` takes them. A caller that takes more reads what is refused
    /// here by itself, and calls [`heartbeat`](Self::heartbeat).
    ///
    /// # Errors
    /// When it is not a heartbeat, and when the registry refuses.
    pub fn heartbeat_bytes(
        &self,
        node_id: &NodeId,
        body: &[u8],
    ) -> Result<HeartbeatOutcome, HeartbeatError> {
        let repeat = repeat(body);
        if let Some(repeat) = &repeat
            && let Ok(Some(outcome)) = self
                .shared
                .event(|registry, now| registry.repeat(node_id, repeat, now))
        {
            log_heartbeat(node_id, Some(&outcome));
            return Ok(outcome);
        }
        // What is wrong with it is said before who sent it is looked for.
        let request = whole(body)?;
        let digest = repeat.map(|repeat| repeat.digest);
        let outcome = self.event(|registry, now| registry.report(node_id, request, digest, now));
        log_heartbeat(node_id, outcome.as_ref().ok());
        Ok(outcome?)
    }

    /// A node leaves; see [`Registry::deregister`].
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn deregister(
        &self,
        node_id: &NodeId,
        incarnation: Option<u64>,
    ) -> Result<(), RegistryError> {
        self.event(|registry, now| registry.deregister(node_id, incarnation, now))
    }

    /// An operator wants no new work there. `within` is how long running requests may take to
    /// finish.
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn drain(&self, target: &Target, within: Option<Duration>) -> Result<(), RegistryError> {
        self.event(|registry, now| {
            let deadline = within.map(|within| now.saturating_add(within));
            registry.drain(target, deadline, now)
        })
    }

    /// An operator takes a drain back.
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn undrain(&self, target: &Target) -> Result<(), RegistryError> {
        self.event(|registry, now| registry.undrain(target, now))
    }

    /// Somebody tried to reach the node while it had this incarnation; `Err` says how that failed.
    pub fn probed(&self, node_id: &NodeId, incarnation: Option<u64>, result: Result<(), String>) {
        self.shared
            .event(|registry, now| registry.probe(node_id, incarnation, result, now));
    }

    /// One node, if it is known.
    #[must_use]
    pub fn node(&self, node_id: &NodeId) -> Option<NodeView> {
        self.shared.look(|registry| registry.node(node_id))
    }

    /// Up to `limit` of the nodes that pass `filter`, sorted by id, behind `after`.
    ///
    /// Nodes that come or go meanwhile may be there or not.
    #[must_use]
    pub fn page(&self, after: Option<&NodeId>, limit: usize, filter: &NodeFilter) -> NodesPage {
        let mut page = NodesPage::default();
        let mut after = after.cloned();
        loop {
            let step = self.shared.look(|registry| {
                registry.add_to_page(&mut page, after.as_ref(), limit, filter, NODES_AT_ONCE)
            });
            match step {
                Step::Done => return page,
                Step::Behind(node_id) => after = Some(node_id),
            }
        }
    }

    /// The fleet in numbers.
    #[must_use]
    pub fn summary(&self) -> FleetSummary {
        self.shared.look(Registry::summary)
    }

    /// How often nodes should report now, and how long they may be silent.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.shared.look(Registry::pace)
    }

    /// A number that rises whenever a reader would see a change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.shared.look(Registry::revision)
    }

    /// The same, to be followed.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.shared.revisions.subscribe()
    }

    /// Returns when the registry's task has taken a turn, which shows that it lives; false when it
    /// has ended.
    pub async fn alive(&self) -> bool {
        let mut turns = self.turns.clone();
        turns.mark_unchanged();
        self.shared.due_earlier.notify_one();
        turns.changed().await.is_ok()
    }

    /// The registry's time now: what the times in a view are measured on.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.origin.elapsed()
    }

    /// The registry's rules.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    fn event<T>(
        &self,
        event: impl FnOnce(&mut Registry, Duration) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let result = self.shared.event(event);
        if let Err(error) = &result {
            log::refusal(error);
        }
        result
    }
}

fn log_heartbeat(node_id: &NodeId, outcome: Option<&HeartbeatOutcome>) {
    match outcome {
        Some(HeartbeatOutcome::Unchanged) => tracing::debug!(%node_id, "Heartbeat"),
        Some(HeartbeatOutcome::Ignored) => tracing::debug!(%node_id, "Late heartbeat ignored"),
        Some(HeartbeatOutcome::Changed) | None => {}
    }
}
