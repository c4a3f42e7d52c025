//! Whose turn it is: one count per model, since two models that alternate would otherwise always meet the same
//! half of their endpoints.

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
        *self.by_model.get_mut(model).unwrap_or(&mut self.unnamed) += 1;
    }

    /// Counts the models of `table`, and no others.
    pub(crate) fn keep(&mut self, table: &RoutingTable) {
        let before = std::mem::take(&mut self.by_model);
        let named = table
            .models()
            .map(|model| (model.to_owned(), before.get(model).copied().unwrap_or_default()));
        self.by_model = named.collect();
    }
}
