//! The rules of placement, one table each, and what must hold for every table.

use pool_registry_types::{HttpUrl, NodeId, PoolId, ReplicaId};
use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as _;
use routing_table::{EndpointKey, RoutingTable, State};

use super::*;

type Known = (Arc<Endpoint>, Report);

/// As the one under test, with the loads as a list.
fn choose(
    table: &RoutingTable,
    loads: &[Load],
    question: &PlacementQuery<'_>,
) -> Result<u32, NoPlace> {
    super::choose(table, &loads_of(table, loads), question)
}

/// Those that the list does not reach are idle.
fn loads_of(table: &RoutingTable, list: &[Load]) -> Loads {
    let mut loads = Loads::default();
    for (index, _, _) in table.iter() {
        let load = list.get(index as usize).copied().unwrap_or_default();
        loads.set(table, index, load);
    }
    loads
}

const GIB: u64 = 1 << 30;

fn named(key: EndpointKey, model: &str, report: Report) -> Known {
    let target = Arc::new(HttpUrl::new("http://localhost:1").unwrap());
    let endpoint = Endpoint::new(key, 1, 0, target, Some([model.to_owned()].into()));
    (Arc::new(endpoint), report)
}

fn endpoint(node: &str, vram_free_bytes: u64, slots_total: u32, state: State) -> Known {
    let key = EndpointKey {
        node: NodeId::new(node).unwrap(),
        pool: PoolId::new("p").unwrap(),
        replica: None,
    };
    named(key, "m", report(vram_free_bytes, slots_total, state))
}

fn report(vram_free_bytes: u64, slots_total: u32, state: State) -> Report {
    Report {
        number: 1,
        state,
        slots_total,
        slots_free: slots_total,
        vram_free_bytes,
    }
}

fn table(known: impl IntoIterator<Item = Known>) -> RoutingTable {
    let mut table = RoutingTable::default();
    for (endpoint, report) in known {
        table.set(&endpoint, report);
    }
    table
}

fn ready(node: &str, vram: u64) -> Known {
    endpoint(node, vram, 4, State::Ready)
}

fn used(used: u32) -> Load {
    Load {
        used,
        ..Load::default()
    }
}

fn holds(conversations: u32) -> Load {
    Load {
        conversations,
        ..Load::default()
    }
}

fn ask(strategy: Strategy, turn: u64) -> PlacementQuery<'static> {
    PlacementQuery {
        model: "m",
        strategy,
        turn,
        ..PlacementQuery::default()
    }
}

// spec: PLACE-11
#[test]
fn a_rank_is_told_in_words() {
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
    let told = |question: &PlacementQuery<'_>| -> Vec<String> {
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
        assert_eq!(told(&ask(strategy, turn)), expected, "{strategy}");
    }
    let question = PlacementQuery {
        session: Some(7),
        ..ask(Strategy::Session, 0)
    };
    for words in told(&question) {
        let away = words
            .strip_suffix(" % away from the session's first choice")
            .unwrap();
        let (_, percent) = away.rsplit_once(", ").unwrap();
        assert!(percent.parse::<u32>().unwrap() <= 100, "{words}");
    }
    let question = PlacementQuery {
        home: Some(table.summaries()[1].hash),
        ..question
    };
    assert_eq!(told(&question)[1], "the conversation is held here");
    let mut index = PrefixIndex::new();
    index.record(&[1, 2, 3, 4], table.summaries()[1].hash);
    let prefix = index.find(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let question = PlacementQuery {
        prefix: Some(&prefix),
        ..ask(Strategy::Prefix, 1)
    };
    assert_eq!(
        told(&question)[1],
        "50 % of the prompt unseen, 0.00 conversations per slot, 0 % taken, its turn"
    );
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
        let known = names.iter().zip(*fleet);
        let table = table(known.map(|(name, (vram, _))| ready(name, *vram)));
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
    let table = table(vec![ready("a", 0), ready("b", 9 * GIB), ready("c", 0)]);
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
    let fleet = |states: Vec<State>| {
        let states = ["a", "b"].iter().zip(states);
        table(states.map(|(name, state)| endpoint(name, 0, 1, state)))
    };
    let sick = Load {
        quarantined: true,
        ..Load::default()
    };
    let cases = [
        (
            fleet(vec![State::Ready, State::Ready]),
            [used(1), used(1)],
            NoPlace::Full,
        ),
        (
            fleet(vec![State::Ready, State::Draining]),
            [used(1), used(0)],
            NoPlace::Full,
        ),
        (
            fleet(vec![State::Draining, State::NotReady]),
            [used(0), used(0)],
            NoPlace::NoneRoutable,
        ),
        (
            fleet(vec![State::Ready, State::Ready]),
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
    let table = table(vec![ready("a", 9 * GIB), ready("b", 0)]);
    let question = PlacementQuery {
        tried: &[0],
        ..ask(Strategy::LeastLoaded, 0)
    };
    assert_eq!(choose(&table, &[], &question), Ok(1));
    let question = PlacementQuery {
        tried: &[0, 1],
        ..question
    };
    assert_eq!(choose(&table, &[], &question), Err(NoPlace::NoneRoutable));
}

// spec: PLACE-3
#[test]
fn explains_every_candidate() {
    let table = table([
        ready("a", 0),
        endpoint("b", 0, 4, State::Draining),
        ready("c", 0),
        ready("d", 0),
    ]);
    let loads = [
        used(4),
        used(0),
        Load {
            quarantined: true,
            ..Load::default()
        },
        used(1),
    ];
    let question = ask(Strategy::LeastLoaded, 0);
    let loads = loads_of(&table, &loads);
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
    let table = table([
        endpoint("a", 0, 2, State::Ready),
        endpoint("b", 0, 8, State::Ready),
    ]);
    let mut loads = [used(0), used(0)];
    for turn in 0..5 {
        let chosen = choose(&table, &loads, &ask(Strategy::Weighted, turn)).unwrap();
        loads[chosen as usize].used += 1;
    }
    assert_eq!(loads, [used(1), used(4)]);
}

// spec: PLACE-8
#[test]
fn a_session_stays_where_it_is_held_and_goes_elsewhere_when_that_cannot_take_it() {
    let table = table((0..8).map(|n| ready(&format!("n{n}"), 0)));
    let home = table.summaries()[5].hash;
    let question = PlacementQuery {
        session: Some(session_key("s")),
        home: Some(home),
        ..ask(Strategy::Session, 0)
    };
    let at_home = |load: Load| {
        let mut loads = [holds(0); 8];
        loads[5] = load;
        choose(&table, &loads, &question) == Ok(5)
    };
    assert!(
        at_home(used(0)) && at_home(holds(1_000)),
        "however many there are"
    );
    assert!(
        at_home(used(3)) && !at_home(used(4)),
        "while a slot is free"
    );
    assert!(!at_home(Load {
        quarantined: true,
        ..used(0)
    }));
    let tried = PlacementQuery {
        tried: &[5],
        ..question
    };
    assert_ne!(choose(&table, &[], &tried), Ok(5));
    let pin = NodeId::new("n2").unwrap();
    let pinned = PlacementQuery {
        pin: Some(&pin),
        ..question
    };
    assert_eq!(choose(&table, &[], &pinned), Ok(2));
    let other_model = PlacementQuery {
        model: "other",
        ..question
    };
    assert_eq!(
        choose(&table, &[], &other_model),
        Err(NoPlace::UnknownModel)
    );
    for state in [State::Draining, State::NotReady, State::Asleep] {
        let mut table = RoutingTable::default();
        for n in 0..8 {
            let state = if n == 5 { state } else { State::Ready };
            let (endpoint, report) = endpoint(&format!("n{n}"), 0, 4, state);
            table.set(&endpoint, report);
        }
        assert_ne!(choose(&table, &[], &question), Ok(5), "{state:?}");
    }
}

// spec: PLACE-30
#[test]
fn a_new_session_goes_where_the_fewest_sessions_per_slot_are() {
    let table = table([
        endpoint("a", 0, 2, State::Ready),
        endpoint("b", 0, 8, State::Ready),
        endpoint("c", 0, 4, State::Ready),
    ]);
    let goes = |loads: &[Load]| {
        let mut to = std::collections::BTreeSet::new();
        for session in 0..64 {
            let question = PlacementQuery {
                session: Some(session_key(&format!("s{session}"))),
                ..ask(Strategy::Session, session)
            };
            to.insert(choose(&table, loads, &question).unwrap());
        }
        Vec::from_iter(to)
    };
    assert_eq!(
        goes(&[holds(0), holds(0), holds(0)]),
        [0, 1, 2],
        "equals by their hash"
    );
    assert_eq!(goes(&[holds(1), holds(3), holds(2)]), [1]);
    assert_eq!(goes(&[holds(1), holds(4), holds(1)]), [2]);
    let full = Load {
        conversations: 0,
        ..used(4)
    };
    assert_eq!(goes(&[holds(9), holds(36), full]), [0, 1]);
}

// spec: PLACE-9
#[test]
fn a_prompt_goes_where_its_beginning_is_known_unless_that_is_crowded() {
    let table = table((0..3).map(|n| ready(&format!("n{n}"), 0)));
    let mut index = PrefixIndex::new();
    let blocks: Vec<u64> = (1..=10).collect();
    index.record(&blocks, table.summaries()[1].hash);
    let found = index.find(&blocks);
    let question = PlacementQuery {
        prefix: Some(&found),
        ..ask(Strategy::Prefix, 0)
    };
    assert_eq!(choose(&table, &[], &question), Ok(1));
    // Three of four slots busy there still beats reading the whole prompt again; full does not.
    assert_eq!(
        choose(&table, &[used(0), used(3), used(0)], &question),
        Ok(1)
    );
    assert_eq!(
        choose(&table, &[used(0), used(4), used(0)], &question),
        Ok(0)
    );
    // It is crowded with more than its share of the conversations.
    assert_eq!(
        choose(&table, &[holds(1), holds(1), holds(1)], &question),
        Ok(1)
    );
    assert_eq!(
        choose(&table, &[holds(2), holds(1), holds(0)], &question),
        Ok(1)
    );
    assert_eq!(
        choose(&table, &[holds(1), holds(2), holds(1)], &question),
        Ok(0)
    );
    // Half of the prompt known is not worth three quarters of the slots.
    let half = index.find(&[1, 2, 3, 4, 5, 96, 97, 98, 99, 100]);
    let question = PlacementQuery {
        prefix: Some(&half),
        ..question
    };
    assert_eq!(
        choose(&table, &[used(0), used(3), used(0)], &question),
        Ok(0)
    );
    assert_eq!(
        choose(&table, &[used(0), used(1), used(0)], &question),
        Ok(1)
    );
    // Neither is a short greeting worth anything.
    let greeting = index.find(&[1, 2, 3]);
    let question = PlacementQuery {
        prefix: Some(&greeting),
        ..question
    };
    assert_eq!(
        choose(&table, &[holds(0), holds(0), holds(0)], &question),
        Ok(0)
    );
    // What nobody knows is spread out.
    let unknown = index.find(&[77]);
    let spread: Vec<u32> = (0..6)
        .map(|turn| {
            choose(
                &table,
                &[],
                &PlacementQuery {
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
    let table = table(vec![ready("a", 9 * GIB), ready("b", 0)]);
    let pin = NodeId::new("b").unwrap();
    let question = PlacementQuery {
        pin: Some(&pin),
        ..ask(Strategy::LeastLoaded, 0)
    };
    assert_eq!(choose(&table, &[], &question), Ok(1));
    assert_eq!(
        choose(&table, &[used(0), used(4)], &question),
        Err(NoPlace::Full)
    );
    let elsewhere = NodeId::new("c").unwrap();
    assert_eq!(
        choose(
            &table,
            &[],
            &PlacementQuery {
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

/// Replicas on a few nodes, with sleepers, drains, failures and another model among them.
fn any_endpoint() -> impl proptest::strategy::Strategy<Value = (Known, Load)> {
    let state = prop_oneof![
        6 => Just(State::Ready),
        2 => Just(State::Asleep),
        1 => Just(State::Draining),
        1 => Just(State::NotReady),
    ];
    (
        ("[a-c]", "[p-q]", "[r-s]"),
        0..4 * GIB,
        0..4_u32,
        state,
        any_load(),
        prop::bool::weighted(0.8),
    )
        .prop_map(|((node, pool, replica), vram, slots, state, load, ours)| {
            let key = EndpointKey {
                node: NodeId::new(&node).unwrap(),
                pool: PoolId::new(&pool).unwrap(),
                replica: Some(ReplicaId::new(&replica).unwrap()),
            };
            let model = if ours { "m" } else { "other" };
            (named(key, model, report(vram, slots, state)), load)
        })
}

fn any_load() -> impl proptest::strategy::Strategy<Value = Load> {
    (0..5_u32, 0..4_u32, prop::bool::weighted(0.2)).prop_map(
        |(used, conversations, quarantined)| Load {
            used,
            conversations,
            quarantined,
        },
    )
}

proptest! {
    /// Whatever the fleet, the question and the changes before it: the choice is the one that looking at every
    /// candidate by itself gives, and there is none only if nobody can take the request.
    // spec: PLACE-4
    #[test]
    fn the_choice_is_the_best_of_those_who_can(
        fleet in prop::collection::vec(any_endpoint(), 0..12),
        removed in prop::collection::vec(0..12_usize, 0..4),
        changes in prop::collection::vec((0..12_u32, any_load()), 0..8),
        tried in prop::collection::vec(0..12_u32, 0..4),
        turn in any::<u64>(),
        strategy in prop::sample::select(&Strategy::ALL[..]),
        pin in prop::option::of("[a-d]"),
        session in prop::option::weighted(0.8, any::<u64>()),
        home in prop::option::of(0..12_usize),
        prompts in prop::collection::vec((0..12_usize, 1..10_u64), 0..6),
    ) {
        let (mut table, mut loads) = (RoutingTable::default(), Loads::default());
        for ((endpoint, report), load) in &fleet {
            let index = table.set(endpoint, *report).index;
            loads.set(&table, index, *load);
        }
        for place in removed {
            if let Some(((endpoint, _), _)) = fleet.get(place)
                && let Some(index) = table.remove(endpoint)
            {
                loads.set(&table, index, Load::default());
            }
        }
        for (index, load) in changes {
            loads.set(&table, index, load);
        }
        let mut index = PrefixIndex::new();
        for (place, blocks) in prompts {
            if let Some(((endpoint, _), _)) = fleet.get(place) {
                index.record(&(1..=blocks).collect::<Vec<_>>(), endpoint.hash());
            }
        }
        let prefix = index.find(&(1..=8).collect::<Vec<_>>());
        let pin = pin.map(|node| NodeId::new(&node).unwrap());
        let question = PlacementQuery {
            model: "m",
            strategy,
            tried: &tried,
            turn,
            pin: pin.as_ref(),
            session,
            prefix: Some(&prefix),
            home: home.and_then(|place| Some(fleet.get(place)?.0.0.hash())),
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
            prop_assert!(candidate.report.state.is_routable());
            prop_assert!(!candidate.load.quarantined && candidate.load.used < candidate.report.slots_total);
            prop_assert!(!tried.contains(&candidate.index));
            prop_assert!(pin.as_ref().is_none_or(|pin| candidate.endpoint.key().node == *pin));
            prop_assert!(candidate.endpoint.models().unwrap().contains(&"m".to_owned()));
        }
    }

    /// Over one round of turns round-robin visits every endpoint once.
    // spec: PLACE-2
    #[test]
    fn round_robin_is_fair(count in 1..20_u64, start in 0..1000_u64) {
        let table = table((0..count).map(|i| ready(&format!("n{i:02}"), 0)));
        let mut seen: Vec<u32> =
            (start..start + count).map(|turn| choose(&table, &[], &ask(Strategy::RoundRobin, turn)).unwrap()).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..u32::try_from(count).unwrap()).collect::<Vec<_>>());
    }
}

// spec: PLACE-12
#[test]
fn an_endpoint_that_sleeps_is_woken_only_when_no_other_has_a_free_slot() {
    let asleep = endpoint("a", 80 * GIB, 4, State::Asleep);
    let table = table(vec![asleep, ready("b", GIB)]);
    for strategy in Strategy::ALL {
        for turn in 0..4 {
            let goes = |busy: u32| choose(&table, &[used(0), used(busy)], &ask(strategy, turn));
            assert_eq!(
                (goes(0), goes(3), goes(4)),
                (Ok(1), Ok(1), Ok(0)),
                "{strategy}"
            );
        }
    }
}
