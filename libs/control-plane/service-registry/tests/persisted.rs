//! What outlives a restart of the control plane, and what comes back from it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::{World, beat, id, pool, pool_id, register, secs};
use pool_registry_types::{NodeStatus, ReplicaId, ReplicaStatus};
use routing_table::EndpointState;
use service_registry::{
    Availability, FORGET_AFTER, HeartbeatOutcome, PersistedDrain, PersistedNode, Target,
};

const MS: Duration = Duration::from_millis(1);

/// The next process, which began at 5 s of its clock.
fn restarted(known: Vec<PersistedNode>) -> World {
    let mut world = World::new();
    world.now = secs(5);
    world.registry.restore(known, world.now);
    world.deltas();
    world
}

fn dirty(world: &mut World) -> Vec<String> {
    let dirty: BTreeSet<_> = world.registry.take_dirty();
    dirty.iter().map(ToString::to_string).collect()
}

// spec: LIVE-8
#[test]
fn a_restart_forgets_no_node() {
    let mut before = World::with_nodes(&["a", "b"]);
    before
        .registry
        .drain(&Target::Node(id("b")), Some(secs(100)), before.now)
        .unwrap();
    before.wait_until(secs(10));
    let known = before.registry.persisted_nodes();
    assert_eq!(
        known[1].drain,
        Some(PersistedDrain {
            time_left: Some(secs(90))
        })
    );

    let mut world = restarted(known.clone());
    assert_eq!(world.registry.persisted_nodes(), known);
    assert_eq!(
        world.unavailable_reason("a"),
        "waiting for a probe or heartbeat since the control plane started"
    );
    // One that answers a probe serves at once; b is still drained.
    world.probe("a", true);
    world.probe("b", true);
    assert!(world.routable("a"));
    assert_eq!(world.availability("b"), Availability::Draining);
    // No node is offline before a full timeout; then silent nodes are.
    world.wait_until(secs(35) - MS);
    assert_eq!(world.status("a"), NodeStatus::Online);
    world.beat("a").unwrap();
    world.wait_until(secs(35));
    assert_eq!(world.status("a"), NodeStatus::Online);
    assert_eq!(world.status("b"), NodeStatus::Offline);
}

// spec: KEEP-3
#[test]
fn a_known_life_reports_without_registering_again() {
    let mut world = restarted(World::with_nodes(&["a"]).registry.persisted_nodes());
    assert_eq!(world.beat("a"), Ok(HeartbeatOutcome::Changed));
    assert!(world.routable("a"));
    // Its next life registers, as ever.
    assert!(
        world
            .beat_as("a", beat(Some(2), Some(1), vec![pool("pool-0")]))
            .is_err()
    );
}

#[test]
fn who_registered_before_the_store_was_read_is_left_alone() {
    let known = World::with_nodes(&["a"]).registry.persisted_nodes();
    let mut world = World::with_nodes(&["a"]);
    world.unchanged(|world| world.registry.restore(known, world.now));
}

// spec: KEEP-2
#[test]
fn slots_that_were_taken_count_as_free() {
    let mut busy = pool("pool-0");
    busy.slots_free = 0;
    busy.vram_free_bytes = 7;
    busy.replicas = Some(vec![ReplicaStatus {
        ready: true,
        slots_total: 4,
        ..ReplicaStatus::new(ReplicaId::new("r0").unwrap())
    }]);
    let mut before = World::new();
    before.register("a").unwrap();
    before
        .beat_as("a", beat(Some(1), None, vec![busy]))
        .unwrap();
    let mut world = restarted(before.registry.persisted_nodes());
    world.probe("a", true);
    let (endpoint, report) = world.endpoints().remove(0);
    assert_eq!((report.slots_free, report.slots_total), (4, 4));
    assert_eq!(endpoint.models().unwrap()[..], ["tiny"]);
    assert_eq!(report.state, EndpointState::Ready);
}

#[test]
fn what_was_not_believed_before_is_not_believed_after() {
    // One fell silent, others did not, and one begins a new life and has not reported yet.
    let mut before = World::with_nodes(&["a", "b", "c", "d"]);
    before.wait_with(secs(40), &["a", "c", "d"]);
    assert_eq!(before.status("b"), NodeStatus::Offline);
    before
        .register_as(register("a", "machine-a", Some(2)))
        .unwrap();
    let mut world = restarted(before.registry.persisted_nodes());
    for (node, incarnation) in [("a", 2), ("b", 1), ("c", 1)] {
        assert_eq!(world.status(node), NodeStatus::Online);
        world
            .registry
            .probe(&id(node), Some(incarnation), Ok(()), world.now);
    }
    for node in ["a", "b"] {
        assert_eq!(
            world.unavailable_reason(node),
            "waiting for the node's first heartbeat"
        );
    }
    assert!(world.routable("c"));
    world.beat("b").unwrap();
    assert!(world.routable("b"));
}

#[test]
fn a_held_node_is_believed() {
    let mut before = World::with_nodes(&["a", "b", "c"]);
    before.wait_until(secs(30));
    assert!(before.suspects_itself());
    let mut world = restarted(before.registry.persisted_nodes());
    for node in ["a", "b", "c"] {
        world.probe(node, true);
        assert!(world.routable(node));
    }
}

// spec: KEEP-5
#[test]
fn a_restart_prolongs_no_absence() {
    let mut before = World::with_nodes(&["a"]);
    before.wait_until(secs(30) + FORGET_AFTER - secs(60));
    assert_eq!(
        before.registry.persisted_nodes()[0].forget_in,
        Some(secs(60))
    );
    // Silent still: forgotten as if nothing had been.
    let mut world = restarted(before.registry.persisted_nodes());
    let restarted_at = world.now;
    assert_eq!(
        world.registry.persisted_nodes()[0].forget_in,
        Some(secs(60))
    );
    world.wait_until(restarted_at + secs(60) - MS);
    assert_eq!(world.status("a"), NodeStatus::Offline);
    world.wait_until(restarted_at + secs(60));
    assert_eq!(world.registry.persisted_nodes(), []);
    // Heard: it has all its time again.
    let mut world = restarted(before.registry.persisted_nodes());
    world.beat("a").unwrap();
    assert_eq!(world.registry.persisted_nodes()[0].forget_in, None);
    world.wait_until(world.now + secs(90));
    assert_eq!(world.status("a"), NodeStatus::Offline);
    // Its time came while no process ran.
    let mut known = before.registry.persisted_nodes();
    known[0].forget_in = Some(Duration::ZERO);
    assert_eq!(restarted(known).registry.persisted_nodes(), []);
}

// spec: KEEP-4
#[test]
fn a_drain_survives_while_its_node_is_away() {
    let mut before = World::with_nodes(&["a"]);
    before.drain(&Target::Node(id("a"))).unwrap();
    before
        .drain(&Target::Pool(id("a"), pool_id("pool-0")))
        .unwrap();
    before
        .registry
        .deregister(&id("a"), None, before.now)
        .unwrap();
    let known = before.registry.persisted_nodes();
    assert!(known[0].registered.is_none(), "{known:?}");
    let mut world = restarted(known.clone());
    assert_eq!(world.registry.persisted_nodes(), known);
    assert!(world.endpoints().is_empty());
    world.register("a").unwrap();
    world.beat("a").unwrap();
    assert_eq!(world.availability("a"), Availability::Draining);
    assert_eq!(world.registry.persisted_nodes()[0].forget_in, None);
    // But not for ever: the day began when it left.
    let mut world = restarted(known);
    world.now += FORGET_AFTER;
    world.register("a").unwrap();
    world.beat("a").unwrap();
    assert!(world.routable("a"));
}

// spec: KEEP-6
#[test]
fn only_what_a_store_would_keep_is_told() {
    let mut world = World::new();
    assert_eq!(dirty(&mut world), [""; 0]);
    world.register("a").unwrap();
    assert_eq!(dirty(&mut world), ["a"]);
    world.beat("a").unwrap();
    assert_eq!(dirty(&mut world), ["a"]);
    let mut busy = pool("pool-0");
    busy.slots_free = 1;
    world
        .beat_as("a", beat(Some(1), None, vec![busy.clone()]))
        .unwrap();
    world.probe("a", false);
    world.probe("a", false);
    world.probe("a", true);
    assert_eq!(dirty(&mut world), [""; 0]);
    busy.ready = false;
    world.beat_as("a", beat(Some(1), None, vec![busy])).unwrap();
    assert_eq!(dirty(&mut world), ["a"]);
    world.drain(&Target::Node(id("a"))).unwrap();
    assert_eq!(dirty(&mut world), ["a"]);
    world.undrain(&Target::Node(id("a"))).unwrap();
    assert_eq!(dirty(&mut world), ["a"]);
    world.wait_until(secs(30));
    assert_eq!(dirty(&mut world), ["a"]);
    world.register("b").unwrap();
    world.wait_until(secs(30) + FORGET_AFTER);
    assert_eq!(dirty(&mut world), ["a", "b"]);
    assert!(world.registry.persisted_node(&id("a")).is_none());
}
