//! Where a node stands: silence, probes, drains, and what each means for routing.

mod common;

use common::{World, beat, id, model_names, pool, pool_id, register, secs};
use pool_registry_types::{ErrorText, ModelName, NodeStatus, ReplicaId, ReplicaStatus, Slots};
use routing_table::EndpointState;
use service_registry::{Availability, FORGET_AFTER, Registry, RegistryError, Target};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

// spec: LIVE-1
#[test]
fn offline_at_the_deadline_and_not_before() {
    let mut world = World::with_nodes(&["a", "b"]);
    world.wait_until(secs(12));
    world.beat("b").unwrap();
    world.wait_until(secs(30) - MS);
    assert_eq!(world.registry.next_deadline(), Some(secs(30)));
    assert_eq!(world.status("a"), NodeStatus::Online);
    world.wait_until(secs(30));
    assert_eq!(world.transitions(), ["a online>offline"]);
    assert_eq!(world.unavailable_reason("a"), "node offline for 30 s");
    world.wait_until(secs(42) - MS);
    assert_eq!(world.status("b"), NodeStatus::Online);
    world.wait_until(secs(42));
    assert_eq!(world.transitions(), ["b online>offline"]);
}

#[test]
fn a_passed_deadline_holds_without_a_tick() {
    let mut world = World::with_nodes(&["a"]);
    world.wait_until(secs(28));
    world.now = secs(31);
    world.beat("a").unwrap();
    assert_eq!(
        world.transitions(),
        ["a online>offline", "a offline>online"]
    );
}

// spec: LIVE-4
#[test]
fn who_was_silent_is_back_with_its_full_state() {
    let mut world = World::with_nodes(&["a"]);
    world.wait_until(secs(40));
    world.deltas();
    // A registration alone says that it lives, not what it has.
    let mut registered = world.clone();
    registered.register("a").unwrap();
    assert_eq!(registered.status("a"), NodeStatus::Online);
    assert_eq!(
        registered.unavailable_reason("a"),
        "waiting for the node's first heartbeat"
    );
    registered.beat("a").unwrap();
    assert!(registered.routable("a"));
    // A heartbeat says both.
    world.beat("a").unwrap();
    assert_eq!(world.transitions(), ["a offline>online"]);
    assert!(world.routable("a"));
}

// spec: LIVE-2
#[test]
fn a_late_heartbeat_gives_no_credit() {
    let mut world = World::new();
    world.register("a").unwrap();
    let seq = |seq| beat(Some(1), Some(seq), vec![pool("pool-0")]);
    world.beat_as("a", seq(5)).unwrap();
    world.wait_until(secs(20));
    world.beat_as("a", seq(4)).unwrap();
    world.beat_as("a", seq(5)).unwrap();
    world.wait_until(secs(30));
    assert_eq!(world.status("a"), NodeStatus::Offline);
    world.beat_as("a", seq(5)).unwrap();
    assert_eq!(world.status("a"), NodeStatus::Offline);
    world.beat_as("a", seq(6)).unwrap();
    assert_eq!(world.status("a"), NodeStatus::Online);
}

// spec: LIVE-5
#[test]
fn two_failed_probes_in_a_row_and_one_success() {
    let mut world = World::with_nodes(&["a"]);
    for (ok, expected) in [
        (false, NodeStatus::Online),
        (true, NodeStatus::Online),
        (false, NodeStatus::Online),
        (false, NodeStatus::Unreachable),
        (false, NodeStatus::Unreachable),
        (true, NodeStatus::Online),
    ] {
        world.probe("a", ok);
        assert_eq!(world.status("a"), expected);
        assert_eq!(world.routable("a"), expected == NodeStatus::Online);
    }
    assert_eq!(
        world.transitions(),
        ["a online>unreachable", "a unreachable>online"]
    );
}

// spec: LIVE-5
#[test]
fn no_fact_overwrites_another() {
    let mut world = World::with_nodes(&["a"]);
    world.probe("a", false);
    world.probe("a", false);
    // A heartbeat does not make it reachable, a probe does not make it heard.
    world.wait_until(secs(5));
    world.beat("a").unwrap();
    assert_eq!(world.status("a"), NodeStatus::Unreachable);
    assert_eq!(
        world.unavailable_reason("a"),
        "node unreachable: 2 probes failed in a row, the last with: refused"
    );
    world.wait_until(secs(34));
    world.probe("a", true);
    assert_eq!(world.status("a"), NodeStatus::Online);
    world.wait_until(secs(35));
    assert_eq!(world.status("a"), NodeStatus::Offline);
    world.probe("a", true);
    assert_eq!(world.status("a"), NodeStatus::Offline);
    // Nor does either undo what an operator wants.
    world.drain(&Target::Node(id("a"))).unwrap();
    assert_eq!(world.status("a"), NodeStatus::Offline);
    world.beat("a").unwrap();
    assert_eq!(world.status("a"), NodeStatus::Draining);
    assert_eq!(world.availability("a"), Availability::Draining);
}

#[test]
fn a_probe_of_another_life_says_nothing() {
    let mut world = World::with_nodes(&["a"]);
    world.unchanged(|world| {
        for incarnation in [Some(0), Some(2), None] {
            let failed = || Err("refused".to_owned());
            world
                .registry
                .probe(&id("a"), incarnation, failed(), world.now);
            world
                .registry
                .probe(&id("b"), incarnation, failed(), world.now);
        }
    });
}

// spec: LIVE-9
#[test]
fn a_drain_and_its_undo() {
    let node = Target::Node(id("a"));
    let one = Target::Pool(id("a"), pool_id("pool-0"));
    let mut world = World::new();
    world.register("a").unwrap();
    let two = || beat(Some(1), None, vec![pool("pool-0"), pool("pool-1")]);
    world.beat_as("a", two()).unwrap();
    // One of two pools: the node goes on.
    world.drain(&one).unwrap();
    assert_eq!(world.availability("a"), Availability::Draining);
    assert_eq!(world.status("a"), NodeStatus::Online);
    // The node: both.
    world.drain(&node).unwrap();
    assert_eq!(world.status("a"), NodeStatus::Draining);
    let draining = |world: &World| {
        let endpoints = world.endpoints();
        endpoints
            .iter()
            .filter(|(_, report)| report.state == EndpointState::Draining)
            .count()
    };
    assert_eq!(draining(&world), 2);
    // Back, one wish at a time.
    world.undrain(&node).unwrap();
    assert_eq!(
        (world.status("a"), draining(&world)),
        (NodeStatus::Online, 1)
    );
    world.undrain(&one).unwrap();
    assert_eq!(draining(&world), 0);
    world.unchanged(|world| world.undrain(&one)).unwrap();
    world.unchanged(|world| world.undrain(&node)).unwrap();
}

#[test]
fn a_drain_of_what_is_not_there_is_refused() {
    let mut world = World::with_nodes(&["a"]);
    for target in [
        Target::Node(id("b")),
        Target::Pool(id("b"), pool_id("pool-0")),
        Target::Pool(id("a"), pool_id("pool-9")),
    ] {
        let refused = world.unchanged(|world| [world.drain(&target), world.undrain(&target)]);
        for refusal in refused {
            match &target {
                Target::Pool(node, _) if *node == id("a") => {
                    assert!(matches!(refusal, Err(RegistryError::UnknownPool { .. })));
                }
                _ => assert!(matches!(refusal, Err(RegistryError::UnknownNode { .. }))),
            }
        }
    }
}

// spec: LIVE-9
#[test]
fn a_drain_outlives_the_lives_of_its_node() {
    let drained = |world: &World| world.availability("a") == Availability::Draining;
    let mut world = World::with_nodes(&["a"]);
    world.drain(&Target::Node(id("a"))).unwrap();
    // A restart that left and joined again.
    world
        .registry
        .deregister(&id("a"), None, world.now)
        .unwrap();
    world
        .register_as(register("a", "machine-a", Some(2)))
        .unwrap();
    world
        .beat_as("a", beat(Some(2), Some(1), vec![pool("pool-0")]))
        .unwrap();
    assert!(drained(&world));
    // A day and another registration: it is the absence that ends a wish, not its age.
    world.now += FORGET_AFTER;
    world
        .register_as(register("a", "machine-a", Some(2)))
        .unwrap();
    assert!(drained(&world));
    // A silence.
    let later = world.now + secs(60);
    world.wait_until(later);
    world
        .beat_as("a", beat(Some(2), Some(2), vec![pool("pool-0")]))
        .unwrap();
    assert!(drained(&world));
    // But not for ever.
    world
        .registry
        .deregister(&id("a"), None, world.now)
        .unwrap();
    world.now += FORGET_AFTER;
    world.register("a").unwrap();
    world.beat("a").unwrap();
    assert!(world.routable("a"));
}

#[test]
fn a_node_whose_pools_all_drain_is_draining() {
    let mut world = World::new();
    world.register("a").unwrap();
    let draining = |name| {
        let mut status = pool(name);
        status.draining = true;
        status
    };
    for (pools, expected) in [
        (vec![], NodeStatus::Online),
        (vec![draining("x"), pool("y")], NodeStatus::Online),
        (vec![draining("x"), draining("y")], NodeStatus::Draining),
        (vec![pool("x"), pool("y")], NodeStatus::Online),
    ] {
        world.beat_as("a", beat(Some(1), None, pools)).unwrap();
        assert_eq!(world.status("a"), expected);
    }
}

#[test]
fn why_a_pool_is_not_ready() {
    let mut world = World::with_nodes(&["a"]);
    for (ready, error, expected) in [
        (false, None, "no replica ready"),
        (
            false,
            Some("r0: connection refused"),
            "no replica ready: r0: connection refused",
        ),
        (true, Some("r1 is gone"), "Ready"),
    ] {
        let mut status = pool("pool-0");
        status.ready = ready;
        status.last_error = error.map(ErrorText::cut);
        world
            .beat_as("a", beat(Some(1), None, vec![status]))
            .unwrap();
        assert_eq!(world.unavailable_reason("a"), expected);
    }
}

// spec: PLACE-12
#[test]
fn a_pool_that_sleeps_takes_requests_and_is_known_to_sleep() {
    let mut world = World::with_nodes(&["a"]);
    for (ready, expected) in [(true, "Asleep"), (false, "no replica ready")] {
        let mut status = pool("pool-0");
        (status.ready, status.sleeping) = (ready, true);
        world
            .beat_as("a", beat(Some(1), None, vec![status]))
            .unwrap();
        assert_eq!(world.unavailable_reason("a"), expected);
    }
}

#[test]
fn models_are_what_the_pool_or_a_replica_names() {
    let replica = |models: Option<&[&str]>| {
        let mut replica =
            ReplicaStatus::new(ReplicaId::new("r").unwrap()).with_slots(Slots::clamped(1, 1));
        replica.ready = true;
        replica.models = models.map(model_names);
        replica
    };
    let mut world = World::with_nodes(&["a"]);
    for (pool_says, replicas_say, expected) in [
        (None, vec![], None),
        (None, vec![None], None),
        (Some(vec![]), vec![None], Some(vec![])),
        (Some(vec!["y", "x"]), vec![], Some(vec!["x", "y"])),
        (None, vec![None, Some(&["z"][..])], Some(vec!["z"])),
        (
            Some(vec!["x"]),
            vec![Some(&["x", "w"][..])],
            Some(vec!["w", "x"]),
        ),
    ] {
        let mut status = pool("pool-0");
        status.models_available = pool_says.map(|models: Vec<&str>| model_names(&models));
        status.replicas = Some(replicas_say.into_iter().map(replica).collect());
        world
            .beat_as("a", beat(Some(1), None, vec![status]))
            .unwrap();
        let (endpoint, _) = world.endpoints().remove(0);
        let found = endpoint
            .models()
            .map(|models| models.iter().map(ModelName::as_str).collect::<Vec<_>>());
        assert_eq!(found, expected);
    }
}

// spec: PLACE-13
#[test]
fn a_replica_inherits_the_models_of_its_pool_only_when_no_replica_names_any() {
    let replica = |id: &str, models: Option<&[&str]>| {
        let mut replica =
            ReplicaStatus::new(ReplicaId::new(id).unwrap()).with_slots(Slots::clamped(1, 1));
        replica.ready = true;
        replica.models = models.map(model_names);
        replica
    };
    let mut world = World::new();
    world
        .register_as({
            let mut request = register("a", "m", Some(1));
            request.takes_replica_hint = true;
            request
        })
        .unwrap();
    // The order matters: an endpoint is made anew when only the other replica changes.
    for (first, expected) in [
        (None, [Some(vec!["x", "y"]), Some(vec!["x", "y"])]),
        (Some(&["x"][..]), [Some(vec!["x"]), None]),
        (Some(&[]), [Some(vec![]), None]),
        (None, [Some(vec!["x", "y"]), Some(vec!["x", "y"])]),
    ] {
        let mut status = pool("pool-0");
        status.models_available = Some(model_names(&["y", "x"]));
        status.replicas = Some(vec![replica("r0", first), replica("r1", None)]);
        world
            .beat_as("a", beat(Some(1), None, vec![status]))
            .unwrap();
        let endpoints = world.endpoints();
        let found = [0, 1].map(|index: usize| {
            let models = endpoints[index].0.models();
            models.map(|models| models.iter().map(ModelName::as_str).collect::<Vec<_>>())
        });
        assert_eq!(found, expected, "{first:?}");
    }
}

#[test]
fn time_does_not_go_back() {
    let mut world = World::with_nodes(&["a"]);
    world.wait_until(secs(29));
    world.registry.tick(secs(3));
    world.registry.tick(secs(30));
    assert_eq!(world.status("a"), NodeStatus::Offline);
    assert_eq!(Registry::new(Default::default()).next_deadline(), None);
}
