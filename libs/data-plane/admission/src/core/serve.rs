//! Gives free slots to waiting requests.

use std::{sync::Arc, time::Duration};

use pool_registry_types::ModelName;
use routing_table::Endpoint;

use super::AdmissionCore;
use crate::request::Ticket;

/// The models for which an endpoint may have more room than before.
#[derive(Debug, Default)]
pub(super) struct FreedModels {
    named: Vec<Arc<[ModelName]>>,
    /// Also all models that no endpoint names.
    unnamed: bool,
}

impl FreedModels {
    /// Adds the models of an endpoint that has more room, or that no longer serves them.
    pub(super) fn add(&mut self, endpoint: &Endpoint) {
        match endpoint.models() {
            Some(models) => self.named.push(Arc::clone(models)),
            None => self.unnamed = true,
        }
    }

    fn is_empty(&self) -> bool {
        self.named.is_empty() && !self.unnamed
    }
}

impl<W> AdmissionCore<W> {
    /// Updates the loads that time alone has changed, and serves the requests that wait for them.
    ///
    /// Both happen here, because a deadline that was taken does not wake the timer again.
    pub(super) fn apply_deadlines(&mut self, now: Duration) {
        let mut freed = FreedModels::default();
        while let Some(index) = self.deadlines.pop_due(now) {
            if self.update_load(index, now)
                && let Some(endpoint) = self.table.endpoint(index)
            {
                freed.add(endpoint);
            }
        }
        self.serve_queues(&freed, now);
    }

    /// Gives free slots to the requests that wait for these models, the oldest first.
    pub(super) fn serve_queues(&mut self, freed: &FreedModels, now: Duration) {
        if self.queues.is_empty() || freed.is_empty() {
            return;
        }
        // Models that share an endpoint are served in order of their oldest request.
        for (_, model) in self.queues_for(freed) {
            while let Some((ticket, index)) = self.next_to_serve(&model) {
                let Some(request) = self
                    .queues
                    .get_mut(&model)
                    .and_then(|queue| queue.pop(ticket))
                else {
                    break;
                };
                if let Some(grant) = self.claim(&model, index, ticket, &request.preference, now) {
                    self.effects.granted.push((request.waker, grant));
                }
            }
            if self
                .queues
                .get(&model)
                .is_some_and(|queue| queue.is_empty())
            {
                self.queues.remove(&model);
            }
        }
    }

    /// The models with a queue among these, in order of their oldest request.
    fn queues_for(&self, freed: &FreedModels) -> Vec<(Ticket, String)> {
        let named = freed.named.iter().flat_map(|models| models.iter());
        let mut queues: Vec<(Ticket, String)> = named
            .filter_map(|model| {
                Some((
                    self.queues.get(model.as_str())?.oldest()?,
                    model.to_string(),
                ))
            })
            .collect();
        if freed.unnamed {
            let unnamed = self
                .queues
                .iter()
                .filter(|(model, _)| !self.table.names(model));
            queues.extend(
                unnamed.filter_map(|(model, queue)| Some((queue.oldest()?, model.clone()))),
            );
        }
        queues.sort_unstable();
        queues.dedup();
        queues
    }

    /// The first request in the queue that can be placed now, and its endpoint.
    fn next_to_serve(&self, model: &str) -> Option<(Ticket, u32)> {
        for (ticket, request) in self.queues.get(model)?.in_order() {
            match self.choose_endpoint(model, &request.preference, &request.tried) {
                Ok(index) => return Some((ticket, index)),
                // Where an unrestricted request has no endpoint, no other request has one.
                Err(_) if request.is_unrestricted() => return None,
                Err(_) => {}
            }
        }
        None
    }
}
