//! Whether a node could take a request now, for tasks that would rather run there but need not.

use admission::Snapshot;
use pool_registry_types::NodeId;
use routing_table::{Availability, RoutingTable};

/// Whether `node` has a free slot for `model`, as far as the data path knows.
pub(crate) fn has_room(table: &RoutingTable, status: &Snapshot, node: &NodeId, model: &str) -> bool {
    table
        .candidates(model)
        .iter()
        .filter_map(|&index| table.endpoints().get(index as usize))
        .filter(|endpoint| endpoint.key.node == *node && endpoint.availability == Availability::Ready)
        .any(|endpoint| {
            let known = status.endpoints.iter().find(|known| known.key == endpoint.key);
            known.is_some_and(|known| {
                known.quarantine.is_none()
                    && known.in_flight.saturating_add(known.foreign) < endpoint.slots_total
            })
        })
}
