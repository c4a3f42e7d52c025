//! The reasons: ranks in words, skip reasons and errors.

use routing_table::EndpointState;

use super::fixture::{GIB, choose, endpoint, loads_of, query_for, ready, table, used};
use crate::{Load, PlacementError, PlacementQuery, PrefixIndex, SkipReason, Strategy, explain};

// spec: PLACE-11
#[test]
fn a_rank_is_described_in_words() {
    let table = table(vec![ready("a", 18 * GIB), ready("b", 0)]);
    let loads = loads_of(
        &table,
        &[
            Load {
                conversations: 3,
                ..used(2)
            },
            used(0),
        ],
    );
    let descriptions = |query: &PlacementQuery<'_>| -> Vec<String> {
        explain(&table, &loads, query)
            .map(|candidate| {
                candidate
                    .rank
                    .describe(query.strategy, query.session.is_some())
            })
            .collect()
    };
    let by_load = [
        "18 GiB of VRAM free, 2 taken",
        "free VRAM unknown or under 1 GiB, 0 taken",
    ];
    for (strategy, turn, expected) in [
        (Strategy::LeastLoaded, 0, by_load),
        // The query names no session.
        (Strategy::Session, 0, by_load),
        (
            Strategy::RoundRobin,
            1,
            ["its turn after 1 other", "its turn"],
        ),
        (
            Strategy::Weighted,
            0,
            ["50 % taken, its turn", "0 % taken, its turn after 1 other"],
        ),
        (
            Strategy::Prefix,
            1,
            [
                "0.75 conversations per slot, 50 % taken, its turn after 1 other",
                "0.00 conversations per slot, 0 % taken, its turn",
            ],
        ),
    ] {
        assert_eq!(
            descriptions(&query_for(strategy, turn)),
            expected,
            "{strategy}"
        );
    }
    let query = PlacementQuery {
        session: Some(7),
        ..query_for(Strategy::Session, 0)
    };
    for words in descriptions(&query) {
        let away = words
            .strip_suffix(" % away from the session's first choice")
            .unwrap();
        let (_, percent) = away.rsplit_once(", ").unwrap();
        assert!(percent.parse::<u32>().unwrap() <= 100, "{words}");
    }
    let query = PlacementQuery {
        sticky: Some(table.summaries()[1].hash),
        ..query
    };
    assert_eq!(descriptions(&query)[1], "the conversation is held here");
    let mut index = PrefixIndex::new();
    index.record(&[1, 2, 3, 4], table.summaries()[1].hash);
    let prefix = index.find(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let query = PlacementQuery {
        prefix: Some(&prefix),
        ..query_for(Strategy::Prefix, 1)
    };
    assert_eq!(
        descriptions(&query)[1],
        "50 % of the prompt unseen, 0.00 conversations per slot, 0 % taken, its turn"
    );
}

// spec: PLACE-3
#[test]
fn the_error_names_why_no_endpoint_is_available() {
    let fleet = |states: Vec<EndpointState>| {
        let states = ["a", "b"].iter().zip(states);
        table(states.map(|(name, state)| endpoint(name, 0, 1, state)))
    };
    let failing = Load {
        breaker_open: true,
        ..Load::default()
    };
    let cases = [
        (
            fleet(vec![EndpointState::Ready, EndpointState::Ready]),
            [used(1), used(1)],
            PlacementError::Full,
        ),
        (
            fleet(vec![EndpointState::Ready, EndpointState::Draining]),
            [used(1), used(0)],
            PlacementError::Full,
        ),
        (
            fleet(vec![EndpointState::Draining, EndpointState::NotReady]),
            [used(0), used(0)],
            PlacementError::NoneRoutable,
        ),
        (
            fleet(vec![EndpointState::Ready, EndpointState::Ready]),
            [failing, failing],
            PlacementError::NoneRoutable,
        ),
        (
            fleet(vec![]),
            [used(0), used(0)],
            PlacementError::UnknownModel,
        ),
    ];
    for (table, loads, expected) in cases {
        assert_eq!(
            choose(&table, &loads, &query_for(Strategy::LeastLoaded, 0)),
            Err(expected),
            "{table:?}"
        );
    }
}

// spec: PLACE-3
#[test]
fn explains_every_candidate() {
    let table = table([
        ready("a", 0),
        endpoint("b", 0, 4, EndpointState::Draining),
        ready("c", 0),
        ready("d", 0),
    ]);
    let loads = [
        used(4),
        used(0),
        Load {
            breaker_open: true,
            ..Load::default()
        },
        used(1),
    ];
    let query = query_for(Strategy::LeastLoaded, 0);
    let loads = loads_of(&table, &loads);
    let skips: Vec<_> = explain(&table, &loads, &query)
        .map(|candidate| candidate.skip)
        .collect();
    assert_eq!(
        skips,
        [
            Some(SkipReason::Full),
            Some(SkipReason::Draining),
            Some(SkipReason::BreakerOpen),
            None
        ]
    );
}
