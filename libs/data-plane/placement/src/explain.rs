//! Lists every candidate with its rank and the reason why it is skipped.

use routing_table::{EndpointState, EndpointSummary, RoutingTable};

use crate::{
    choice::{Selection, SpreadContext, is_on_pinned_node},
    load::Load,
    loads::Loads,
    query::{Candidate, PlacementQuery, SkipReason},
};

/// All candidates for the query in the table's order, each with its rank and its skip reason.
///
/// `loads` must belong to `table`. The ranks are those that [`choose`](crate::choose) compares.
pub fn explain<'a>(
    table: &'a RoutingTable,
    loads: &'a Loads,
    query: &'a PlacementQuery<'a>,
) -> impl Iterator<Item = Candidate<'a>> {
    let selection = Selection::new(table, loads, query, table.candidates(query.model));
    let context = SpreadContext::new(selection.first_in_turn());
    (0_u32..)
        .zip(selection.all)
        .filter_map(move |(position, &index)| {
            let (endpoint, report) = (table.endpoint(index)?, table.report(index)?);
            let summary = table.summaries().get(index as usize)?;
            let load = loads.get(index);
            Some(Candidate {
                index,
                endpoint,
                report,
                load,
                rank: selection.rank(summary, load, selection.turn.offset_of(position), &context),
                skip: skip_reason(index, table, summary, load, query),
            })
        })
}

/// Why an endpoint cannot take the request; `None` when it can.
fn skip_reason(
    index: u32,
    table: &RoutingTable,
    summary: &EndpointSummary,
    load: Load,
    query: &PlacementQuery<'_>,
) -> Option<SkipReason> {
    match summary.state {
        EndpointState::Draining => return Some(SkipReason::Draining),
        EndpointState::NotReady => return Some(SkipReason::NotReady),
        EndpointState::Ready | EndpointState::ScaledToZero => {}
    }
    if load.breaker_open {
        return Some(SkipReason::BreakerOpen);
    }
    if !is_on_pinned_node(table, index, query) {
        return Some(SkipReason::NotPinned);
    }
    if query.tried.contains(&index) {
        return Some(SkipReason::Tried);
    }
    (load.used >= summary.slots_total).then_some(SkipReason::Full)
}
