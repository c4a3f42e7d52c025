//! Random events against a model that is simple enough to be believed: after each, the registry must agree with it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{World, beat, id, pool, pool_id, register, secs, store::Store};
use pool_registry_types::{NodeId, NodeStatus, PoolStatus};
use proptest::prelude::*;
use routing_table::Availability;
use service_registry::{Delta, HeartbeatOutcome, RegistryError, Target};

const TIMEOUT: Duration = Duration::from_secs(30);
const NODES: [&str; 5] = ["a", "b", "c", "d", "e"];
const MACHINES: [&str; 2] = ["machine-a", "machine-b"];
const POOLS: [&str; 2] = ["pool-0", "pool-1"];

#[derive(Debug, Clone)]
enum Event {
    Wait(u64),
    Register(usize, usize, Option<u64>),
    Heartbeat(usize, Option<u64>, Option<u64>, Vec<(bool, bool)>),
    Deregister(usize, Option<u64>),
    Drain(usize, Option<usize>, bool),
    Probe(usize, Option<u64>, bool),
}

fn incarnation() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![8 => Just(Some(1)), 1 => Just(None), 1 => Just(Some(0)), 2 => Just(Some(2))]
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 0..NODES.len();
    let pools = proptest::collection::vec((prop::bool::weighted(0.8), prop::bool::weighted(0.2)), 0..=2);
    prop_oneof![
        4 => prop_oneof![0..3000_u64, 3000..12_000_u64].prop_map(Event::Wait),
        5 => (node(), prop_oneof![9 => Just(0), 1 => Just(1)], incarnation())
            .prop_map(|(n, m, i)| Event::Register(n, m, i)),
        8 => (node(), incarnation(), proptest::option::of(0..6_u64), pools)
            .prop_map(|(n, i, s, p)| Event::Heartbeat(n, i, s, p)),
        1 => (node(), incarnation()).prop_map(|(n, i)| Event::Deregister(n, i)),
        2 => (node(), proptest::option::of(0..POOLS.len()), any::<bool>())
            .prop_map(|(n, p, on)| Event::Drain(n, p, on)),
        4 => (node(), incarnation(), prop::bool::weighted(0.3)).prop_map(|(n, i, ok)| Event::Probe(n, i, ok)),
    ]
}

#[derive(Debug, Clone)]
struct Node {
    machine: usize,
    incarnation: Option<u64>,
    seq: Option<u64>,
    heard: Duration,
    failed: u32,
    reported: bool,
    /// Name, ready, draining.
    pools: Vec<(usize, bool, bool)>,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Accepted,
    Ignored,
    Unknown,
    UnknownPool,
    Stale,
    Conflict,
}

impl From<&RegistryError> for Verdict {
    fn from(error: &RegistryError) -> Self {
        match error {
            RegistryError::UnknownNode { .. } => Self::Unknown,
            RegistryError::UnknownPool { .. } => Self::UnknownPool,
            RegistryError::StaleIncarnation { .. } => Self::Stale,
            RegistryError::NodeIdConflict { .. } => Self::Conflict,
            other => unreachable!("{other}"),
        }
    }
}

#[derive(Debug, Default)]
struct Model {
    now: Duration,
    nodes: BTreeMap<usize, Node>,
    drains: BTreeSet<(usize, Option<usize>)>,
}

impl Model {
    fn offline(&self, node: &Node) -> bool {
        self.now >= node.heard + TIMEOUT
    }

    fn drained(&self, n: usize, pool: usize) -> bool {
        self.drains.contains(&(n, None)) || self.drains.contains(&(n, Some(pool)))
    }

    fn status(&self, n: usize, node: &Node) -> NodeStatus {
        let drains = |&(pool, _, draining): &(usize, bool, bool)| draining || self.drained(n, pool);
        if self.offline(node) {
            NodeStatus::Offline
        } else if node.failed >= 2 {
            NodeStatus::Unreachable
        } else if self.drains.contains(&(n, None))
            || (!node.pools.is_empty() && node.pools.iter().all(drains))
        {
            NodeStatus::Draining
        } else {
            NodeStatus::Online
        }
    }

    fn apply(&mut self, event: &Event) -> Verdict {
        match event {
            Event::Wait(ms) => {
                self.now += Duration::from_millis(*ms);
                Verdict::Accepted
            }
            Event::Register(n, machine, incarnation) => self.register(*n, *machine, *incarnation),
            Event::Heartbeat(n, incarnation, seq, pools) => self.heartbeat(*n, *incarnation, *seq, pools),
            Event::Deregister(n, incarnation) => match self.nodes.get(n) {
                Some(node) if older(node.incarnation, *incarnation) => Verdict::Stale,
                Some(node) if !older(*incarnation, node.incarnation) => {
                    self.nodes.remove(n);
                    Verdict::Accepted
                }
                _ => Verdict::Unknown,
            },
            Event::Drain(n, pool, on) => self.drain(*n, *pool, *on),
            Event::Probe(n, incarnation, ok) => {
                if let Some(node) = self.nodes.get_mut(n)
                    && node.incarnation == *incarnation
                {
                    node.failed = if *ok { 0 } else { node.failed + 1 };
                }
                Verdict::Accepted
            }
        }
    }

    fn register(&mut self, n: usize, machine: usize, incarnation: Option<u64>) -> Verdict {
        let now = self.now;
        let fresh = Node {
            machine,
            incarnation,
            seq: None,
            heard: now,
            failed: 0,
            reported: false,
            pools: vec![(0, false, false)],
        };
        let Some(known) = self.nodes.get(&n).cloned() else {
            self.nodes.insert(n, fresh);
            return Verdict::Accepted;
        };
        let offline = self.offline(&known);
        if known.machine != machine && !offline {
            return Verdict::Conflict;
        }
        if known.machine == machine && older(known.incarnation, incarnation) {
            return Verdict::Stale;
        }
        let same_life = known.machine == machine && known.incarnation == incarnation;
        let node = if same_life {
            Node {
                heard: now,
                reported: known.reported && !offline,
                ..known
            }
        } else {
            let mut pools: Vec<_> = known.pools.iter().map(|pool| (pool.0, false, false)).collect();
            if pools.iter().all(|pool| pool.0 != 0) {
                pools.push((0, false, false));
            }
            Node { pools, ..fresh }
        };
        self.nodes.insert(n, node);
        Verdict::Accepted
    }

    fn heartbeat(
        &mut self,
        n: usize,
        incarnation: Option<u64>,
        seq: Option<u64>,
        pools: &[(bool, bool)],
    ) -> Verdict {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&n) else {
            return Verdict::Unknown;
        };
        if older(node.incarnation, incarnation) {
            return Verdict::Stale;
        }
        if older(incarnation, node.incarnation) {
            return Verdict::Unknown;
        }
        if node.incarnation.is_some() && incarnation.is_some() {
            if seq.is_some() && seq <= node.seq {
                return Verdict::Ignored;
            }
            node.seq = seq.or(node.seq);
        }
        node.heard = now;
        node.reported = true;
        node.pools = pools
            .iter()
            .enumerate()
            .map(|(i, &(ready, draining))| (i, ready, draining))
            .collect();
        Verdict::Accepted
    }

    fn drain(&mut self, n: usize, pool: Option<usize>, on: bool) -> Verdict {
        let wished = self.drains.contains(&(n, pool));
        let known = match (self.nodes.get(&n), pool) {
            (None, _) => Verdict::Unknown,
            (Some(node), Some(pool)) if node.pools.iter().all(|known| known.0 != pool) => {
                Verdict::UnknownPool
            }
            _ => Verdict::Accepted,
        };
        if !on && wished {
            self.drains.remove(&(n, pool));
            return Verdict::Accepted;
        }
        if on && known == Verdict::Accepted {
            self.drains.insert((n, pool));
        }
        known
    }
}

fn older(known: Option<u64>, got: Option<u64>) -> bool {
    matches!((known, got), (Some(known), Some(got)) if got < known)
}

fn reported(pools: &[(bool, bool)]) -> Vec<PoolStatus> {
    POOLS
        .iter()
        .zip(pools)
        .map(|(name, &(ready, draining))| PoolStatus {
            ready,
            draining,
            ..pool(name)
        })
        .collect()
}

fn apply(world: &mut World, event: &Event) -> Verdict {
    fn told<T>(result: Result<T, RegistryError>) -> Verdict {
        result.map_or_else(|error| Verdict::from(&error), |_| Verdict::Accepted)
    }
    match event {
        Event::Wait(ms) => {
            let then = world.now + Duration::from_millis(*ms);
            world.wait_until(then);
            Verdict::Accepted
        }
        Event::Register(n, machine, incarnation) => {
            told(world.register_as(register(NODES[*n], MACHINES[*machine], *incarnation)))
        }
        Event::Heartbeat(n, incarnation, seq, pools) => {
            match world.beat_as(NODES[*n], beat(*incarnation, *seq, reported(pools))) {
                Ok(HeartbeatOutcome::Ignored) => Verdict::Ignored,
                other => told(other),
            }
        }
        Event::Deregister(n, incarnation) => {
            told(world.registry.deregister(&id(NODES[*n]), *incarnation, world.now))
        }

        Event::Drain(n, pool, on) => {
            let target = match pool {
                None => Target::Node(id(NODES[*n])),
                Some(pool) => Target::Pool(id(NODES[*n]), pool_id(POOLS[*pool])),
            };
            told(if *on {
                world.drain(&target)
            } else {
                world.undrain(&target)
            })
        }
        Event::Probe(n, incarnation, ok) => {
            let result = if *ok { Ok(()) } else { Err("refused".to_owned()) };
            world
                .registry
                .probe(&id(NODES[*n]), *incarnation, result, world.now);
            Verdict::Accepted
        }
    }
}

/// Who reads only the deltas must know the same statuses as who reads the registry.
fn follow(seen: &mut BTreeMap<NodeId, NodeStatus>, deltas: Vec<Delta>) {
    for delta in deltas {
        match delta {
            Delta::Joined { node_id, .. } => {
                assert_eq!(seen.insert(node_id, NodeStatus::Online), None);
            }
            Delta::StatusChanged {
                node_id, from, to, ..
            } => {
                assert_ne!(from, to);
                assert_eq!(seen.insert(node_id, to), Some(from));
            }
            Delta::Left { node_id, .. } => assert!(seen.remove(&node_id).is_some()),
            _ => {}
        }
    }
}

fn agree(world: &World, model: &Model) {
    let snapshot = world.registry.snapshot();
    assert_eq!(snapshot.nodes.len(), model.nodes.len());
    for (&n, node) in &model.nodes {
        let view = snapshot.get(&id(NODES[n])).unwrap();
        assert_eq!(view.status, model.status(n, node), "{}", NODES[n]);
        assert_eq!(
            (view.last_heard, view.incarnation),
            (node.heard, node.incarnation)
        );
        let lost = matches!(view.status, NodeStatus::Offline | NodeStatus::Unreachable);
        assert!(lost || !view.held, "only who is lost is held");
        assert_eq!(view.pools.len(), node.pools.len());
        for &(pool, ready, draining) in &node.pools {
            let availability = &view.pool(&pool_id(POOLS[pool])).unwrap().availability;
            let serves = node.reported && ready && !draining && !model.drained(n, pool);
            let expected = serves && (!lost || view.held);
            assert_eq!(*availability == Availability::Ready, expected, "{availability:?}");
        }
        if !model.offline(node) {
            assert!(world.registry.next_deadline().unwrap() <= node.heard + TIMEOUT);
        }
    }
    let shown: Vec<_> = snapshot
        .nodes
        .iter()
        .flat_map(|node| &node.pools)
        .map(|pool| pool.availability.clone())
        .collect();
    let routed: Vec<_> = world
        .registry
        .endpoints()
        .into_iter()
        .map(|endpoint| endpoint.availability)
        .collect();
    assert_eq!(shown, routed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    // spec: LIVE-12
    #[test]
    fn the_registry_agrees_with_the_model(events in proptest::collection::vec(event(), 1..120)) {
        let mut world = World::new();
        let mut model = Model::default();
        let mut seen = BTreeMap::new();
        let mut store = Store::default();
        for event in &events {
            world.registry.tick(world.now);
            follow(&mut seen, world.deltas());
            let before = world.registry.clone();
            let verdict = apply(&mut world, event);
            prop_assert_eq!(&verdict, &model.apply(event), "{:?}", event);
            if verdict != Verdict::Accepted {
                prop_assert_eq!(&world.registry, &before, "{:?} was {:?}", event, verdict);
            }
            if !matches!(event, Event::Wait(_)) && world.registry.revision() == before.revision() {
                prop_assert_eq!(world.registry.snapshot(), before.snapshot());
                prop_assert_eq!(world.registry.endpoints(), before.endpoints());
            }
            follow(&mut seen, world.deltas());
            agree(&world, &model);
            store.follow(&mut world);
            store.agree(&world);
            prop_assert_eq!(
                seen.keys().cloned().collect::<Vec<_>>(),
                model.nodes.keys().map(|&n| id(NODES[n])).collect::<Vec<_>>()
            );
        }
        // And in the end silence makes everybody offline, and not a moment too early.
        let last = model.nodes.values().map(|node| node.heard + TIMEOUT).max();
        if let Some(last) = last.filter(|last| *last > world.now) {
            world.wait_until(last - Duration::from_millis(1));
            let nodes = world.registry.snapshot().nodes;
            prop_assert!(nodes.iter().any(|node| node.status != NodeStatus::Offline));
            world.wait_until(last);
        }
        for node in world.registry.snapshot().nodes {
            prop_assert_eq!(node.status, NodeStatus::Offline);
        }
        // Nor does a store lose anybody.
        let mut next = World::new();
        next.registry.restore(world.registry.known(), secs(1));
        prop_assert_eq!(next.registry.known(), world.registry.known());
    }
}
