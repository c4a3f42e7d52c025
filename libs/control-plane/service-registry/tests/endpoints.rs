//! What the data path is told: the endpoints of a node, and of each event exactly what it changed.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::sync::Arc;

use common::{World, beat, id, model_names, pool, pool_id, register, secs};
use pool_registry_types::{HttpUrl, PoolStatus, RegisterRequest, ReplicaId, ReplicaStatus, Slots};
use routing_table::{EndpointState, RouteChange};
use service_registry::{HeartbeatOutcome, SUSPICION_MAX, Target};

fn replica(name: &str) -> ReplicaStatus {
    let mut replica =
        ReplicaStatus::new(ReplicaId::new(name).unwrap()).with_slots(Slots::clamped(3, 4));
    replica.ready = true;
    replica.generation = Some(7);
    replica
}

fn with_replicas(replicas: Vec<ReplicaStatus>) -> PoolStatus {
    let mut status = pool("pool-0");
    status.replicas = Some(replicas);
    status
}

/// A node of this version.
fn hinted(node: &str, incarnation: u64) -> RegisterRequest {
    let mut request = register(node, "machine-a", Some(incarnation));
    request.takes_replica_hint = true;
    request
}

/// Two nodes, each with two replicas in one pool, of which everything is told.
fn world() -> World {
    let mut world = World::new();
    for node in ["a", "b"] {
        world.register_as(hinted(node, 1)).unwrap();
        report(
            &mut world,
            node,
            vec![with_replicas(vec![replica("r0"), replica("r1")])],
        );
    }
    world.deltas();
    world
}

fn report(world: &mut World, node: &str, pools: Vec<PoolStatus>) -> HeartbeatOutcome {
    world.beat_as(node, beat(Some(1), None, pools)).unwrap()
}

/// Does `event`, and says what the data path was told of it: the names of endpoints with their
/// states, or that they are gone.
fn told(world: &mut World, event: impl FnOnce(&mut World)) -> Vec<String> {
    world.deltas();
    event(world);
    world.routes.last.clear();
    world.deltas();
    let told = world.routes.last.iter();
    told.map(|change| match change {
        RouteChange::Set(endpoint, report) => format!("{} {:?}", endpoint.key(), report.state),
        RouteChange::Remove(endpoint) => format!("{} gone", endpoint.key()),
    })
    .collect()
}

const NOTHING: [&str; 0] = [];

// spec: LIVE-34
#[test]
fn each_replica_is_an_endpoint_of_its_own() {
    let mut world = World::new();
    assert_eq!(
        told(&mut world, |world| {
            world.register_as(hinted("a", 1)).unwrap();
        }),
        ["a/pool-0 NotReady"],
        "its replicas are unknown"
    );
    let replicas = vec![
        {
            let mut replica = replica("r0");
            replica.models = Some(model_names(&["own"]));
            replica
        },
        {
            let mut replica = replica("r1").with_slots(Slots::clamped(0, 4));
            replica.ready = false;
            replica
        },
        {
            let mut replica = replica("r2");
            replica.draining = true;
            replica
        },
        {
            let mut replica = replica("r3");
            replica.load.sleeping = Some(true);
            replica
        },
    ];
    assert_eq!(
        told(&mut world, |world| {
            report(world, "a", vec![with_replicas(replicas)]);
        }),
        [
            "a/pool-0/r0 Ready",
            "a/pool-0/r1 NotReady",
            "a/pool-0/r2 Draining",
            "a/pool-0/r3 ScaledToZero",
            // After the others, so that there is always one.
            "a/pool-0 gone",
        ]
    );
    let endpoints = world.endpoints();
    let models = |i: usize| endpoints[i].0.models().map(|models| models.to_vec());
    assert_eq!((models(0), models(1)), (Some(model_names(&["own"])), None));
    let (endpoint, report) = &endpoints[0];
    assert_eq!((endpoint.incarnation(), endpoint.generation()), (1, 7));
    assert_eq!(
        endpoint.target().to_string(),
        "http://a:9200/v2/pools/pool-0/engine"
    );
    assert_eq!((report.slots_free, report.slots_total), (3, 4));
    let node = world.node("a");
    assert_eq!(node.pools[0].endpoints.len(), 4);
}

// spec: LIVE-34
#[test]
fn where_replicas_are_not_told_or_not_chosen_the_pool_is_the_endpoint() {
    // An agent of version 0.1.0 tells its replicas and takes no hint.
    let mut world = World::new();
    world.register("a").unwrap();
    report(
        &mut world,
        "a",
        vec![with_replicas(vec![replica("r0"), replica("r1")])],
    );
    let (endpoint, of_pool) = world.endpoints().remove(0);
    assert_eq!(
        (endpoint.key().to_string(), endpoint.generation()),
        ("a/pool-0".to_owned(), 0)
    );
    assert_eq!(
        (of_pool.slots_free, of_pool.slots_total),
        (3, 4),
        "the pool's own numbers"
    );
    // It is upgraded: the same start cannot be, but a registration says what counts.
    world.deltas();
    assert_eq!(
        told(&mut world, |world| {
            world.register_as(hinted("a", 1)).unwrap();
        }),
        ["a/pool-0/r0 Ready", "a/pool-0/r1 Ready", "a/pool-0 gone"]
    );
    // No engine is left, and later there is one again.
    let empty = |world: &mut World| {
        report(world, "a", vec![with_replicas(vec![])]);
    };
    assert_eq!(
        told(&mut world, empty),
        ["a/pool-0 Ready", "a/pool-0/r0 gone", "a/pool-0/r1 gone"]
    );
    assert_eq!(
        told(&mut world, |world| {
            report(world, "a", vec![with_replicas(vec![replica("r1")])]);
        }),
        ["a/pool-0/r1 Ready", "a/pool-0 gone"]
    );
}

// spec: LIVE-33
#[test]
fn an_event_tells_what_it_changed_of_its_node_and_nothing_else() {
    let mut world = world();
    let both = |state: &str| {
        [
            format!("a/pool-0/r0 {state}"),
            format!("a/pool-0/r1 {state}"),
        ]
    };
    let target = Target::Node(id("a"));
    let of_pool = Target::Pool(id("a"), pool_id("pool-0"));
    // Probes that say what is known, and drains of what is drained, tell nothing.
    assert_eq!(told(&mut world, |world| world.probe("a", true)), NOTHING);
    assert_eq!(told(&mut world, |world| world.probe("a", false)), NOTHING);
    assert_eq!(
        told(&mut world, |world| world.probe("a", false)),
        both("NotReady")
    );
    assert_eq!(
        told(&mut world, |world| world.probe("a", true)),
        both("Ready")
    );
    assert_eq!(
        told(&mut world, |world| world.drain(&target).unwrap()),
        both("Draining")
    );
    assert_eq!(
        told(&mut world, |world| world.drain(&of_pool).unwrap()),
        NOTHING
    );
    assert_eq!(
        told(&mut world, |world| world.undrain(&target).unwrap()),
        NOTHING
    );
    assert_eq!(
        told(&mut world, |world| world.undrain(&of_pool).unwrap()),
        both("Ready")
    );
    // One of two replicas.
    let mut one = with_replicas(vec![replica("r0"), replica("r1")]);
    one.replicas.as_mut().unwrap()[1].draining = true;
    assert_eq!(
        told(&mut world, |world| {
            report(world, "a", vec![one.clone()]);
        }),
        ["a/pool-0/r0 Ready", "a/pool-0/r1 Draining"],
        "both have a new report"
    );
    assert_eq!(
        told(&mut world, |world| {
            world.wait_with(secs(29), &[]);
            world.wait_until(secs(30));
        }),
        [
            "a/pool-0/r0 NotReady",
            "a/pool-0/r1 NotReady",
            "b/pool-0/r0 NotReady",
            "b/pool-0/r1 NotReady"
        ]
    );
    assert_eq!(
        told(&mut world, |world| {
            report(world, "a", vec![one.clone()]);
        }),
        ["a/pool-0/r0 Ready", "a/pool-0/r1 Draining"]
    );
    assert_eq!(
        told(&mut world, |world| {
            world
                .registry
                .deregister(&id("a"), None, world.now)
                .unwrap();
        }),
        ["a/pool-0/r0 gone", "a/pool-0/r1 gone"]
    );
}

// spec: LIVE-33
#[test]
fn a_lasting_fact_makes_an_endpoint_anew_and_nothing_else_does() {
    type Edit = fn(&mut PoolStatus);
    let kept: [Edit; 4] = [
        |pool| pool.replicas.as_mut().unwrap()[0].set_slots(Slots::clamped(0, 4)),
        |pool| pool.replicas.as_mut().unwrap()[0].ready = false,
        |pool| pool.vram_free_bytes = 9,
        |pool| pool.replicas.as_mut().unwrap().reverse(),
    ];
    let made_anew: [Edit; 3] = [
        |pool| pool.replicas.as_mut().unwrap()[0].generation = Some(8),
        |pool| pool.replicas.as_mut().unwrap()[0].models = Some(model_names(&["other"])),
        |pool| pool.models_available = Some(model_names(&["other"])),
    ];
    let edits = kept
        .map(|edit| (edit, true))
        .into_iter()
        .chain(made_anew.map(|edit| (edit, false)));
    for (i, (edit, is_kept)) in edits.enumerate() {
        let mut world = world();
        let before = world.endpoints();
        let mut status = with_replicas(vec![replica("r0"), replica("r1")]);
        edit(&mut status);
        report(&mut world, "a", vec![status]);
        let after = world.endpoints();
        assert_eq!(Arc::ptr_eq(&before[0].0, &after[0].0), is_kept, "edit {i}");
        assert!(before[0].1.number < after[0].1.number);
        assert!(
            Arc::ptr_eq(&before[2].0, &after[2].0),
            "that of the other node"
        );
    }
    // Its models in another order are the same.
    let mut world = world();
    let named = |models: [&str; 2]| {
        let mut status = with_replicas(vec![replica("r0")]);
        status.models_available = Some(model_names(&models));
        status
    };
    report(&mut world, "a", vec![named(["x", "y"])]);
    let before = world.endpoints();
    report(&mut world, "a", vec![named(["y", "x"])]);
    assert!(Arc::ptr_eq(&before[0].0, &world.endpoints()[0].0));
}

// spec: LIVE-33
#[test]
fn a_new_start_and_a_new_address_make_all_endpoints_of_the_node_anew() {
    let mut world = world();
    let before = world.endpoints();
    assert_eq!(
        told(&mut world, |world| {
            world.register_as(hinted("a", 2)).unwrap();
        }),
        ["a/pool-0/r0 NotReady", "a/pool-0/r1 NotReady"],
        "its replicas are expected again"
    );
    assert_eq!(world.endpoints()[0].0.incarnation(), 2);
    let mut moved = hinted("b", 1);
    moved.address = HttpUrl::new("http://elsewhere:1").unwrap();
    assert_eq!(
        told(&mut world, |world| {
            world.register_as(moved).unwrap();
        }),
        ["b/pool-0/r0 Ready", "b/pool-0/r1 Ready"]
    );
    let after = world.endpoints();
    assert_eq!(after[2].0.target().host(), "elsewhere");
    assert_ne!(before[2].0, after[2].0);
    // To say the same again changes nothing.
    let mut again = hinted("b", 1);
    again.address = HttpUrl::new("http://elsewhere:1").unwrap();
    assert_eq!(
        told(&mut world, |world| {
            world.register_as(again).unwrap();
        }),
        NOTHING
    );
}

// spec: LIVE-33
#[test]
fn suspecting_itself_tells_what_it_holds_and_what_it_lets_go() {
    let mut world = World::with_nodes(&["a", "b", "c"]);
    let lose = |node: &'static str| {
        move |world: &mut World| {
            world.probe(node, false);
            world.probe(node, false);
        }
    };
    assert_eq!(told(&mut world, lose("a")), ["a/pool-0 NotReady"]);
    assert_eq!(
        told(&mut world, lose("b")),
        ["a/pool-0 Ready"],
        "both are held: one comes back, one stays"
    );
    assert_eq!(told(&mut world, lose("c")), NOTHING);
    // They go offline meanwhile, which tells nothing.
    assert_eq!(
        told(&mut world, |world| world
            .wait_until(SUSPICION_MAX - secs(1))),
        NOTHING
    );
    assert_eq!(
        told(&mut world, |world| world.wait_until(SUSPICION_MAX)),
        [
            "a/pool-0 NotReady",
            "b/pool-0 NotReady",
            "c/pool-0 NotReady"
        ]
    );
}

// spec: LIVE-34
#[test]
fn of_two_replicas_or_pools_that_change_places_none_is_lost() {
    let mut world = world();
    // What an agent should not send, and may: the first of two with the same name counts.
    let twice = vec![
        replica("r1"),
        {
            let mut replica = replica("r1");
            replica.ready = false;
            replica
        },
        replica("r0"),
    ];
    report(&mut world, "a", vec![with_replicas(twice)]);
    let states: Vec<_> = world
        .endpoints()
        .iter()
        .map(|(endpoint, report)| (endpoint.key().to_string(), report.state))
        .collect();
    assert_eq!(
        states[..2],
        [
            ("a/pool-0/r0".to_owned(), EndpointState::Ready),
            ("a/pool-0/r1".to_owned(), EndpointState::Ready)
        ]
    );
    let named = |name: &str| {
        let mut status = with_replicas(vec![replica("r0")]);
        status.pool_id = pool_id(name);
        status
    };
    report(&mut world, "a", vec![named("x"), named("y")]);
    let before = world.endpoints();
    report(&mut world, "a", vec![named("y"), named("x")]);
    let after = world.endpoints();
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| Arc::ptr_eq(&before.0, &after.0))
    );
    assert_eq!(
        told(&mut world, |world| {
            report(world, "a", vec![named("x")]);
        }),
        ["a/x/r0 Ready", "a/y/r0 gone"]
    );
}
