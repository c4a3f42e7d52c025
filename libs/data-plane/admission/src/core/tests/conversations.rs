//! Conversations with pauses: they spread over the replicas, and stay where they are.

use std::collections::{BTreeMap, BTreeSet};

use placement::{Affinity, ChatBlocks, session_key};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use routing_table::EndpointState;

use super::{
    super::{
        grant::{Grant, RequestEnd},
        *,
    },
    fixture::*,
};

const REPLICAS: [&str; 3] = ["r0", "r1", "r2"];
const SLOTS: u32 = 4;
const TURNS: usize = 6;
/// The node's heartbeat interval.
const REPORT_EVERY: Duration = Duration::from_secs(10);
const SYSTEM_PROMPT: &str = "You are a helpful assistant. ";

/// The messages of a conversation, and where its turns went.
#[derive(Debug, Clone, Default)]
struct Conversation {
    messages: Vec<String>,
    /// The replica of each turn.
    replicas: Vec<String>,
}

impl Conversation {
    /// Adds a turn, which contains the response to the turn before.
    fn next_turn(
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
            ..RoutingPreference::default()
        })
    }

    fn moves(&self) -> usize {
        self.replicas
            .windows(2)
            .filter(|pair| pair[0] != pair[1])
            .count()
    }

    fn last_replica(&self) -> &str {
        self.replicas.last().unwrap()
    }
}

/// A scheduled event. Simultaneous events happen in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Turn(usize),
    Response(usize),
    Heartbeat,
}

/// A node with three replicas, and conversations whose turns come at random times.
struct Simulation {
    core: AdmissionCore<u32>,
    rng: fastrand::Rng,
    strategy: Strategy,
    conversations: Vec<Conversation>,
    /// The number of turns to come, by conversation.
    turns: Vec<usize>,
    held: BTreeMap<usize, Grant>,
    events: BTreeSet<(Duration, Event)>,
    states: BTreeMap<&'static str, EndpointState>,
    report: u64,
    now: Duration,
}

impl Simulation {
    fn new(strategy: Strategy, seed: u64, conversations: usize) -> Self {
        let mut simulation = Self {
            core: core(&REPLICAS.map(|name| replica(name, SLOTS))),
            rng: fastrand::Rng::with_seed(seed),
            strategy,
            conversations: vec![Conversation::default(); conversations],
            turns: vec![0; conversations],
            held: BTreeMap::new(),
            events: BTreeSet::new(),
            states: REPLICAS.map(|name| (name, EndpointState::Ready)).into(),
            report: 1,
            now: S,
        };
        simulation.events.insert((REPORT_EVERY, Event::Heartbeat));
        simulation
    }

    fn in_flight(&self, name: &str) -> u32 {
        let held = self.held.values().filter(|grant| replica_of(grant) == name);
        u32::try_from(held.count()).unwrap()
    }

    fn report(&mut self) {
        self.report += 1;
        let endpoints: Vec<_> = self
            .states
            .iter()
            .map(|(name, state)| TestEndpoint {
                state: *state,
                free: SLOTS - self.in_flight(name),
                report: self.report,
                ..replica(name, SLOTS)
            })
            .collect();
        assert!(self.core.replaced(&endpoints, self.now).is_empty());
    }

    fn later(&mut self, most: Duration) -> Duration {
        let millis = u64::try_from(most.as_millis()).unwrap();
        self.now + Duration::from_millis(self.rng.u64(1..=millis))
    }

    /// Runs some turns of each conversation, at random times.
    fn run(&mut self, turns: usize) {
        for number in 0..self.conversations.len() {
            self.turns[number] = turns;
            let at = self.later(5 * S);
            self.events.insert((at, Event::Turn(number)));
        }
        self.finish();
    }

    /// Runs one turn of one conversation at once.
    fn run_turn(&mut self, number: usize) {
        self.turns[number] = 1;
        self.request(number);
        self.finish();
    }

    fn finish(&mut self) {
        while self.turns.iter().any(|turns| *turns > 0) || !self.held.is_empty() {
            let (at, event) = self.events.pop_first().unwrap();
            self.now = at;
            match event {
                Event::Heartbeat => {
                    self.report();
                    self.events
                        .insert((self.now + REPORT_EVERY, Event::Heartbeat));
                }
                Event::Turn(number) => self.request(number),
                Event::Response(number) => {
                    let grant = self.held.remove(&number).unwrap();
                    assert!(
                        self.core
                            .released(&grant, RequestEnd::Served, self.now)
                            .is_empty()
                    );
                    self.turns[number] -= 1;
                    if self.turns[number] > 0 {
                        let at = self.later(8 * S);
                        self.events.insert((at, Event::Turn(number)));
                    }
                }
            }
        }
    }

    fn request(&mut self, number: usize) {
        let preference = self.conversations[number].next_turn(number, self.strategy, &mut self.rng);
        let request = AcquireRequest {
            preference: &preference,
            ..request("m")
        };
        let mut grant = granted(
            self.core
                .acquire(&request, self.now, || unreachable!("a slot is free")),
        );
        let name = replica_of(&grant).to_owned();
        self.conversations[number].replicas.push(name.clone());
        let free = SLOTS - self.in_flight(&name) - 1;
        self.core.response_started(
            &mut grant,
            Some(&name.parse().unwrap()),
            Some((free, SLOTS)),
            self.now,
        );
        self.held.insert(number, grant);
        let at = self.later(4 * S);
        self.events.insert((at, Event::Response(number)));
    }

    /// The number of conversations on each replica.
    fn spread(&self) -> Vec<usize> {
        let at = |name: &str| {
            self.conversations
                .iter()
                .filter(|conversation| conversation.last_replica() == name)
                .count()
        };
        REPLICAS.iter().map(|name| at(name)).collect()
    }

    fn moves(&self) -> usize {
        self.conversations.iter().map(Conversation::moves).sum()
    }
}

const SEEDS: u64 = 40;

/// Simulations with every seed and both affinity strategies.
fn simulations(conversations: usize) -> impl Iterator<Item = Simulation> {
    let strategies = [Strategy::Session, Strategy::Prefix];
    let each = strategies
        .into_iter()
        .flat_map(|strategy| (0..SEEDS).map(move |seed| (strategy, seed)));
    each.map(move |(strategy, seed)| Simulation::new(strategy, seed, conversations))
}

// spec: PLACE-30, PLACE-32
#[test]
fn nine_conversations_spread_evenly_over_three_replicas_and_stay() {
    for mut simulation in simulations(9) {
        simulation.run(TURNS);
        assert_eq!(
            (simulation.moves(), simulation.spread()),
            (0, vec![3, 3, 3]),
            "{}",
            simulation.strategy
        );
    }
}

// spec: PLACE-34
#[test]
fn conversations_of_a_draining_replica_move_once() {
    for state in [EndpointState::Draining, EndpointState::NotReady] {
        for mut simulation in simulations(6) {
            simulation.run(2);
            simulation.states.insert("r1", state);
            simulation.report();
            simulation.run(2);
            let was_there = |conversation: &&Conversation| {
                conversation.replicas[..2].contains(&"r1".to_owned())
            };
            assert_eq!(simulation.conversations.iter().filter(was_there).count(), 2);
            assert_eq!(
                (simulation.moves(), simulation.spread()),
                (2, vec![3, 0, 3]),
                "{}",
                simulation.strategy
            );
            // When it returns, no conversation moves. New conversations go there.
            simulation.states.insert("r1", EndpointState::Ready);
            simulation.report();
            simulation.conversations.extend(
                [const {
                    Conversation {
                        messages: Vec::new(),
                        replicas: Vec::new(),
                    }
                }; 3],
            );
            simulation.turns.extend([0; 3]);
            simulation.run(2);
            assert_eq!(
                (simulation.moves(), simulation.spread()),
                (2, vec![3, 3, 3]),
                "{}",
                simulation.strategy
            );
        }
    }
}

fn reported_full(name: &str, report: u64) -> TestEndpoint {
    TestEndpoint {
        free: 0,
        report,
        ..replica(name, SLOTS)
    }
}

// spec: PLACE-34
#[test]
fn conversations_of_a_full_or_unreachable_replica_move_once() {
    for mut simulation in simulations(3) {
        simulation.run(2);
        assert_eq!(simulation.spread(), [1, 1, 1]);
        // Others take every slot of the replica that holds the first conversation.
        let place = simulation.conversations[0].last_replica().to_owned();
        for report in [1_000, 1_001] {
            // The first report may still count own requests.
            let others = reported_full(&place, report);
            simulation.core.apply(&[others.set()], simulation.now);
        }
        simulation.run_turn(0);
        let next = simulation.conversations[0].last_replica().to_owned();
        assert_ne!(place, next);
        simulation.run(2);
        assert_eq!(simulation.moves(), 1, "{}", simulation.strategy);
        // The next replica refuses connections.
        let mut held = Vec::new();
        let unreachable = loop {
            let grant = take(&mut simulation.core, simulation.now);
            if replica_of(&grant) == next {
                break grant;
            }
            held.push(grant);
        };
        let ending = RequestEnd::Failed(EndpointFailure::Unreachable);
        simulation
            .core
            .release(&unreachable, ending, simulation.now, 0.0);
        for grant in held {
            simulation
                .core
                .release(&grant, RequestEnd::Abandoned, simulation.now, 0.0);
        }
        let _ = simulation.core.take_effects();
        for number in 0..3 {
            simulation.turns[number] = 1;
            simulation.request(number);
            assert_ne!(simulation.conversations[number].last_replica(), next);
        }
    }
}

// spec: PLACE-30
proptest! {
    #[test]
    fn no_replica_gets_more_than_its_fair_share_of_conversations(
        slots in prop::collection::vec(1..9_u32, 1..6),
        sessions in 1..60_u32,
        by_prompt in any::<bool>(),
    ) {
        let endpoints = (0..).zip(&slots);
        let endpoints = endpoints.map(|(n, slots)| replica(&format!("r{n}"), *slots));
        let mut core = core(&endpoints.collect::<Vec<_>>());
        let all: u32 = slots.iter().sum();
        let mut counts = BTreeMap::new();
        for session in 0..sessions {
            let affinity = Affinity {
                session: Some(session_key(&session.to_string())),
                blocks: vec![u64::from(session)],
            };
            let preference = Arc::new(RoutingPreference {
                strategy: if by_prompt { Strategy::Prefix } else { Strategy::Session },
                pin: None,
                affinity, ..RoutingPreference::default() });
            let request = AcquireRequest { preference: &preference, ..request("m") };
            let grant = granted(core.acquire(&request, MS, || 0));
            *counts.entry(replica_of(&grant).to_owned()).or_insert(0) += 1;
            core.release(&grant, RequestEnd::Served, MS, 0.0);
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
fn a_session_with_two_models_is_two_conversations() {
    let with = |name: &str, model: &str| TestEndpoint {
        models: Some(vec![model.to_owned()]),
        ..replica(name, 4)
    };
    let mut core = core(&[
        with("r0", "x"),
        with("r1", "x"),
        with("r2", "y"),
        with("r3", "y"),
    ]);
    let preference = Arc::new(RoutingPreference {
        strategy: Strategy::Session,
        pin: None,
        affinity: Affinity {
            session: Some(7),
            blocks: Vec::new(),
        },
        ..RoutingPreference::default()
    });
    let mut replicas = BTreeSet::new();
    for _ in 0..5 {
        for model in ["x", "y"] {
            let request = AcquireRequest {
                preference: &preference,
                ..request(model)
            };
            let grant = granted(core.acquire(&request, MS, || 0));
            replicas.insert(replica_of(&grant).to_owned());
            core.release(&grant, RequestEnd::Served, MS, 0.0);
        }
    }
    assert_eq!(replicas.len(), 2, "{replicas:?}");
}

// spec: SLOT-30, PLACE-36
#[test]
fn a_conversation_moves_to_the_replica_that_the_node_used() {
    for strategy in [Strategy::Session, Strategy::Prefix] {
        let mut core = core(&[replica("r0", 4), replica("r1", 4)]);
        let preference = |blocks: &[u64]| {
            Arc::new(RoutingPreference {
                strategy,
                pin: None,
                affinity: Affinity {
                    session: Some(7),
                    blocks: blocks.to_vec(),
                },
                ..RoutingPreference::default()
            })
        };
        let mut now = MS;
        let mut turn = |blocks: &[u64], used: Option<&str>| {
            now += S;
            let preference = preference(blocks);
            let mut grant = granted(core.acquire(
                &AcquireRequest {
                    preference: &preference,
                    ..request("m")
                },
                now,
                || 0,
            ));
            let hinted = replica_of(&grant).to_owned();
            let used = used.map(|used| used.parse().unwrap());
            core.response_started(&mut grant, used.as_ref(), None, now);
            core.release(&grant, RequestEnd::Served, now, 0.0);
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

// spec: PLACE-37
#[test]
fn a_prompt_prefix_belongs_to_the_replica_that_the_node_used() {
    let prompt = |blocks: &[u64]| {
        Arc::new(RoutingPreference {
            strategy: Strategy::Prefix,
            pin: None,
            affinity: Affinity {
                session: None,
                blocks: blocks.to_vec(),
            },
            ..RoutingPreference::default()
        })
    };
    for used in ["r1", "unknown"] {
        let mut core = core(&[replica("r0", 4), replica("r1", 4)]);
        let mut turn = |blocks: &[u64], used: Option<&str>| {
            let preference = prompt(blocks);
            let request = AcquireRequest {
                preference: &preference,
                ..request("m")
            };
            let mut grant = granted(core.acquire(&request, MS, || 0));
            let hinted = replica_of(&grant).to_owned();
            let used = used.map(|used| used.parse().unwrap());
            core.response_started(&mut grant, used.as_ref(), None, MS);
            core.release(&grant, RequestEnd::Served, MS, 0.0);
            hinted
        };
        // r0 has really seen the first five blocks, and not the next five.
        assert_eq!(turn(&[1, 2, 3, 4, 5], None), "r0");
        let long: Vec<u64> = (1..=10).collect();
        assert_eq!(turn(&long, Some(used)), "r0");
        let match_of = |blocks: &[u64], name: &str| {
            let hash = replica(name, 4).endpoint().hash();
            core.prefixes.find(blocks).part_seen_by(hash, 10)
        };
        assert_eq!(match_of(&long, "r0"), 5, "{used}");
        assert_eq!(match_of(&long, "r1"), if used == "r1" { 10 } else { 0 });
    }
}
