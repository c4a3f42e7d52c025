//! Slots and queues for status displays and metrics, and explanations of placements.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use placement::{PlacementError, PlacementQuery, Rank, SkipReason, Strategy};
use pool_registry_types::Text;
use routing_table::{EndpointKey, EndpointState};

use super::AdmissionCore;
use crate::{
    circuit_breaker::OpenBreaker,
    queue::Queue,
    request::{Priority, RoutingPreference, Ticket},
};

/// The status of one endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointStatus {
    /// Its name.
    pub key: EndpointKey,
    /// Slots that own requests hold.
    pub in_flight: u32,
    /// Whether it accepts requests, as far as the control plane knows.
    pub state: EndpointState,
    /// All its slots.
    pub slots_total: u32,
    /// Slots that others use, as far as is known.
    pub used_by_others: u32,
    /// Its circuit breaker, unless that is closed.
    pub open_breaker: Option<OpenBreaker>,
}

/// One candidate for a request, and why it is chosen or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedCandidate {
    /// The endpoint.
    pub key: EndpointKey,
    /// Its rank by the strategy; the lowest is chosen.
    pub rank: Rank,
    /// Slots that own requests or others use.
    pub slots_used: u32,
    /// All its slots.
    pub slots_total: u32,
    /// Free memory of its devices in bytes; 0 when unknown.
    pub vram_free_bytes: u64,
    /// Why it cannot be chosen; `None` when it can.
    pub skip: Option<SkipReason>,
    /// Whether it would be chosen.
    pub chosen: bool,
}

/// What would happen to a request now, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Every endpoint that may serve the model.
    pub candidates: Vec<ExplainedCandidate>,
    /// Why none would be chosen; `None` when one would.
    pub error: Option<PlacementError>,
    /// The number of requests that already wait for the model.
    pub waiting: usize,
}

/// The number of requests that wait for one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Interactive requests.
    pub interactive: usize,
    /// Batch requests.
    pub batch: usize,
}

/// One model and the endpoints that name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSummary {
    /// Its name.
    pub model: String,
    /// The number of endpoints that name it.
    pub endpoints: u32,
    /// How many of them accept requests, as far as the control plane knows.
    pub endpoints_ready: u32,
    /// Their slots.
    pub slots_total: u64,
    /// Those of their slots that a request could get now, as far as is known here.
    pub slots_free: u64,
    /// The largest known context length of those that accept requests.
    pub context_length: Option<u32>,
    /// Who owns it, if all endpoints that say so agree.
    pub owned_by: Option<Text>,
}

/// The state of all queues and slots at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Every endpoint, in no particular order.
    pub endpoints: Vec<EndpointStatus>,
    /// Waiting requests by model; models without any are left out.
    pub waiting: BTreeMap<String, QueueDepth>,
}

impl<W> AdmissionCore<W> {
    /// The number of requests before a waiting request.
    pub(crate) fn ahead_of(&self, model: &str, ticket: Ticket) -> usize {
        self.queues
            .get(model)
            .map_or(0, |queue| queue.ahead_of(ticket))
    }

    pub(crate) fn snapshot(&self, now: Duration) -> Snapshot {
        let endpoints = self.table.iter().filter_map(|(index, endpoint, report)| {
            let slots = self.slots_at(index)?;
            Some(EndpointStatus {
                key: endpoint.key().clone(),
                in_flight: slots.in_flight,
                state: report.state,
                slots_total: report.slots_total,
                used_by_others: slots.used_by_others(now),
                open_breaker: slots.breaker.open_breaker(now),
            })
        });
        Snapshot {
            endpoints: endpoints.collect(),
            waiting: self
                .queues
                .iter()
                .map(|(model, queue)| {
                    let depth = QueueDepth {
                        interactive: queue.depth(Priority::Interactive),
                        batch: queue.depth(Priority::Batch),
                    };
                    (model.clone(), depth)
                })
                .collect(),
        }
    }

    /// The breaker of an endpoint, unless it is closed.
    pub(crate) fn open_breaker_of(&self, key: &EndpointKey, now: Duration) -> Option<OpenBreaker> {
        let index = self.table.find(key)?;
        self.slots_at(index)?.breaker.open_breaker(now)
    }

    /// The number of own requests on an endpoint, even if it has left the table; `None` if it is
    /// unknown.
    pub(crate) fn in_flight_at(&self, key: &EndpointKey) -> Option<u32> {
        let slots = match self.table.find(key) {
            Some(index) => self.slots_at(index),
            None => self.departed.get(key),
        };
        slots.map(|slots| slots.in_flight)
    }

    /// The free slots of an endpoint, own requests and those of others counted; `None` if it is not
    /// in the table.
    pub(crate) fn slots_free_at(&self, key: &EndpointKey, now: Duration) -> Option<u32> {
        Some(self.slots_at(self.table.find(key)?)?.free(now))
    }

    /// Every model that an endpoint names, in no particular order.
    pub(crate) fn models(&self) -> Vec<ModelSummary> {
        let summary = |(model, endpoints_ready)| self.summary(model, endpoints_ready);
        self.table.models().map(summary).collect()
    }

    /// One model and its slots; `None` when no endpoint that accepts requests names it.
    pub(crate) fn model(&self, model: &str) -> Option<ModelSummary> {
        (self.table.serves(model)).then(|| self.summary(model, self.table.routable(model)))
    }

    fn summary(&self, model: &str, endpoints_ready: u32) -> ModelSummary {
        let candidates = self.table.candidates(model);
        let mut summary = ModelSummary {
            model: model.to_owned(),
            endpoints: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
            endpoints_ready,
            slots_total: 0,
            slots_free: 0,
            context_length: None,
            owned_by: None,
        };
        let mut owners = BTreeSet::new();
        for &index in candidates {
            let Some(report) = self
                .table
                .report(index)
                .filter(|report| report.state.is_routable())
            else {
                continue;
            };
            if let Some(endpoint) = self.table.endpoint(index) {
                summary.context_length = summary.context_length.max(endpoint.context_length());
                owners.extend(endpoint.owned_by());
            }
            let load = self.loads.get(index);
            summary.slots_total = summary
                .slots_total
                .saturating_add(report.slots_total.into());
            if !load.breaker_open {
                let free = report.slots_total.saturating_sub(load.used);
                summary.slots_free = summary.slots_free.saturating_add(free.into());
            }
        }
        if owners.len() == 1 {
            summary.owned_by = owners.first().map(|&owner| owner.clone());
        }
        summary
    }

    /// What would happen to a request now, and why. It changes nothing.
    pub(crate) fn explain(
        &mut self,
        model: &str,
        preference: &RoutingPreference,
        now: Duration,
    ) -> Explanation {
        self.apply_deadlines(now);
        let prefix = (preference.strategy == Strategy::Prefix)
            .then(|| self.prefixes.find(&preference.affinity.blocks));
        let query = PlacementQuery {
            prefix: prefix.as_ref(),
            ..self.placement_query(model, preference, &[])
        };
        let chosen = placement::choose(&self.table, &self.loads, &query);
        let candidates = placement::explain(&self.table, &self.loads, &query).map(|candidate| {
            ExplainedCandidate {
                key: candidate.endpoint.key().clone(),
                rank: candidate.rank,
                slots_used: candidate.load.used,
                slots_total: candidate.report.slots_total,
                vram_free_bytes: candidate.report.vram_free_bytes,
                skip: candidate.skip,
                chosen: chosen == Ok(candidate.index),
            }
        });
        Explanation {
            candidates: candidates.collect(),
            error: chosen.err(),
            waiting: self.queues.get(model).map_or(0, Queue::len),
        }
    }
}
