//! Strategies that keep conversations in place: `session` and `prefix`.

use std::collections::BTreeSet;

use pool_registry_types::NodeId;
use routing_table::{EndpointState, RoutingTable};

use super::fixture::{choose, endpoint, holds, query_for, ready, table, used};
use crate::{Load, PlacementError, PlacementQuery, PrefixIndex, Strategy, session_key};

// spec: PLACE-8
#[test]
fn a_session_stays_at_its_endpoint_while_that_is_available() {
    let table = table((0..8).map(|n| ready(&format!("n{n}"), 0)));
    let endpoint_hash = table.summaries()[5].hash;
    let query = PlacementQuery {
        session: Some(session_key("s")),
        sticky: Some(endpoint_hash),
        ..query_for(Strategy::Session, 0)
    };
    let stays = |load: Load| {
        let mut loads = [holds(0); 8];
        loads[5] = load;
        choose(&table, &loads, &query) == Ok(5)
    };
    assert!(
        stays(used(0)) && stays(holds(1_000)),
        "however many sessions it holds"
    );
    assert!(stays(used(3)) && !stays(used(4)), "while a slot is free");
    assert!(!stays(Load {
        breaker_open: true,
        ..used(0)
    }));
    let tried = PlacementQuery {
        tried: &[5],
        ..query
    };
    assert_ne!(choose(&table, &[], &tried), Ok(5));
    let pin = NodeId::new("n2").unwrap();
    let pinned = PlacementQuery {
        pin: Some(&pin),
        ..query
    };
    assert_eq!(choose(&table, &[], &pinned), Ok(2));
    let other_model = PlacementQuery {
        model: "other",
        ..query
    };
    assert_eq!(
        choose(&table, &[], &other_model),
        Err(PlacementError::UnknownModel)
    );
    for state in [
        EndpointState::Draining,
        EndpointState::NotReady,
        EndpointState::ScaledToZero,
    ] {
        let mut table = RoutingTable::default();
        for n in 0..8 {
            let state = if n == 5 { state } else { EndpointState::Ready };
            let (endpoint, report) = endpoint(&format!("n{n}"), 0, 4, state);
            table.set(&endpoint, report);
        }
        assert_ne!(choose(&table, &[], &query), Ok(5), "{state:?}");
    }
}

// spec: PLACE-30
#[test]
fn a_new_session_goes_to_the_fewest_sessions_per_slot() {
    let table = table([
        endpoint("a", 0, 2, EndpointState::Ready),
        endpoint("b", 0, 8, EndpointState::Ready),
        endpoint("c", 0, 4, EndpointState::Ready),
    ]);
    let chosen = |loads: &[Load]| {
        let mut to = BTreeSet::new();
        for session in 0..64 {
            let query = PlacementQuery {
                session: Some(session_key(&format!("s{session}"))),
                ..query_for(Strategy::Session, session)
            };
            to.insert(choose(&table, loads, &query).unwrap());
        }
        Vec::from_iter(to)
    };
    assert_eq!(
        chosen(&[holds(0), holds(0), holds(0)]),
        [0, 1, 2],
        "ties are broken by the hash"
    );
    assert_eq!(chosen(&[holds(1), holds(3), holds(2)]), [1]);
    assert_eq!(chosen(&[holds(1), holds(4), holds(1)]), [2]);
    let full = Load {
        conversations: 0,
        ..used(4)
    };
    assert_eq!(chosen(&[holds(9), holds(36), full]), [0, 1]);
}

// spec: PLACE-9
#[test]
fn a_prompt_goes_where_its_prefix_was_seen_unless_that_is_crowded() {
    let table = table((0..3).map(|n| ready(&format!("n{n}"), 0)));
    let mut index = PrefixIndex::new();
    let blocks: Vec<u64> = (1..=10).collect();
    index.record(&blocks, table.summaries()[1].hash);
    let prefix = index.find(&blocks);
    let query = PlacementQuery {
        prefix: Some(&prefix),
        ..query_for(Strategy::Prefix, 0)
    };
    assert_eq!(choose(&table, &[], &query), Ok(1));
    // A match of the whole prompt outweighs three of four used slots, but not a full endpoint.
    assert_eq!(choose(&table, &[used(0), used(3), used(0)], &query), Ok(1));
    assert_eq!(choose(&table, &[used(0), used(4), used(0)], &query), Ok(0));
    // An endpoint with more than its fair share of conversations is crowded.
    assert_eq!(
        choose(&table, &[holds(1), holds(1), holds(1)], &query),
        Ok(1)
    );
    assert_eq!(
        choose(&table, &[holds(2), holds(1), holds(0)], &query),
        Ok(1)
    );
    assert_eq!(
        choose(&table, &[holds(1), holds(2), holds(1)], &query),
        Ok(0)
    );
    // A match of half the prompt does not outweigh three of four used slots.
    let half = index.find(&[1, 2, 3, 4, 5, 96, 97, 98, 99, 100]);
    let query = PlacementQuery {
        prefix: Some(&half),
        ..query
    };
    assert_eq!(choose(&table, &[used(0), used(3), used(0)], &query), Ok(0));
    assert_eq!(choose(&table, &[used(0), used(1), used(0)], &query), Ok(1));
    // A very short match has no weight.
    let greeting = index.find(&[1, 2, 3]);
    let query = PlacementQuery {
        prefix: Some(&greeting),
        ..query
    };
    assert_eq!(
        choose(&table, &[holds(0), holds(0), holds(0)], &query),
        Ok(0)
    );
    // Unknown prompts are spread in turn.
    let unknown = index.find(&[77]);
    let chosen: Vec<u32> = (0..6)
        .map(|turn| {
            choose(
                &table,
                &[],
                &PlacementQuery {
                    prefix: Some(&unknown),
                    ..query_for(Strategy::Prefix, turn)
                },
            )
            .unwrap()
        })
        .collect();
    assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
}
