//! Endpoints, loads and queries for the tests.

use std::sync::Arc;

use pool_registry_types::{HttpUrl, NodeId, PoolId};
use routing_table::{Endpoint, EndpointKey, EndpointReport, EndpointState, RoutingTable};

use crate::{Load, Loads, PlacementError, PlacementQuery, Strategy};

pub(super) type TableEntry = (Arc<Endpoint>, EndpointReport);

/// Calls [`crate::choose`] with the loads as a list.
pub(super) fn choose(
    table: &RoutingTable,
    loads: &[Load],
    query: &PlacementQuery<'_>,
) -> Result<u32, PlacementError> {
    crate::choose(table, &loads_of(table, loads), query)
}

/// Endpoints beyond the end of the list are idle.
pub(super) fn loads_of(table: &RoutingTable, list: &[Load]) -> Loads {
    let mut loads = Loads::default();
    for (index, _, _) in table.iter() {
        let load = list.get(index as usize).copied().unwrap_or_default();
        loads.set(table, index, load);
    }
    loads
}

pub(super) const GIB: u64 = 1 << 30;

pub(super) fn named(key: EndpointKey, model: &str, report: EndpointReport) -> TableEntry {
    let target = Arc::new(HttpUrl::new("http://localhost:1").unwrap());
    let endpoint = Endpoint::new(key, 1, 0, target, Some([model.to_owned()].into()));
    (Arc::new(endpoint), report)
}

pub(super) fn endpoint(
    node: &str,
    vram_free_bytes: u64,
    slots_total: u32,
    state: EndpointState,
) -> TableEntry {
    let key = EndpointKey {
        node: NodeId::new(node).unwrap(),
        pool: PoolId::new("p").unwrap(),
        replica: None,
    };
    named(key, "m", report(vram_free_bytes, slots_total, state))
}

pub(super) fn report(
    vram_free_bytes: u64,
    slots_total: u32,
    state: EndpointState,
) -> EndpointReport {
    EndpointReport {
        number: 1,
        state,
        slots_total,
        slots_free: slots_total,
        vram_free_bytes,
    }
}

pub(super) fn table(known: impl IntoIterator<Item = TableEntry>) -> RoutingTable {
    let mut table = RoutingTable::default();
    for (endpoint, report) in known {
        table.set(&endpoint, report);
    }
    table
}

pub(super) fn ready(node: &str, vram: u64) -> TableEntry {
    endpoint(node, vram, 4, EndpointState::Ready)
}

pub(super) fn used(used: u32) -> Load {
    Load {
        used,
        ..Load::default()
    }
}

pub(super) fn holds(conversations: u32) -> Load {
    Load {
        conversations,
        ..Load::default()
    }
}

pub(super) fn query_for(strategy: Strategy, turn: u64) -> PlacementQuery<'static> {
    PlacementQuery {
        model: "m",
        strategy,
        turn,
        ..PlacementQuery::default()
    }
}
