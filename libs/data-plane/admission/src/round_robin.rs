//! Round-robin counters, one per model. With one shared counter, two alternating models would each
//! always reach the same half of their endpoints.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use pool_registry_types::ModelName;
use routing_table::RoutingTable;

/// How many requests of each model got a slot.
#[derive(Debug, Default)]
pub(crate) struct RoundRobinCounters {
    by_model: HashMap<ModelName, u64, RandomState>,
    /// Shared by all models that no endpoint names; their number is unbounded.
    unnamed: u64,
}

impl RoundRobinCounters {
    pub(crate) fn get(&self, model: &str) -> u64 {
        self.by_model.get(model).copied().unwrap_or(self.unnamed)
    }

    pub(crate) fn advance(&mut self, model: &str) {
        let count = self.by_model.get_mut(model).unwrap_or(&mut self.unnamed);
        *count = count.wrapping_add(1);
    }

    /// Keeps a counter for each of `models` that `table` names, and drops those of the others. Call
    /// it when the table's models may have changed.
    pub(crate) fn update(&mut self, models: &[ModelName], table: &RoutingTable) {
        for model in models {
            if !table.names(model) {
                self.by_model.remove(model);
            } else if !self.by_model.contains_key(model) {
                self.by_model.insert(model.clone(), 0);
            }
        }
    }
}
