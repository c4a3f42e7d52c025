//! Strategies that go by load or in turn, and the rules that hold for every strategy.

use pool_registry_types::NodeId;
use proptest::prelude::{prop_assert_eq, proptest};
use routing_table::EndpointState;

use super::fixture::{GIB, choose, endpoint, query_for, ready, table, used};
use crate::{Load, PlacementError, PlacementQuery, Strategy};

// spec: PLACE-1
#[test]
fn least_loaded_takes_most_vram_then_fewest_used_slots_then_id() {
    let cases: &[(&[(u64, u32)], u32)] = &[
        // (free VRAM, used slots) of a, b, c → chosen
        (&[(8 * GIB, 0), (20 * GIB, 3), (16 * GIB, 0)], 1),
        (&[(8 * GIB, 0), (20 * GIB, 4), (16 * GIB, 0)], 2),
        (&[(8 * GIB, 2), (8 * GIB, 1), (8 * GIB, 1)], 1),
        (&[(8 * GIB, 1), (8 * GIB, 1), (8 * GIB, 1)], 0),
        // A difference of a few bytes is ignored.
        (&[(8 * GIB + 5, 1), (8 * GIB + 9, 2), (8 * GIB, 0)], 2),
        // Without VRAM figures, used slots decide.
        (&[(0, 3), (0, 2), (0, 1)], 2),
    ];
    for (fleet, chosen) in cases {
        let names = ["a", "b", "c"];
        let known = names.iter().zip(*fleet);
        let table = table(known.map(|(name, (vram, _))| ready(name, *vram)));
        let loads: Vec<Load> = fleet.iter().map(|(_, busy)| used(*busy)).collect();
        assert_eq!(
            choose(&table, &loads, &query_for(Strategy::LeastLoaded, 0)),
            Ok(*chosen),
            "{fleet:?}"
        );
    }
}

// spec: PLACE-2
#[test]
fn round_robin_skips_full_endpoints() {
    let table = table(vec![ready("a", 0), ready("b", 9 * GIB), ready("c", 0)]);
    let rounds = |loads: &[Load]| -> Vec<u32> {
        (0..6)
            .map(|turn| choose(&table, loads, &query_for(Strategy::RoundRobin, turn)).unwrap())
            .collect()
    };
    assert_eq!(rounds(&[used(0), used(3), used(1)]), [0, 1, 2, 0, 1, 2]);
    assert_eq!(rounds(&[used(0), used(4), used(1)]), [0, 2, 2, 0, 2, 2]);
}

#[test]
fn tried_endpoints_are_skipped() {
    let table = table(vec![ready("a", 9 * GIB), ready("b", 0)]);
    let query = PlacementQuery {
        tried: &[0],
        ..query_for(Strategy::LeastLoaded, 0)
    };
    assert_eq!(choose(&table, &[], &query), Ok(1));
    let query = PlacementQuery {
        tried: &[0, 1],
        ..query
    };
    assert_eq!(
        choose(&table, &[], &query),
        Err(PlacementError::NoneRoutable)
    );
}

// spec: PLACE-7
#[test]
fn weighted_fills_every_endpoint_to_the_same_fraction() {
    let table = table([
        endpoint("a", 0, 2, EndpointState::Ready),
        endpoint("b", 0, 8, EndpointState::Ready),
    ]);
    let mut loads = [used(0), used(0)];
    for turn in 0..5 {
        let chosen = choose(&table, &loads, &query_for(Strategy::Weighted, turn)).unwrap();
        loads[chosen as usize].used += 1;
    }
    assert_eq!(loads, [used(1), used(4)]);
}

// spec: PLACE-10
#[test]
fn a_pinned_request_goes_to_no_other_node() {
    let table = table(vec![ready("a", 9 * GIB), ready("b", 0)]);
    let pin = NodeId::new("b").unwrap();
    let query = PlacementQuery {
        pin: Some(&pin),
        ..query_for(Strategy::LeastLoaded, 0)
    };
    assert_eq!(choose(&table, &[], &query), Ok(1));
    assert_eq!(
        choose(&table, &[used(0), used(4)], &query),
        Err(PlacementError::Full)
    );
    let elsewhere = NodeId::new("c").unwrap();
    assert_eq!(
        choose(
            &table,
            &[],
            &PlacementQuery {
                pin: Some(&elsewhere),
                ..query
            }
        ),
        Err(PlacementError::NoneRoutable)
    );
}

#[test]
fn strategies_have_names() {
    for strategy in Strategy::ALL {
        assert_eq!(strategy.as_str().parse(), Ok(strategy));
    }
    let error = "fastest".parse::<Strategy>().unwrap_err().to_string();
    assert_eq!(
        error,
        r#"must be one of least-loaded, round-robin, weighted, session, prefix, not "fastest""#
    );
}

/// Replicas on a few nodes, with sleepers, drains, failures and another model among them.

// spec: PLACE-12
#[test]
fn an_endpoint_scaled_to_zero_is_started_only_when_no_other_has_a_free_slot() {
    let scaled_to_zero = endpoint("a", 80 * GIB, 4, EndpointState::ScaledToZero);
    let table = table(vec![scaled_to_zero, ready("b", GIB)]);
    for strategy in Strategy::ALL {
        for turn in 0..4 {
            let chosen =
                |busy: u32| choose(&table, &[used(0), used(busy)], &query_for(strategy, turn));
            assert_eq!(
                (chosen(0), chosen(3), chosen(4)),
                (Ok(1), Ok(1), Ok(0)),
                "{strategy}"
            );
        }
    }
}

proptest! {
    /// Over one round of turns round-robin visits every endpoint once.
    // spec: PLACE-2
    #[test]
    fn round_robin_is_fair(count in 1..20_u64, start in 0..1000_u64) {
        let table = table((0..count).map(|i| ready(&format!("n{i:02}"), 0)));
        let chosen = |turn| choose(&table, &[], &query_for(Strategy::RoundRobin, turn)).unwrap();
        let mut visited: Vec<u32> = (start..start + count).map(chosen).collect();
        visited.sort_unstable();
        prop_assert_eq!(visited, (0..u32::try_from(count).unwrap()).collect::<Vec<_>>());
    }
}
