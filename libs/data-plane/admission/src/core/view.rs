//! What people and metrics see of slots and lines.

use std::{collections::BTreeMap, time::Duration};

use placement::{NoPlace, PlacementQuery, Rank, Skip, Strategy};
use routing_table::{EndpointKey, State};

use super::Core;
use crate::{Priority, Quarantine, RoutingPreference, Ticket, line::Line};

/// One endpoint, as `GET`s and metrics show it.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointStatus {
    /// Which.
    pub key: EndpointKey,
    /// Requests of ours that hold a slot there.
    pub in_flight: u32,
    /// Whether it takes requests, as far as the control plane knows.
    pub state: State,
    /// Slots it has.
    pub slots_total: u32,
    /// Slots that others hold, as far as is known.
    pub foreign: u32,
    /// Its failures have put it in quarantine.
    pub quarantine: Option<Quarantine>,
}

/// One candidate for a request, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedCandidate {
    /// Which endpoint.
    pub key: EndpointKey,
    /// Where it stands by the strategy, part by part; the lowest is chosen.
    pub rank: Rank,
    /// Slots that are taken, by us or by others.
    pub slots_used: u32,
    /// Slots it has.
    pub slots_total: u32,
    /// Free memory of its devices in bytes; 0 when unknown.
    pub vram_free_bytes: u64,
    /// Why it cannot be chosen; `None` when it can.
    pub skip: Option<Skip>,
    /// It would be chosen.
    pub chosen: bool,
}

/// What would happen to a request now, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Every endpoint that may serve the model.
    pub candidates: Vec<ExplainedCandidate>,
    /// Why none would be chosen; `None` when one would.
    pub no_place: Option<NoPlace>,
    /// How many requests wait for the model already.
    pub waiting: usize,
}

/// How many requests wait for one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Those with somebody sitting before them.
    pub interactive: usize,
    /// Those that have time.
    pub batch: usize,
}

/// One model and the endpoints that name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSummary {
    /// Its name.
    pub model: String,
    /// How many endpoints name it.
    pub endpoints: u32,
    /// How many of them take requests, as far as the control plane knows.
    pub endpoints_ready: u32,
    /// Slots of those.
    pub slots_total: u64,
    /// Slots of those that a request could have now, as far as is known here.
    pub slots_free: u64,
}

/// The state of all lines and slots at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Every endpoint, in no order.
    pub endpoints: Vec<EndpointStatus>,
    /// Waiting requests by model; models without any are left out.
    pub waiting: BTreeMap<String, Waiting>,
}

impl<W> Core<W> {
    /// How many stand before a waiting request.
    pub(crate) fn ahead_of(&self, model: &str, ticket: Ticket) -> usize {
        self.lines
            .get(model)
            .map_or(0, |line| line.ahead_of(ticket))
    }

    pub(crate) fn snapshot(&self, now: Duration) -> Snapshot {
        let endpoints = self.table.iter().filter_map(|(index, endpoint, report)| {
            let slot = self.slot(index)?;
            Some(EndpointStatus {
                key: endpoint.key().clone(),
                in_flight: slot.own,
                state: report.state,
                slots_total: report.slots_total,
                foreign: slot.foreign(now),
                quarantine: slot.health.quarantine(now),
            })
        });
        Snapshot {
            endpoints: endpoints.collect(),
            waiting: self
                .lines
                .iter()
                .map(|(model, line)| {
                    let waiting = Waiting {
                        interactive: line.waiting(Priority::Interactive),
                        batch: line.waiting(Priority::Batch),
                    };
                    (model.clone(), waiting)
                })
                .collect(),
        }
    }

    /// The quarantine of an endpoint, if it is in one.
    pub(crate) fn quarantine_of(&self, key: &EndpointKey, now: Duration) -> Option<Quarantine> {
        let index = self.table.find(key)?;
        self.slot(index)?.health.quarantine(now)
    }

    /// How many requests of ours hold a slot at an endpoint, also at one that has left the table
    /// since; `None` where it is not known.
    pub(crate) fn in_flight_at(&self, key: &EndpointKey) -> Option<u32> {
        let slot = match self.table.find(key) {
            Some(index) => self.slot(index),
            None => self.departed.get(key),
        };
        slot.map(|slot| slot.own)
    }

    /// Every model that an endpoint names, in no order.
    pub(crate) fn models(&self) -> Vec<ModelSummary> {
        let summary = |(model, endpoints_ready): (&str, u32)| {
            let candidates = self.table.candidates(model);
            let mut summary = ModelSummary {
                model: model.to_owned(),
                endpoints: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
                endpoints_ready,
                slots_total: 0,
                slots_free: 0,
            };
            for &index in candidates {
                let Some(report) = self
                    .table
                    .report(index)
                    .filter(|report| report.state.is_routable())
                else {
                    continue;
                };
                let load = self.loads.get(index);
                summary.slots_total = summary
                    .slots_total
                    .saturating_add(report.slots_total.into());
                if !load.quarantined {
                    let free = report.slots_total.saturating_sub(load.used);
                    summary.slots_free = summary.slots_free.saturating_add(free.into());
                }
            }
            summary
        };
        self.table.models().map(summary).collect()
    }

    /// What would happen to a request now, and why; nothing changes by asking.
    pub(crate) fn explain(
        &mut self,
        model: &str,
        wish: &RoutingPreference,
        now: Duration,
    ) -> Explanation {
        self.refresh(now);
        let seen =
            (wish.strategy == Strategy::Prefix).then(|| self.prefixes.find(&wish.affinity.blocks));
        let question = PlacementQuery {
            prefix: seen.as_ref(),
            ..self.question(model, wish, &[])
        };
        let chosen = placement::choose(&self.table, &self.loads, &question);
        let candidates = placement::explain(&self.table, &self.loads, &question).map(|candidate| {
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
            no_place: chosen.err(),
            waiting: self.lines.get(model).map_or(0, Line::len),
        }
    }
}
