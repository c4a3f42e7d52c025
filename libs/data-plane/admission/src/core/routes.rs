//! What the control plane changes: endpoints, their reports, and their end.

use std::{sync::Arc, time::Duration};

use placement::Load;
use routing_table::{Endpoint, Report, RouteChange, Set};

use super::{Core, serving::Helped};
use crate::slot::Slot;

impl<W> Core<W> {
    /// Takes in changes, and serves the waiting requests that they help. Each costs the logarithm
    /// of the number of endpoints, and nothing for lines whose model its endpoint does not
    /// serve.
    pub(crate) fn apply(&mut self, changes: &[RouteChange], now: Duration) {
        let mut helped = Helped::default();
        for change in changes {
            match change {
                RouteChange::Set(endpoint, report) => self.set(endpoint, *report, now, &mut helped),
                RouteChange::Remove(endpoint) => self.unset(endpoint, &mut helped),
            }
        }
        self.serve(&helped, now);
    }

    fn set(
        &mut self,
        endpoint: &Arc<Endpoint>,
        report: Report,
        now: Duration,
        helped: &mut Helped,
    ) {
        let Set {
            index,
            replaced,
            is_new,
        } = self.table.set(endpoint, report);
        let is_changed = is_new || replaced.is_some();
        if let Some(before) = &replaced {
            self.models_changed(before, helped);
            if before.key() != endpoint.key() {
                // Two names with one hash: nothing of one is true of the other.
                self.depart(index, before);
            }
        }
        if is_changed {
            self.turns
                .keep(endpoint.models().map_or(&[], |models| models), &self.table);
        }
        self.set_slot(index, endpoint, &report, now);
        if is_new {
            self.recount(index);
        }
        let has_more = self.reload(index, now);
        // A new incarnation, generation or model is one that a request may not have tried yet.
        if has_more || (is_changed && self.loads.has_room(index)) {
            helped.by(endpoint);
        }
    }

    /// Brings what is known of an endpoint up to date with what the table says now.
    fn set_slot(&mut self, index: u32, endpoint: &Endpoint, report: &Report, now: Duration) {
        let place = index as usize;
        if self.slots.len() <= place {
            self.slots.resize_with(place.saturating_add(1), || None);
        }
        let Some(known) = self.slots.get_mut(place) else {
            return;
        };
        if known.is_none() && !self.departed.is_empty() {
            *known = self.departed.remove(endpoint.key());
        }
        match known {
            Some(slot) => {
                let before = slot.health.lost_by();
                slot.carry_over(endpoint, report, now);
                let after = slot.health.lost_by();
                self.note_trust(endpoint.key(), before, after);
            }
            None => *known = Some(Slot::new(endpoint, report, now)),
        }
    }

    fn unset(&mut self, endpoint: &Endpoint, helped: &mut Helped) {
        let index = self.table.index_of(endpoint);
        let Some((index, known)) =
            index.and_then(|index| Some((index, self.table.endpoint(index)?.clone())))
        else {
            return;
        };
        self.table.remove(&known);
        self.models_changed(&known, helped);
        self.depart(index, &known);
        // The table says of an index without an endpoint that it can take nothing.
        self.loads.set(&self.table, index, Load::default());
        self.due.set(index, None);
    }

    /// An endpoint is gone. Its slots are remembered while requests of ours run there.
    fn depart(&mut self, index: u32, endpoint: &Endpoint) {
        let slot = self.slots.get_mut(index as usize).and_then(Option::take);
        if let Some(slot) = slot.filter(|slot| slot.own > 0) {
            self.departed.insert(endpoint.key().clone(), slot);
        }
    }

    /// An endpoint may serve some of these models no more. Who waits for one that nobody names now
    /// may go to those that name none.
    fn models_changed(&mut self, before: &Endpoint, helped: &mut Helped) {
        if let Some(models) = before.models() {
            self.turns.keep(models, &self.table);
            helped.by(before);
        }
    }
}
