//! The handle of the registry.

use std::{net::IpAddr, sync::Arc, time::Duration};

use pool_registry_types::{HeartbeatRequest, HttpUrl, NodeId, RegisterRequest};
use service_registry::{
    Config, FleetSummary, HeartbeatOutcome, HolderAnswer, NodeFilter, NodeView, NodesPage, Pace,
    PageStep, RefusedNode, RegisterOutcome, Registry, RegistryError, Target,
};
use tokio::sync::watch;

use crate::{
    config::DEFAULT_PROBE_TIMEOUT,
    durability::PendingWrite,
    heartbeat::{HeartbeatError, parse_header, parse_heartbeat},
    log,
    probe::is_alive,
    shared::Shared,
};

/// The nodes that are read under one lock when a page is made: less than a millisecond of work.
const NODES_AT_ONCE: usize = 1024;

/// Applies events to the registry and reads it. Cheap to clone.
///
/// Every method waits only for a short lock. When an event method returns, the data path routes by
/// the event.
#[derive(Debug, Clone)]
pub struct RegistryHandle {
    pub(crate) shared: Arc<Shared>,
    /// The turns of the timer.
    pub(crate) turns: watch::Receiver<u64>,
}

impl RegistryHandle {
    /// Registers a node; see [`Registry::register`].
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn register(&self, request: RegisterRequest) -> Result<RegisterOutcome, RegistryError> {
        let (node_id, address) = (request.node_id.clone(), request.address.clone());
        let result = self.event(|registry, now| registry.register(request, now));
        self.note_registration(&node_id, &address, &result);
        result
    }

    fn note_registration(
        &self,
        node_id: &NodeId,
        address: &HttpUrl,
        result: &Result<RegisterOutcome, RegistryError>,
    ) {
        match result {
            Ok(_) => self.shared.node_accepted(node_id),
            Err(error) => {
                let (from, reason) = (address.to_string(), error.to_string());
                self.shared.node_refused(&from, Some(node_id), &reason);
            }
        }
    }

    /// Notes that a request of a node at `peer` was refused before it got here, such as for its
    /// token.
    pub fn node_refused(&self, peer: IpAddr, reason: &str) {
        self.shared.node_refused(&peer.to_string(), None, reason);
    }

    /// Nodes that were refused in the last minutes, the latest first, with the time since then.
    #[must_use]
    pub fn refused_nodes(&self) -> Vec<(RefusedNode, Duration)> {
        let (refused, now) = self.shared.refused_nodes();
        let with_age = |node: RefusedNode| {
            let age = now.saturating_sub(node.last);
            (node, age)
        };
        refused.into_iter().map(with_age).collect()
    }

    /// Registers a node that may be another machine with the id of a registered one: then it asks
    /// the registered one first, which takes at most the timeout of a probe.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn register_unless_held(
        &self,
        request: RegisterRequest,
    ) -> Result<RegisterOutcome, RegistryError> {
        let holder = self
            .shared
            .look(|registry| registry.holder_to_ask(&request));
        let Some(asked) = holder else {
            return self.register(request);
        };
        let (incarnation, address) = (asked.incarnation, Arc::clone(&asked.address));
        let timeout = DEFAULT_PROBE_TIMEOUT;
        match is_alive(
            &self.shared.proxy,
            &request.node_id,
            incarnation,
            &address,
            timeout,
        )
        .await
        {
            Ok(is_alive) => {
                let holder = HolderAnswer { asked, is_alive };
                let (node_id, address) = (request.node_id.clone(), request.address.clone());
                let result = self
                    .event(|registry, now| registry.register_after_asking(request, &holder, now));
                self.note_registration(&node_id, &address, &result);
                result
            }
            // Nothing is known about the other one.
            Err(_) => self.register(request),
        }
    }

    /// Takes in the report of a node; see [`Registry::heartbeat`].
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

    /// Takes in a heartbeat in JSON, as it comes over the wire. One that repeats the last one is
    /// not parsed further.
    ///
    /// It accepts the numbers that `serde_json` accepts. A caller that accepts more parses a
    /// refused body itself, and calls [`heartbeat`](Self::heartbeat).
    ///
    /// # Errors
    /// When the body is no heartbeat, and when the registry refuses.
    pub fn heartbeat_bytes(
        &self,
        node_id: &NodeId,
        body: &[u8],
    ) -> Result<HeartbeatOutcome, HeartbeatError> {
        let header = parse_header(body);
        if let Some(header) = &header
            && let Ok(Some(outcome)) = self
                .shared
                .event(|registry, now| registry.repeated_heartbeat(node_id, header, now))
        {
            log_heartbeat(node_id, Some(&outcome));
            return Ok(outcome);
        }
        // An invalid body is reported before an unknown node.
        let request = parse_heartbeat(body)?;
        let digest = header.map(|header| header.digest);
        let outcome = self
            .event(|registry, now| registry.heartbeat_with_digest(node_id, request, digest, now));
        log_heartbeat(node_id, outcome.as_ref().ok());
        Ok(outcome?)
    }

    /// Removes a node; see [`Registry::deregister`].
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

    /// Forgets a node for an operator, whatever its incarnation. A node that lives registers again
    /// with its next heartbeat. The node stays forgotten after a restart of this process when the
    /// [`PendingWrite`] is durable.
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn forget(&self, node_id: &NodeId) -> Result<PendingWrite, RegistryError> {
        self.awaited_event(node_id, |registry, now| {
            registry.deregister(node_id, None, now)
        })
    }

    /// Drains a node or a pool: it gets no new requests. Running requests may take `within`. The
    /// drain holds at once, and survives a kill when the [`PendingWrite`] is durable.
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn drain(
        &self,
        target: &Target,
        within: Option<Duration>,
    ) -> Result<PendingWrite, RegistryError> {
        self.awaited_event(target.node_id(), |registry, now| {
            let deadline = within.map(|within| now.saturating_add(within));
            registry.drain(target, deadline, now)
        })
    }

    /// Ends a drain. It ends at once, and for good when the [`PendingWrite`] is durable.
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn undrain(&self, target: &Target) -> Result<PendingWrite, RegistryError> {
        self.awaited_event(target.node_id(), |registry, now| {
            registry.undrain(target, now)
        })
    }

    /// Takes in the result of a probe of this incarnation; `Err` holds the reason of a failure.
    pub fn probed(&self, node_id: &NodeId, incarnation: Option<u64>, result: Result<(), String>) {
        self.shared
            .event(|registry, now| registry.probe(node_id, incarnation, result, now));
    }

    /// One node, if it is known.
    #[must_use]
    pub fn node(&self, node_id: &NodeId) -> Option<NodeView> {
        self.shared.look(|registry| registry.node(node_id))
    }

    /// Up to `limit` nodes that pass `filter`, sorted by id, after the node `after`.
    ///
    /// The page may miss nodes that join or leave meanwhile.
    #[must_use]
    pub fn page(&self, after: Option<&NodeId>, limit: usize, filter: &NodeFilter) -> NodesPage {
        let mut page = NodesPage::default();
        let mut after = after.cloned();
        loop {
            let step = self.shared.look(|registry| {
                registry.add_to_page(&mut page, after.as_ref(), limit, filter, NODES_AT_ONCE)
            });
            match step {
                PageStep::Done => return page,
                PageStep::ContinueAfter(node_id) => after = Some(node_id),
            }
        }
    }

    /// The numbers of nodes and pools.
    #[must_use]
    pub fn summary(&self) -> FleetSummary {
        self.shared.look(Registry::summary)
    }

    /// The interval of heartbeats, and the timeout of nodes.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.shared.look(Registry::pace)
    }

    /// A number that rises with every change that readers see.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.shared.look(Registry::revision)
    }

    /// Follows the [`revision`](Self::revision).
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.shared.revisions.subscribe()
    }

    /// Returns true when the timer has taken a turn, which shows progress; false when it has ended.
    pub async fn alive(&self) -> bool {
        let mut turns = self.turns.clone();
        turns.mark_unchanged();
        self.shared.due_earlier.notify_one();
        turns.changed().await.is_ok()
    }

    /// The current time of the registry, for the times in its views.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.origin.elapsed()
    }

    /// The configuration of the registry.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    fn awaited_event(
        &self,
        node_id: &NodeId,
        event: impl FnOnce(&mut Registry, Duration) -> Result<(), RegistryError>,
    ) -> Result<PendingWrite, RegistryError> {
        let result = self.shared.awaited_event(node_id, event);
        if let Err(error) = &result {
            log::log_refusal(error);
        }
        result.map(|((), pending)| pending)
    }

    fn event<T>(
        &self,
        event: impl FnOnce(&mut Registry, Duration) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let result = self.shared.event(event);
        if let Err(error) = &result {
            log::log_refusal(error);
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
