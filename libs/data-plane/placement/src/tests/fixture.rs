//! Endpoints, loads and queries for the tests.

use std::sync::Arc;

use routing_table::{Endpoint, EndpointReport, EndpointState, RoutingTable};
use test_fixtures::TestEndpoint;

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

pub(super) fn endpoint(
    node: &str,
    vram_free_bytes: u64,
    slots: u32,
    state: EndpointState,
) -> TableEntry {
    entry(&TestEndpoint {
        vram_free_bytes,
        state,
        ..TestEndpoint::of_pool(node, slots)
    })
}

pub(super) fn entry(endpoint: &TestEndpoint) -> TableEntry {
    (endpoint.endpoint(), endpoint.report())
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
