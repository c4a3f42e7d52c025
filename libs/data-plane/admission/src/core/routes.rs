//! Applies changes of the control plane: endpoints and their reports.

use std::{sync::Arc, time::Duration};

use placement::Load;
use routing_table::{Endpoint, EndpointReport, RouteChange, SetResult};

use super::{AdmissionCore, serve::FreedModels};
use crate::slots::Slots;

impl<W> AdmissionCore<W> {
    /// Applies changes, then serves the waiting requests that they help.
    ///
    /// Each change costs the logarithm of the number of endpoints. Queues for models that the
    /// changed endpoint does not serve are not visited.
    pub(crate) fn apply(&mut self, changes: &[RouteChange], now: Duration) {
        let mut freed = FreedModels::default();
        for change in changes {
            match change {
                RouteChange::Set(endpoint, report) => {
                    self.set_endpoint(endpoint, *report, now, &mut freed);
                }
                RouteChange::Remove(endpoint) => self.remove_endpoint(endpoint, &mut freed),
            }
        }
        self.serve_queues(&freed, now);
    }

    fn set_endpoint(
        &mut self,
        endpoint: &Arc<Endpoint>,
        report: EndpointReport,
        now: Duration,
        freed: &mut FreedModels,
    ) {
        let SetResult {
            index,
            replaced,
            is_new,
        } = self.table.set(endpoint, report);
        let is_changed = is_new || replaced.is_some();
        if let Some(before) = &replaced {
            self.models_changed(before, freed);
            if before.key() != endpoint.key() {
                // Two keys with the same hash: nothing of one applies to the other.
                self.depart(index, before);
            }
        }
        if is_changed {
            let context = endpoint.context_length().unwrap_or(u32::MAX);
            self.smallest_context = self.smallest_context.min(context);
            self.round_robin
                .update(endpoint.models().map_or(&[], |models| models), &self.table);
        }
        self.set_slots(index, endpoint, &report, now);
        if is_new {
            self.update_conversation_count(index);
        }
        let has_more_room = self.update_load(index, now);
        // A waiting request may not have tried a new incarnation, generation or model yet.
        if has_more_room || (is_changed && self.loads.has_room(index)) {
            freed.add(endpoint);
        }
    }

    /// Updates the slots of an endpoint to its state in the table.
    fn set_slots(
        &mut self,
        index: u32,
        endpoint: &Endpoint,
        report: &EndpointReport,
        now: Duration,
    ) {
        let position = index as usize;
        if self.slots.len() <= position {
            self.slots.resize_with(position.saturating_add(1), || None);
        }
        let Some(entry) = self.slots.get_mut(position) else {
            return;
        };
        if entry.is_none() && !self.departed.is_empty() {
            *entry = self.departed.remove(endpoint.key());
        }
        match entry {
            Some(slots) => {
                let before = slots.breaker.opened_by();
                slots.update(endpoint, report, now);
                let after = slots.breaker.opened_by();
                self.note_breaker_change(endpoint.key(), before, after);
            }
            None => *entry = Some(Slots::new(endpoint, report, now)),
        }
    }

    fn remove_endpoint(&mut self, endpoint: &Endpoint, freed: &mut FreedModels) {
        let index = self.table.index_of(endpoint);
        let Some((index, known)) =
            index.and_then(|index| Some((index, self.table.endpoint(index)?.clone())))
        else {
            return;
        };
        self.table.remove(&known);
        self.models_changed(&known, freed);
        self.depart(index, &known);
        // The table's summary of an unused index accepts no requests.
        self.loads.set(&self.table, index, Load::default());
        self.deadlines.set(index, None);
    }

    /// An endpoint has left the table. Its slots are kept while own requests run there.
    fn depart(&mut self, index: u32, endpoint: &Endpoint) {
        let slots = self.slots.get_mut(index as usize).and_then(Option::take);
        if let Some(slots) = slots.filter(|slots| slots.in_flight > 0) {
            self.departed.insert(endpoint.key().clone(), slots);
        }
    }

    /// An endpoint may have stopped serving some of its models. Requests for a model that no
    /// endpoint names any more may go to endpoints that name no models.
    fn models_changed(&mut self, before: &Endpoint, freed: &mut FreedModels) {
        if let Some(models) = before.models() {
            self.round_robin.update(models, &self.table);
            freed.add(before);
        }
    }
}
