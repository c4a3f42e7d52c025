//! Conversations with pauses, as the core places them: they spread, and stay where they are.

use std::collections::{BTreeMap, BTreeSet};

use placement::{Affinity, ChatBlocks, session_key};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use routing_table::State;

use super::{fixture::*, *};

const REPLICAS: [&str; 3] = ["r0", "r1", "r2"];
const SLOTS: u32 = 4;
const TURNS: usize = 6;
/// So often the node reports.
const REPORT_EVERY: Duration = Duration::from_secs(10);
const SYSTEM_PROMPT: &str = "You are a helpful assistant. ";

/// Somebody who talks with a model.
#[derive(Debug, Clone, Default)]
struct Talk {
    messages: Vec<String>,
    /// Where each turn went.
    places: Vec<String>,
}

impl Talk {
    /// Asks something, and goes on with the answer that it got before.
    fn wish(
        &mut self,
        number: usize,
        strategy: Strategy,
        rng: &mut fastrand::Rng,
    ) -> Arc<RoutingPreference> {
        if self.messages.is_empty() {
            self.messages
                .push(SYSTEM_PROMPT.repeat(number % 2 * 40 + 3));
        } else {
            self.messages.push("An answer. ".repeat(rng.usize(1..60)));
        }
        let question = format!("{number}?").repeat(rng.usize(1..30));
        self.messages.push(question);
        let mut blocks = ChatBlocks::new("m");
        for message in &self.messages {
            blocks.push(message.as_bytes());
        }
        Arc::new(RoutingPreference {
            strategy,
            pin: None,
            affinity: Affinity {
                session: Some(session_key(&number.to_string())),
                blocks: blocks.finish(),
            },
        })
    }

    fn moves(&self) -> usize {
        self.places
            .windows(2)
            .filter(|pair| pair[0] != pair[1])
            .count()
    }

    fn last_place(&self) -> &str {
        self.places.last().unwrap()
    }
}

/// What happens, in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Asks(usize),
    IsAnswered(usize),
    NodeReports,
}

/// A node with three replicas, and conversations that go on at random times.
struct Story {
    core: Core<u32>,
    rng: fastrand::Rng,
    strategy: Strategy,
    talks: Vec<Talk>,
    /// Turns that are still to come, by conversation.
    turns: Vec<usize>,
    held: BTreeMap<usize, Grant>,
    events: BTreeSet<(Duration, Event)>,
    states: BTreeMap<&'static str, State>,
    report: u64,
    now: Duration,
}

impl Story {
    fn new(strategy: Strategy, seed: u64, talks: usize) -> Self {
        let mut story = Self {
            core: core(&REPLICAS.map(|name| replica(name, SLOTS))),
            rng: fastrand::Rng::with_seed(seed),
            strategy,
            talks: vec![Talk::default(); talks],
            turns: vec![0; talks],
            held: BTreeMap::new(),
            events: BTreeSet::new(),
            states: REPLICAS.map(|name| (name, State::Ready)).into(),
            report: 1,
            now: S,
        };
        story.events.insert((REPORT_EVERY, Event::NodeReports));
        story
    }

    fn in_flight(&self, name: &str) -> u32 {
        let held = self.held.values().filter(|grant| replica_of(grant) == name);
        u32::try_from(held.count()).unwrap()
    }

    fn report(&mut self) {
        self.report += 1;
        let fakes: Vec<_> = self
            .states
            .iter()
            .map(|(name, state)| Fake {
                state: *state,
                free: SLOTS - self.in_flight(name),
                report: self.report,
                ..replica(name, SLOTS)
            })
            .collect();
        assert!(self.core.replaced(&fakes, self.now).is_empty());
    }

    fn later(&mut self, most: Duration) -> Duration {
        let millis = u64::try_from(most.as_millis()).unwrap();
        self.now + Duration::from_millis(self.rng.u64(1..=millis))
    }

    /// Each conversation has some turns, all of them at random times.
    fn go_on(&mut self, turns: usize) {
        for number in 0..self.talks.len() {
            self.turns[number] = turns;
            let at = self.later(5 * S);
            self.events.insert((at, Event::Asks(number)));
        }
        self.finish();
    }

    /// One conversation goes on at once.
    fn goes_on(&mut self, number: usize) {
        self.turns[number] = 1;
        self.ask(number);
        self.finish();
    }

    fn finish(&mut self) {
        while self.turns.iter().any(|turns| *turns > 0) || !self.held.is_empty() {
            let (at, event) = self.events.pop_first().unwrap();
            self.now = at;
            match event {
                Event::NodeReports => {
                    self.report();
                    self.events
                        .insert((self.now + REPORT_EVERY, Event::NodeReports));
                }
                Event::Asks(number) => self.ask(number),
                Event::IsAnswered(number) => {
                    let grant = self.held.remove(&number).unwrap();
                    assert!(
                        self.core
                            .released(&grant, Ending::Served, self.now)
                            .is_empty()
                    );
                    self.turns[number] -= 1;
                    if self.turns[number] > 0 {
                        let at = self.later(8 * S);
                        self.events.insert((at, Event::Asks(number)));
                    }
                }
            }
        }
    }

    fn ask(&mut self, number: usize) {
        let wish = self.talks[number].wish(number, self.strategy, &mut self.rng);
        let ask = AcquireRequest {
            wish: &wish,
            ..ask("m")
        };
        let mut grant = granted(
            self.core
                .arrive(&ask, self.now, || unreachable!("there is room")),
        );
        let name = replica_of(&grant).to_owned();
        self.talks[number].places.push(name.clone());
        let free = SLOTS - self.in_flight(&name) - 1;
        self.core.answered(
            &mut grant,
            Some(&name.parse().unwrap()),
            Some((free, SLOTS)),
            self.now,
        );
        self.held.insert(number, grant);
        let at = self.later(4 * S);
        self.events.insert((at, Event::IsAnswered(number)));
    }

    /// How many conversations each replica holds.
    fn spread(&self) -> Vec<usize> {
        let at = |name: &str| {
            self.talks
                .iter()
                .filter(|talk| talk.last_place() == name)
                .count()
        };
        REPLICAS.iter().map(|name| at(name)).collect()
    }

    fn moves(&self) -> usize {
        self.talks.iter().map(Talk::moves).sum()
    }
}

const SEEDS: u64 = 40;

/// Every story by both strategies.
fn stories(talks: usize) -> impl Iterator<Item = Story> {
    let strategies = [Strategy::Session, Strategy::Prefix];
    let each = strategies
        .into_iter()
        .flat_map(|strategy| (0..SEEDS).map(move |seed| (strategy, seed)));
    each.map(move |(strategy, seed)| Story::new(strategy, seed, talks))
}

// spec: PLACE-30, PLACE-32
#[test]
fn nine_conversations_spread_evenly_over_three_replicas_and_stay() {
    for mut story in stories(9) {
        story.go_on(TURNS);
        assert_eq!(
            (story.moves(), story.spread()),
            (0, vec![3, 3, 3]),
            "{}",
            story.strategy
        );
    }
}

// spec: PLACE-34
#[test]
fn conversations_of_a_replica_that_drains_go_on_elsewhere_and_stay_there() {
    for state in [State::Draining, State::NotReady] {
        for mut story in stories(6) {
            story.go_on(2);
            story.states.insert("r1", state);
            story.report();
            story.go_on(2);
            let was_there = |talk: &&Talk| talk.places[..2].contains(&"r1".to_owned());
            assert_eq!(story.talks.iter().filter(was_there).count(), 2);
            assert_eq!(
                (story.moves(), story.spread()),
                (2, vec![3, 0, 3]),
                "{}",
                story.strategy
            );
            // It comes back, and nothing moves for that. New conversations go there.
            story.states.insert("r1", State::Ready);
            story.report();
            story.talks.extend(
                [const {
                    Talk {
                        messages: Vec::new(),
                        places: Vec::new(),
                    }
                }; 3],
            );
            story.turns.extend([0; 3]);
            story.go_on(2);
            assert_eq!(
                (story.moves(), story.spread()),
                (2, vec![3, 3, 3]),
                "{}",
                story.strategy
            );
        }
    }
}

fn reported_full(name: &str, report: u64) -> Fake {
    Fake {
        free: 0,
        report,
        ..replica(name, SLOTS)
    }
}

// spec: PLACE-34
#[test]
fn conversations_of_a_replica_that_is_killed_or_full_go_on_elsewhere_and_stay_there() {
    for mut story in stories(3) {
        story.go_on(2);
        assert_eq!(story.spread(), [1, 1, 1]);
        // Others take every slot of the replica where the first one is held.
        let place = story.talks[0].last_place().to_owned();
        for report in [1_000, 1_001] {
            // The first may still count our own.
            let others = reported_full(&place, report);
            story.core.apply(&[others.set()], story.now);
        }
        story.goes_on(0);
        let next = story.talks[0].last_place().to_owned();
        assert_ne!(place, next);
        story.go_on(2);
        assert_eq!(story.moves(), 1, "{}", story.strategy);
        // Connections to the next one are refused.
        let mut held = Vec::new();
        let unreachable = loop {
            let grant = take(&mut story.core, story.now);
            if replica_of(&grant) == next {
                break grant;
            }
            held.push(grant);
        };
        let ending = Ending::Failed(Failure::Unreachable);
        story.core.release(&unreachable, ending, story.now, 0.0);
        for grant in held {
            story.core.release(&grant, Ending::Untold, story.now, 0.0);
        }
        let _ = story.core.take_effects();
        for number in 0..3 {
            story.turns[number] = 1;
            story.ask(number);
            assert_ne!(story.talks[number].last_place(), next);
        }
    }
}

// spec: PLACE-30
proptest! {
    #[test]
    fn no_replica_gets_more_than_its_share_of_sessions_while_others_have_room(
        slots in prop::collection::vec(1..9_u32, 1..6),
        sessions in 1..60_u32,
        by_prompt in any::<bool>(),
    ) {
        let fakes: Vec<_> = (0..).zip(&slots).map(|(n, slots)| replica(&format!("r{n}"), *slots)).collect();
        let mut core = core(&fakes);
        let all: u32 = slots.iter().sum();
        let mut counts = BTreeMap::new();
        for session in 0..sessions {
            let wish = Arc::new(RoutingPreference {
                strategy: if by_prompt { Strategy::Prefix } else { Strategy::Session },
                pin: None,
                affinity: Affinity { session: Some(session_key(&session.to_string())), blocks: vec![u64::from(session)] },
            });
            let grant = granted(core.arrive(&AcquireRequest { wish: &wish, ..ask("m") }, MS, || 0));
            *counts.entry(replica_of(&grant).to_owned()).or_insert(0) += 1;
            core.release(&grant, Ending::Served, MS, 0.0);
        }
        for (number, slots) in slots.iter().enumerate() {
            let count = counts.get(&format!("r{number}")).copied().unwrap_or(0);
            prop_assert!(count <= (sessions * slots).div_ceil(all), "{counts:?} on {slots:?}");
        }
        prop_assert_eq!(counts.values().sum::<u32>(), sessions);
    }
}

// spec: PLACE-35
#[test]
fn a_session_that_uses_two_models_is_two_conversations() {
    let with = |name: &str, model: &str| Fake {
        models: Some(vec![model.to_owned()]),
        ..replica(name, 4)
    };
    let mut core = core(&[
        with("r0", "x"),
        with("r1", "x"),
        with("r2", "y"),
        with("r3", "y"),
    ]);
    let wish = Arc::new(RoutingPreference {
        strategy: Strategy::Session,
        pin: None,
        affinity: Affinity {
            session: Some(7),
            blocks: Vec::new(),
        },
    });
    let mut places = BTreeSet::new();
    for _ in 0..5 {
        for model in ["x", "y"] {
            let ask = AcquireRequest {
                wish: &wish,
                ..ask(model)
            };
            let grant = granted(core.arrive(&ask, MS, || 0));
            places.insert(replica_of(&grant).to_owned());
            core.release(&grant, Ending::Served, MS, 0.0);
        }
    }
    assert_eq!(places.len(), 2, "{places:?}");
}

// spec: SLOT-30, PLACE-36
#[test]
fn a_conversation_follows_the_replica_that_the_node_used() {
    for strategy in [Strategy::Session, Strategy::Prefix] {
        let mut core = core(&[replica("r0", 4), replica("r1", 4)]);
        let wish = |blocks: &[u64]| {
            Arc::new(RoutingPreference {
                strategy,
                pin: None,
                affinity: Affinity {
                    session: Some(7),
                    blocks: blocks.to_vec(),
                },
            })
        };
        let mut now = MS;
        let mut turn = |blocks: &[u64], used: Option<&str>| {
            now += S;
            let wish = wish(blocks);
            let mut grant = granted(core.arrive(
                &AcquireRequest {
                    wish: &wish,
                    ..ask("m")
                },
                now,
                || 0,
            ));
            let hinted = replica_of(&grant).to_owned();
            let used = used.map(|used| used.parse().unwrap());
            core.answered(&mut grant, used.as_ref(), None, now);
            core.release(&grant, Ending::Served, now, 0.0);
            hinted
        };
        let first = turn(&[1], None);
        let other = if first == "r0" { "r1" } else { "r0" };
        assert_eq!(turn(&[1, 2], Some(other)), first);
        assert_eq!(turn(&[1, 2, 3], None), other, "{strategy}");
        assert_eq!(turn(&[1, 2, 3, 4], Some("unknown")), other);
        assert_eq!(turn(&[1, 2, 3, 4, 5], None), other);
    }
}
