//! A random test: `choose` returns the best candidate of `explain`.

use pool_registry_types::NodeId;
use proptest::{
    prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest},
    strategy::Strategy as _,
};
use routing_table::{EndpointState, RoutingTable};
use test_fixtures::TestEndpoint;

use super::fixture::{GIB, TableEntry, entry};
use crate::{
    Load, Loads, PlacementError, PlacementQuery, PrefixIndex, SkipReason, Strategy, choose, explain,
};

/// Replicas on a few nodes, in every state and some with another model.
fn any_endpoint() -> impl proptest::strategy::Strategy<Value = (TableEntry, Load)> {
    let state = prop_oneof![
        6 => Just(EndpointState::Ready),
        2 => Just(EndpointState::ScaledToZero),
        1 => Just(EndpointState::Draining),
        1 => Just(EndpointState::NotReady),
    ];
    (
        ("[a-c]", "[p-q]", "[r-s]"),
        0..4 * GIB,
        0..4_u32,
        state,
        any_load(),
        prop::bool::weighted(0.8),
    )
        .prop_map(
            |((node, pool, replica), vram, slots, state, load, serves_m)| {
                let model = if serves_m { "m" } else { "other" };
                let endpoint = TestEndpoint {
                    pool,
                    state,
                    vram_free_bytes: vram,
                    models: Some(vec![model.to_owned()]),
                    ..TestEndpoint::of_replica(&node, &replica, slots)
                };
                (entry(&endpoint), load)
            },
        )
}

fn any_load() -> impl proptest::strategy::Strategy<Value = Load> {
    (0..5_u32, 0..4_u32, prop::bool::weighted(0.2)).prop_map(
        |(used, conversations, breaker_open)| Load {
            used,
            conversations,
            breaker_open,
        },
    )
}

proptest! {
    /// For every fleet, query and history of changes, the choice is the best candidate that
    /// `explain` does not skip. There is no choice only if every candidate is skipped.
    // spec: PLACE-4
    #[test]
    fn the_choice_is_the_best_available_candidate(
        fleet in prop::collection::vec(any_endpoint(), 0..12),
        removed in prop::collection::vec(0..12_usize, 0..4),
        changes in prop::collection::vec((0..12_u32, any_load()), 0..8),
        tried in prop::collection::vec(0..12_u32, 0..4),
        turn in any::<u64>(),
        strategy in prop::sample::select(&Strategy::ALL[..]),
        pin in prop::option::of("[a-d]"),
        session in prop::option::weighted(0.8, any::<u64>()),
        sticky in prop::option::of(0..12_usize),
        prompts in prop::collection::vec((0..12_usize, 1..10_u64), 0..6),
    ) {
        let (mut table, mut loads) = (RoutingTable::default(), Loads::default());
        for ((endpoint, report), load) in &fleet {
            let index = table.set(endpoint, *report).index;
            loads.set(&table, index, *load);
        }
        for position in removed {
            if let Some(((endpoint, _), _)) = fleet.get(position)
                && let Some(index) = table.remove(endpoint)
            {
                loads.set(&table, index, Load::default());
            }
        }
        for (index, load) in changes {
            loads.set(&table, index, load);
        }
        let mut index = PrefixIndex::new();
        for (position, blocks) in prompts {
            if let Some(((endpoint, _), _)) = fleet.get(position) {
                index.record(&(1..=blocks).collect::<Vec<_>>(), endpoint.hash());
            }
        }
        let prefix = index.find(&(1..=8).collect::<Vec<_>>());
        let pin = pin.map(|node| NodeId::new(&node).unwrap());
        let query = PlacementQuery {
            model: "m",
            strategy,
            tried: &tried,
            turn,
            pin: pin.as_ref(),
            session,
            prefix: Some(&prefix),
            sticky: sticky.and_then(|position| Some(fleet.get(position)?.0.0.hash())),
        };
        let candidates: Vec<_> = explain(&table, &loads, &query).collect();
        let available = || candidates.iter().filter(|candidate| candidate.skip.is_none());
        let best = available().min_by_key(|candidate| candidate.rank);
        let full = candidates.iter().any(|candidate| candidate.skip == Some(SkipReason::Full));
        let expected = match best {
            Some(best) => Ok(best.index),
            None if candidates.is_empty() => Err(PlacementError::UnknownModel),
            None if full => Err(PlacementError::Full),
            None => Err(PlacementError::NoneRoutable),
        };
        prop_assert_eq!(choose(&table, &loads, &query), expected, "{:?}", candidates);
        for candidate in available() {
            prop_assert!(candidate.report.state.is_routable());
            prop_assert!(!candidate.load.breaker_open);
            prop_assert!(candidate.load.used < candidate.report.slots_total);
            prop_assert!(!tried.contains(&candidate.index));
            prop_assert!(pin.as_ref().is_none_or(|pin| candidate.endpoint.key().node == *pin));
            prop_assert!(candidate.endpoint.models().unwrap().contains(&"m".parse().unwrap()));
        }
    }
}
