//! The rules of placement, one table each, and what must hold for every table.

use pool_registry_types::{HttpUrl, NodeId, PoolId};
use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as _;
use routing_table::{Availability, EndpointKey, Hop};

use super::*;

/// As the one under test, with the loads as a list.
fn choose(table: &RoutingTable, loads: &[Load], question: &Question<'_>) -> Result<u32, NoPlace> {
    super::choose(table, &Loads::new(table, loads.iter().copied()), question)
}

const GIB: u64 = 1 << 30;

fn endpoint(node: &str, vram_free_bytes: u64, slots_total: u32, availability: Availability) -> Endpoint {
    Endpoint {
        key: EndpointKey {
            node: NodeId::new(node).unwrap(),
            pool: PoolId::new("p").unwrap(),
            replica: None,
        },
        incarnation: 1,
        target: HttpUrl::new("http://localhost:1").unwrap(),
        hop: Hop::Node,
        availability,
        slots_total,
        slots_free: slots_total,
        report: 1,
        vram_free_bytes,
        models: Some(["m".to_owned()].into()),
        engine: None,
        engine_version: None,
    }
}

fn ready(node: &str, vram: u64) -> Endpoint {
    endpoint(node, vram, 4, Availability::Ready)
}

fn used(used: u32) -> Load {
    Load {
        used,
        quarantined: false,
    }
}

fn ask(strategy: Strategy, turn: u64) -> Question<'static> {
    Question {
        model: "m",
        strategy,
        turn,
        ..Question::default()
    }
}

// spec: PLACE-11
#[test]
fn a_rank_is_told_in_words() {
    let table = RoutingTable::new(1, vec![ready("a", 18 * GIB), ready("b", 0)]);
    let loads = Loads::new(&table, [used(2), used(0)]);
    let told = |question: &Question<'_>| -> Vec<String> {
        explain(&table, &loads, question)
            .map(|candidate| {
                candidate
                    .rank
                    .in_words(question.strategy, question.session.is_some())
            })
            .collect()
    };
    let by_load = [
        "18 GiB of VRAM free, 2 taken",
        "free VRAM unknown or under 1 GiB, 0 taken",
    ];
    for (strategy, turn, expected) in [
        (Strategy::LeastLoaded, 0, by_load),
        // Nothing is known of the session.
        (Strategy::Session, 0, by_load),
        (Strategy::RoundRobin, 1, ["its turn after 1 other", "its turn"]),
        (
            Strategy::Weighted,
            0,
            ["50 % taken, its turn", "0 % taken, its turn after 1 other"],
        ),
        (
            Strategy::Prefix,
            1,
            [
                "150 % of prompt unseen and slots taken, its turn after 1 other",
                "100 % of prompt unseen and slots taken, its turn",
            ],
        ),
    ] {
        assert_eq!(told(&ask(strategy, turn)), expected, "{strategy}");
    }
    let question = Question {
        session: Some(7),
        ..ask(Strategy::Session, 0)
    };
    for words in told(&question) {
        let percent = words.strip_suffix(" % away from the session's home").unwrap();
        assert!(percent.parse::<u32>().unwrap() <= 100, "{words}");
    }
}

// spec: PLACE-1
#[test]
fn least_loaded_takes_most_vram_then_fewest_busy_then_id() {
    let cases: &[(&[(u64, u32)], u32)] = &[
        // (free VRAM, used slots) of a, b, c → chosen
        (&[(8 * GIB, 0), (20 * GIB, 3), (16 * GIB, 0)], 1),
        (&[(8 * GIB, 0), (20 * GIB, 4), (16 * GIB, 0)], 2),
        (&[(8 * GIB, 2), (8 * GIB, 1), (8 * GIB, 1)], 1),
        (&[(8 * GIB, 1), (8 * GIB, 1), (8 * GIB, 1)], 0),
        // A few bytes are noise, not a reason.
        (&[(8 * GIB + 5, 1), (8 * GIB + 9, 2), (8 * GIB, 0)], 2),
        // Nobody knows the VRAM: busy slots decide.
        (&[(0, 3), (0, 2), (0, 1)], 2),
    ];
    for (fleet, chosen) in cases {
        let names = ["a", "b", "c"];
        let table = RoutingTable::new(
            1,
            names
                .iter()
                .zip(*fleet)
                .map(|(name, (vram, _))| ready(name, *vram))
                .collect(),
        );
        let loads: Vec<Load> = fleet.iter().map(|(_, busy)| used(*busy)).collect();
        assert_eq!(
            choose(&table, &loads, &ask(Strategy::LeastLoaded, 0)),
            Ok(*chosen),
            "{fleet:?}"
        );
    }
}

// spec: PLACE-2
#[test]
fn round_robin_goes_round_and_steps_over_the_full() {
    let table = RoutingTable::new(1, vec![ready("a", 0), ready("b", 9 * GIB), ready("c", 0)]);
    let round = |loads: &[Load]| -> Vec<u32> {
        (0..6)
            .map(|turn| choose(&table, loads, &ask(Strategy::RoundRobin, turn)).unwrap())
            .collect()
    };
    assert_eq!(round(&[used(0), used(3), used(1)]), [0, 1, 2, 0, 1, 2]);
    assert_eq!(round(&[used(0), used(4), used(1)]), [0, 2, 2, 0, 2, 2]);
}

// spec: PLACE-3
#[test]
fn says_why_there_is_no_place() {
    let not_ready = || Availability::NotReady("node offline".into());
    let fleet = |availabilities: Vec<Availability>| {
        let endpoints = ["a", "b"]
            .iter()
            .zip(availabilities)
            .map(|(name, availability)| endpoint(name, 0, 1, availability));
        RoutingTable::new(1, endpoints.collect())
    };
    let sick = Load {
        used: 0,
        quarantined: true,
    };
    let cases = [
        (
            fleet(vec![Availability::Ready, Availability::Ready]),
            [used(1), used(1)],
            NoPlace::Full,
        ),
        (
            fleet(vec![Availability::Ready, Availability::Draining]),
            [used(1), used(0)],
            NoPlace::Full,
        ),
        (
            fleet(vec![Availability::Draining, not_ready()]),
            [used(0), used(0)],
            NoPlace::NoneRoutable,
        ),
        (
            fleet(vec![Availability::Ready, Availability::Ready]),
            [sick, sick],
            NoPlace::NoneRoutable,
        ),
        (fleet(vec![]), [used(0), used(0)], NoPlace::UnknownModel),
    ];
    for (table, loads, expected) in cases {
        assert_eq!(
            choose(&table, &loads, &ask(Strategy::LeastLoaded, 0)),
            Err(expected),
            "{table:?}"
        );
    }
}

#[test]
fn does_not_go_where_it_has_been() {
    let table = RoutingTable::new(1, vec![ready("a", 9 * GIB), ready("b", 0)]);
    let question = Question {
        tried: &[0],
        ..ask(Strategy::LeastLoaded, 0)
    };
    assert_eq!(choose(&table, &[], &question), Ok(1));
    let question = Question {
        tried: &[0, 1],
        ..question
    };
    assert_eq!(choose(&table, &[], &question), Err(NoPlace::NoneRoutable));
}

// spec: PLACE-3
#[test]
fn explains_every_candidate() {
    let table = RoutingTable::new(
        1,
        vec![
            ready("a", 0),
            endpoint("b", 0, 4, Availability::Draining),
            ready("c", 0),
            ready("d", 0),
        ],
    );
    let loads = [
        used(4),
        used(0),
        Load {
            used: 0,
            quarantined: true,
        },
        used(1),
    ];
    let question = ask(Strategy::LeastLoaded, 0);
    let loads = Loads::new(&table, loads);
    let skips: Vec<_> = explain(&table, &loads, &question)
        .map(|candidate| candidate.skip)
        .collect();
    assert_eq!(
        skips,
        [
            Some(Skip::Full),
            Some(Skip::Draining),
            Some(Skip::Quarantined),
            None
        ]
    );
}

// spec: PLACE-7
#[test]
fn weighted_fills_every_endpoint_to_the_same_part() {
    let table = RoutingTable::new(
        1,
        vec![
            endpoint("a", 0, 2, Availability::Ready),
            endpoint("b", 0, 8, Availability::Ready),
        ],
    );
    let mut loads = [used(0), used(0)];
    for turn in 0..5 {
        let chosen = choose(&table, &loads, &ask(Strategy::Weighted, turn)).unwrap();
        loads[chosen as usize].used += 1;
    }
    assert_eq!(loads, [used(1), used(4)]);
}

// spec: PLACE-8
#[test]
fn a_session_stays_at_home_spills_when_it_is_full_and_returns() {
    let table = RoutingTable::new(1, (0..8).map(|n| ready(&format!("n{n}"), 0)).collect());
    let mut homes = std::collections::BTreeSet::new();
    for session in 0..64 {
        let question = Question {
            session: Some(session_key(&format!("s{session}"))),
            ..ask(Strategy::Session, session)
        };
        let mut loads = [used(0); 8];
        let home = choose(&table, &loads, &question).unwrap();
        homes.insert(home);
        loads[home as usize] = used(4);
        let second = choose(&table, &loads, &question).unwrap();
        assert_ne!(second, home);
        loads[home as usize] = used(3);
        assert_eq!(choose(&table, &loads, &question), Ok(home), "it returns");
        // Another endpoint's leaving moves nobody who was not there.
        let gone = (home + 1) % 8;
        let endpoints = table
            .endpoints()
            .iter()
            .filter(|e| e.key != table.endpoints()[gone as usize].key);
        let smaller = RoutingTable::new(2, endpoints.cloned().collect());
        let still = choose(&smaller, &[], &question).unwrap();
        assert_eq!(
            smaller.endpoints()[still as usize].key,
            table.endpoints()[home as usize].key
        );
    }
    assert_eq!(homes.len(), 8, "sessions spread over all");
}

// spec: PLACE-9
#[test]
fn a_prompt_goes_where_its_beginning_is_known_unless_that_is_crowded() {
    let table = RoutingTable::new(1, (0..3).map(|n| ready(&format!("n{n}"), 0)).collect());
    let mut index = PrefixIndex::new();
    let blocks: Vec<u64> = (1..=10).collect();
    index.record(&blocks, table.summaries()[1].hash);
    let found = index.find(&blocks);
    let question = Question {
        prefix: Some(&found),
        ..ask(Strategy::Prefix, 0)
    };
    assert_eq!(choose(&table, &[], &question), Ok(1));
    // Three of four slots busy there still beats reading the whole prompt again; full does not.
    assert_eq!(choose(&table, &[used(0), used(3), used(0)], &question), Ok(1));
    assert_eq!(choose(&table, &[used(0), used(4), used(0)], &question), Ok(0));
    // Half of the prompt known is not worth three quarters of the slots.
    let half = index.find(&[1, 2, 3, 4, 5, 96, 97, 98, 99, 100]);
    let question = Question {
        prefix: Some(&half),
        ..question
    };
    assert_eq!(choose(&table, &[used(0), used(3), used(0)], &question), Ok(0));
    // What nobody knows is spread out.
    let unknown = index.find(&[77]);
    let spread: Vec<u32> = (0..6)
        .map(|turn| {
            choose(
                &table,
                &[],
                &Question {
                    prefix: Some(&unknown),
                    ..ask(Strategy::Prefix, turn)
                },
            )
            .unwrap()
        })
        .collect();
    assert_eq!(spread, [0, 1, 2, 0, 1, 2]);
}

// spec: PLACE-10
#[test]
fn a_pinned_request_goes_nowhere_else() {
    let table = RoutingTable::new(1, vec![ready("a", 9 * GIB), ready("b", 0)]);
    let pin = NodeId::new("b").unwrap();
    let question = Question {
        pin: Some(&pin),
        ..ask(Strategy::LeastLoaded, 0)
    };
    assert_eq!(choose(&table, &[], &question), Ok(1));
    assert_eq!(choose(&table, &[used(0), used(4)], &question), Err(NoPlace::Full));
    let elsewhere = NodeId::new("c").unwrap();
    assert_eq!(
        choose(
            &table,
            &[],
            &Question {
                pin: Some(&elsewhere),
                ..question
            }
        ),
        Err(NoPlace::NoneRoutable)
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

/// Endpoints on a few nodes, with sleepers, drains, failures and another model among them.
fn any_endpoint() -> impl proptest::strategy::Strategy<Value = (Endpoint, Load)> {
    let availability = prop_oneof![
        6 => Just(Availability::Ready),
        2 => Just(Availability::Asleep),
        1 => Just(Availability::Draining),
        1 => Just(Availability::NotReady("x".into())),
    ];
    (
        ("[a-c]", "[p-s]"),
        0..4 * GIB,
        0..4_u32,
        availability,
        any_load(),
        prop::bool::weighted(0.8),
    )
        .prop_map(|((node, pool), vram, slots, availability, load, ours)| {
            let mut endpoint = endpoint(&node, vram, slots, availability);
            endpoint.key.pool = PoolId::new(&pool).unwrap();
            endpoint.models = Some([if ours { "m" } else { "other" }.to_owned()].into());
            (endpoint, load)
        })
}

fn any_load() -> impl proptest::strategy::Strategy<Value = Load> {
    (0..5_u32, prop::bool::weighted(0.2)).prop_map(|(used, quarantined)| Load { used, quarantined })
}

proptest! {
    /// Whatever the fleet, the question and the changes of load before it: the choice is the one that looking at every
    /// candidate by itself gives, and there is none only if nobody can take the request.
    // spec: PLACE-4
    #[test]
    fn the_choice_is_the_best_of_those_who_can(
        fleet in prop::collection::vec(any_endpoint(), 0..12),
        changes in prop::collection::vec((0..12_usize, any_load()), 0..8),
        tried in prop::collection::vec(0..12_u32, 0..4),
        turn in any::<u64>(),
        strategy in prop::sample::select(&Strategy::ALL[..]),
        pin in prop::option::of("[a-d]"),
        session in prop::option::weighted(0.8, any::<u64>()),
        prompts in prop::collection::vec((0..12_usize, 1..6_u64), 0..6),
    ) {
        let table = RoutingTable::new(1, fleet.iter().map(|(endpoint, _)| endpoint.clone()).collect());
        let mut loads = Loads::new(&table, fleet.iter().map(|(_, load)| *load));
        for (index, load) in changes {
            loads.set(&table, u32::try_from(index).unwrap(), load);
        }
        let mut index = PrefixIndex::new();
        for (endpoint, blocks) in prompts {
            if let Some(summary) = table.summaries().get(endpoint) {
                index.record(&(1..=blocks).collect::<Vec<_>>(), summary.hash);
            }
        }
        let prefix = index.find(&[1, 2, 3, 4, 5]);
        let pin = pin.map(|node| NodeId::new(&node).unwrap());
        let question = Question {
            model: "m",
            strategy,
            tried: &tried,
            turn,
            pin: pin.as_ref(),
            session,
            prefix: Some(&prefix),
        };
        let candidates: Vec<_> = explain(&table, &loads, &question).collect();
        let best = candidates.iter().filter(|candidate| candidate.skip.is_none()).min_by_key(|candidate| candidate.rank);
        let full = candidates.iter().any(|candidate| candidate.skip == Some(Skip::Full));
        let expected = match best {
            Some(best) => Ok(best.index),
            None if candidates.is_empty() => Err(NoPlace::UnknownModel),
            None if full => Err(NoPlace::Full),
            None => Err(NoPlace::NoneRoutable),
        };
        prop_assert_eq!(super::choose(&table, &loads, &question), expected, "{:?}", candidates);
        for candidate in candidates.iter().filter(|candidate| candidate.skip.is_none()) {
            prop_assert!(candidate.endpoint.availability.is_routable());
            prop_assert!(!candidate.load.quarantined && candidate.load.used < candidate.endpoint.slots_total);
            prop_assert!(!tried.contains(&candidate.index));
            prop_assert!(pin.as_ref().is_none_or(|pin| candidate.endpoint.key.node == *pin));
            prop_assert!(candidate.endpoint.models.as_ref().unwrap().contains(&"m".to_owned()));
        }
    }

    /// Over one round of turns round-robin visits every endpoint once.
    // spec: PLACE-2
    #[test]
    fn round_robin_is_fair(count in 1..20_u64, start in 0..1000_u64) {
        let table = RoutingTable::new(1, (0..count).map(|i| ready(&format!("n{i:02}"), 0)).collect());
        let mut seen: Vec<u32> =
            (start..start + count).map(|turn| choose(&table, &[], &ask(Strategy::RoundRobin, turn)).unwrap()).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..u32::try_from(count).unwrap()).collect::<Vec<_>>());
    }
}

// spec: PLACE-12
#[test]
fn an_endpoint_that_sleeps_is_woken_only_when_no_other_has_a_free_slot() {
    let asleep = endpoint("a", 80 * GIB, 4, Availability::Asleep);
    let table = RoutingTable::new(1, vec![asleep, ready("b", GIB)]);
    for strategy in Strategy::ALL {
        for turn in 0..4 {
            let goes = |busy: u32| choose(&table, &[used(0), used(busy)], &ask(strategy, turn));
            assert_eq!((goes(0), goes(3), goes(4)), (Ok(1), Ok(1), Ok(0)), "{strategy}");
        }
    }
}
