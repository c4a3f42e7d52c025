//! Random events against a model that is simple enough to be believed: after each, the registry
//! must agree with it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{World, beat, id, pool, pool_id, register, secs, store::Store};
use pool_registry_types::{
    NodeId, NodeStatus, PoolStatus, RegisterRequest, ReplicaId, ReplicaStatus,
};
use proptest::prelude::*;
use routing_table::{EndpointKey, EndpointState};
use service_registry::{Delta, HeartbeatOutcome, NodeFilter, Registry, RegistryError, Target};

const TIMEOUT: Duration = Duration::from_secs(30);
const NODES: [&str; 5] = ["a", "b", "c", "d", "e"];
const MACHINES: [&str; 2] = ["machine-a", "machine-b"];
const POOLS: [&str; 2] = ["pool-0", "pool-1"];

#[derive(Debug, Clone)]
enum Event {
    Wait(u64),
    /// With a node, a machine, an incarnation, and whether it takes a hint which replica to use.
    Register(usize, usize, Option<u64>, bool),
    Heartbeat(usize, Option<u64>, Option<u64>, Vec<Pool>),
    Deregister(usize, Option<u64>),
    Drain(usize, Option<usize>, bool),
    Probe(usize, Option<u64>, bool),
}

/// What a node says of a pool.
#[derive(Debug, Clone, PartialEq)]
struct Pool {
    ready: bool,
    draining: bool,
    /// Ready, draining, generation.
    replicas: Vec<(bool, bool, u64)>,
}

fn incarnation() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![8 => Just(Some(1)), 1 => Just(None), 1 => Just(Some(0)), 2 => Just(Some(2))]
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 0..NODES.len();
    let flags = || (prop::bool::weighted(0.8), prop::bool::weighted(0.2));
    let replicas = proptest::collection::vec((flags(), 0..3_u64), 0..=2);
    let pool = (flags(), replicas).prop_map(|((ready, draining), replicas)| Pool {
        ready,
        draining,
        replicas: replicas
            .into_iter()
            .map(|((ready, draining), g)| (ready, draining, g))
            .collect(),
    });
    let pools = proptest::collection::vec(pool, 0..=2);
    prop_oneof![
        4 => prop_oneof![0..3000_u64, 3000..12_000_u64].prop_map(Event::Wait),
        5 => (node(), prop_oneof![9 => Just(0), 1 => Just(1)], incarnation(),
            prop::bool::weighted(0.7))
            .prop_map(|(n, m, i, hint)| Event::Register(n, m, i, hint)),
        8 => (node(), incarnation(), proptest::option::of(0..6_u64), pools)
            .prop_map(|(n, i, s, p)| Event::Heartbeat(n, i, s, p)),
        1 => (node(), incarnation()).prop_map(|(n, i)| Event::Deregister(n, i)),
        2 => (node(), proptest::option::of(0..POOLS.len()), any::<bool>())
            .prop_map(|(n, p, on)| Event::Drain(n, p, on)),
        4 => (node(), incarnation(), prop::bool::weighted(0.3)).prop_map(|(n, i,
            ok)| Event::Probe(n, i, ok)),
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
    takes_hint: bool,
    /// By name.
    pools: Vec<(usize, Pool)>,
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
        let drains = |(name, pool): &(usize, Pool)| pool.draining || self.drained(n, *name);
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
            Event::Register(n, machine, incarnation, hint) => {
                self.register(*n, *machine, *incarnation, *hint)
            }
            Event::Heartbeat(n, incarnation, seq, pools) => {
                self.heartbeat(*n, *incarnation, *seq, pools)
            }
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

    fn register(
        &mut self,
        n: usize,
        machine: usize,
        incarnation: Option<u64>,
        takes_hint: bool,
    ) -> Verdict {
        let now = self.now;
        let fresh = Node {
            machine,
            incarnation,
            seq: None,
            heard: now,
            failed: 0,
            reported: false,
            takes_hint,
            pools: vec![(0, Pool::expected(&[]))],
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
                takes_hint,
                ..known
            }
        } else {
            let before = known.pools.iter();
            let mut pools: Vec<_> = before
                .map(|(name, pool)| (*name, Pool::expected(&pool.replicas)))
                .collect();
            if pools.iter().all(|pool| pool.0 != 0) {
                pools.push((0, Pool::expected(&[])));
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
        pools: &[Pool],
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
        node.pools = pools.iter().cloned().enumerate().collect();
        Verdict::Accepted
    }

    fn drain(&mut self, n: usize, pool: Option<usize>, on: bool) -> Verdict {
        let drained = self.drains.contains(&(n, pool));
        let known = match (self.nodes.get(&n), pool) {
            (None, _) => Verdict::Unknown,
            (Some(node), Some(pool)) if node.pools.iter().all(|known| known.0 != pool) => {
                Verdict::UnknownPool
            }
            _ => Verdict::Accepted,
        };
        if !on && drained {
            self.drains.remove(&(n, pool));
            return Verdict::Accepted;
        }
        if on && known == Verdict::Accepted {
            self.drains.insert((n, pool));
        }
        known
    }
}

fn replica_id(i: usize) -> ReplicaId {
    ReplicaId::new(&format!("r{i}")).unwrap()
}

impl Pool {
    /// As the next start of its node finds it.
    fn expected(replicas: &[(bool, bool, u64)]) -> Self {
        Self {
            ready: false,
            draining: false,
            replicas: vec![(false, false, 0); replicas.len()],
        }
    }
}

fn older(known: Option<u64>, got: Option<u64>) -> bool {
    matches!((known, got), (Some(known), Some(got)) if got < known)
}

fn reported(pools: &[Pool]) -> Vec<PoolStatus> {
    let replica =
        |(i, &(ready, draining, generation)): (usize, &(bool, bool, u64))| ReplicaStatus {
            ready,
            draining,
            generation: Some(generation),
            ..ReplicaStatus::new(replica_id(i))
        };
    POOLS
        .iter()
        .zip(pools)
        .map(|(name, said)| PoolStatus {
            ready: said.ready,
            draining: said.draining,
            replicas: Some(said.replicas.iter().enumerate().map(replica).collect()),
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
        Event::Register(n, machine, incarnation, takes_replica_hint) => {
            told(world.register_as(RegisterRequest {
                takes_replica_hint: *takes_replica_hint,
                ..register(NODES[*n], MACHINES[*machine], *incarnation)
            }))
        }
        Event::Heartbeat(n, incarnation, seq, pools) => {
            match world.beat_as(NODES[*n], beat(*incarnation, *seq, reported(pools))) {
                Ok(HeartbeatOutcome::Ignored) => Verdict::Ignored,
                other => told(other),
            }
        }
        Event::Deregister(n, incarnation) => told(world.registry.deregister(
            &id(NODES[*n]),
            *incarnation,
            world.now,
        )),

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
            let result = if *ok {
                Ok(())
            } else {
                Err("refused".to_owned())
            };
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
    assert_eq!(world.nodes().len(), model.nodes.len());
    let mut expected_routes = BTreeMap::new();
    for (&n, node) in &model.nodes {
        let view = world.node(NODES[n]);
        assert_eq!(view.status, model.status(n, node), "{}", NODES[n]);
        assert_eq!(
            (view.last_heard, view.incarnation),
            (node.heard, node.incarnation)
        );
        let lost = matches!(view.status, NodeStatus::Offline | NodeStatus::Unreachable);
        assert!(lost || !view.held, "only who is lost is held");
        assert_eq!(view.pools.len(), node.pools.len());
        for (name, pool) in &node.pools {
            let shown = view.pool(&pool_id(POOLS[*name])).unwrap();
            let state = |ready: bool, draining: bool| {
                if (lost && !view.held) || !node.reported {
                    EndpointState::NotReady
                } else if pool.draining || model.drained(n, *name) || draining {
                    EndpointState::Draining
                } else if ready {
                    EndpointState::Ready
                } else {
                    EndpointState::NotReady
                }
            };
            assert_eq!(
                common::state(&shown.availability),
                state(pool.ready, false),
                "{shown:?}"
            );
            let key = |replica| EndpointKey {
                node: id(NODES[n]),
                pool: pool_id(POOLS[*name]),
                replica,
            };
            let incarnation = node.incarnation.unwrap_or(0);
            let endpoints: Vec<_> = if node.takes_hint && !pool.replicas.is_empty() {
                let replicas = pool.replicas.iter().enumerate();
                let endpoint =
                    |(i, &(ready, draining, generation)): (usize, &(bool, bool, u64))| {
                        (
                            key(Some(replica_id(i))),
                            (incarnation, generation, state(ready, draining)),
                        )
                    };
                replicas.map(endpoint).collect()
            } else {
                vec![(key(None), (incarnation, 0, state(pool.ready, false)))]
            };
            assert!(
                shown
                    .endpoints
                    .iter()
                    .eq(endpoints.iter().map(|(key, _)| key))
            );
            expected_routes.extend(endpoints);
        }
        if !model.offline(node) {
            assert!(world.registry.next_deadline().unwrap() <= node.heard + TIMEOUT);
        }
    }
    let routes = world.routes().by_key.into_iter();
    let routes: BTreeMap<_, _> = routes
        .map(|(key, (endpoint, report))| {
            (
                key,
                (endpoint.incarnation(), endpoint.generation(), report.state),
            )
        })
        .collect();
    assert_eq!(routes, expected_routes);
    let with_status = |status| {
        world
            .nodes()
            .iter()
            .filter(|node| node.status == status)
            .count()
    };
    let summary = world.registry.summary();
    for status in [
        NodeStatus::Online,
        NodeStatus::Draining,
        NodeStatus::Unreachable,
        NodeStatus::Offline,
    ] {
        assert_eq!(summary.with_status(status), with_status(status));
    }
    assert_eq!(
        summary.pools,
        model
            .nodes
            .values()
            .map(|node| node.pools.len())
            .sum::<usize>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    // spec: LIVE-12, LIVE-36
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
                let all = |registry: &Registry| registry.page(None, usize::MAX,
                    &NodeFilter::default());
                prop_assert_eq!(all(&world.registry), all(&before));
                prop_assert_eq!(&world.routes(), &world.routes);
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
            let nodes = world.nodes();
            prop_assert!(nodes.iter().any(|node| node.status != NodeStatus::Offline));
            world.wait_until(last);
        }
        for node in world.nodes() {
            prop_assert_eq!(node.status, NodeStatus::Offline);
        }
        // Nor does a store lose anybody.
        let mut next = World::new();
        next.registry.restore(world.registry.persisted_nodes(), secs(1));
        prop_assert_eq!(next.registry.persisted_nodes(), world.registry.persisted_nodes());
    }
}
