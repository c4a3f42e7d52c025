//! Gives free slots to the requests that wait for them.

use std::{sync::Arc, time::Duration};

use routing_table::Endpoint;

use super::Core;
use crate::Ticket;

/// For which models there may be more room than before.
#[derive(Debug, Default)]
pub(super) struct Helped {
    named: Vec<Arc<[String]>>,
    /// Also for those that no endpoint names.
    unnamed: bool,
}

impl Helped {
    /// This endpoint has more room, or leaves the models that it served to others.
    pub(super) fn by(&mut self, endpoint: &Endpoint) {
        match endpoint.models() {
            Some(models) => self.named.push(Arc::clone(models)),
            None => self.unnamed = true,
        }
    }

    fn is_empty(&self) -> bool {
        self.named.is_empty() && !self.unnamed
    }
}

impl<W> Core<W> {
    /// Brings loads up to date where time alone has changed them, and serves the requests that wait
    /// for that. It has to do both: the timer no longer looks at what was due before.
    pub(super) fn refresh(&mut self, now: Duration) {
        let mut helped = Helped::default();
        while let Some(index) = self.due.take(now) {
            if self.reload(index, now)
                && let Some(endpoint) = self.table.endpoint(index)
            {
                helped.by(endpoint);
            }
        }
        self.serve(&helped, now);
    }

    /// Gives free slots to those who wait for one of these models, oldest first.
    pub(super) fn serve(&mut self, helped: &Helped, now: Duration) {
        if self.lines.is_empty() || helped.is_empty() {
            return;
        }
        // Models that share an endpoint take turns by who came first.
        for (_, model) in self.lines_for(helped) {
            while let Some((ticket, place)) = self.next_to_serve(&model) {
                let Some(waiter) = self
                    .lines
                    .get_mut(&model)
                    .and_then(|line| line.serve(ticket))
                else {
                    break;
                };
                if let Some(grant) = self.claim(&model, place, ticket, &waiter.wish, now) {
                    self.effects.granted.push((waiter.wake, grant));
                }
            }
            if self.lines.get(&model).is_some_and(|line| line.is_empty()) {
                self.lines.remove(&model);
            }
        }
    }

    /// The lines for these models, by who has waited longest.
    fn lines_for(&self, helped: &Helped) -> Vec<(Ticket, String)> {
        let named = helped.named.iter().flat_map(|models| models.iter());
        let mut lines: Vec<(Ticket, String)> = named
            .filter_map(|model| Some((self.lines.get(model)?.oldest()?, model.clone())))
            .collect();
        if helped.unnamed {
            let unnamed = self
                .lines
                .iter()
                .filter(|(model, _)| !self.table.names(model));
            lines.extend(unnamed.filter_map(|(model, line)| Some((line.oldest()?, model.clone()))));
        }
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    /// The first in the line that can be placed now.
    fn next_to_serve(&self, model: &str) -> Option<(Ticket, u32)> {
        for (ticket, waiter) in self.lines.get(model)?.in_order() {
            match self.place(model, &waiter.wish, &waiter.tried) {
                Ok(index) => return Some((ticket, index)),
                // Who may go anywhere and cannot, blocks nobody who could.
                Err(_) if waiter.goes_anywhere() => return None,
                Err(_) => {}
            }
        }
        None
    }
}
