//! Whose turn it is: one count per model, since two models that alternate would otherwise always
//! meet the same half of their endpoints.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use routing_table::RoutingTable;

/// How many requests of each model were given a slot.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    by_model: HashMap<String, u64, RandomState>,
    /// Of all models that no endpoint names; there is no end of those.
    unnamed: u64,
}

impl Turns {
    pub(crate) fn of(&self, model: &str) -> u64 {
        self.by_model.get(model).copied().unwrap_or(self.unnamed)
    }

    pub(crate) fn next(&mut self, model: &str) {
        let count = self.by_model.get_mut(model).unwrap_or(&mut self.unnamed);
        *count = count.wrapping_add(1);
    }

    /// Counts those of `models` that `table` names, and no others of them. To be called when they
    /// may have appeared or gone.
    pub(crate) fn keep(&mut self, models: &[String], table: &RoutingTable) {
        for model in models {
            if !table.names(model) {
                self.by_model.remove(model);
            } else if !self.by_model.contains_key(model) {
                self.by_model.insert(model.clone(), 0);
            }
        }
    }
}
