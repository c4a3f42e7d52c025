//! How often nodes report and how long they may be silent, as the fleet grows and shrinks.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{World, id, register, secs};
use pool_registry_types::NodeStatus;
use service_registry::{CONFIGURED_UP_TO, Config, HEARTBEATS_PER_SECOND, Pace, Registry};

/// A timeout of 300 ms and an interval of 100 ms, so that a fleet of some thousand is a large one.
fn brisk() -> World {
    let mut world = World::new();
    let config = Config::default().with_node_timeout(secs(3) / 10).unwrap();
    world.registry = Registry::new(config.with_heartbeat_interval(secs(1) / 10).unwrap());
    world
}

fn grow(world: &mut World, nodes: usize) {
    for i in world.registry.summary().nodes()..nodes {
        world
            .register_as(register(&format!("n{i:05}"), "machine-a", None))
            .unwrap();
    }
}

// spec: LIVE-30
#[test]
fn the_pace_follows_the_number_of_nodes() {
    let mut world = brisk();
    let small = world.registry.pace();
    grow(&mut world, CONFIGURED_UP_TO);
    assert_eq!(world.registry.pace(), small);
    grow(&mut world, CONFIGURED_UP_TO + 1);
    let large = Pace {
        next_heartbeat: secs(1),
        timeout: secs(3),
    };
    assert_eq!(world.registry.pace(), large);
    // The interval that keeps the rate below its bound with one node more.
    grow(&mut world, HEARTBEATS_PER_SECOND as usize + 1);
    assert_eq!(world.registry.pace().next_heartbeat, secs(2));
}

// spec: LIVE-31
#[test]
fn no_deadline_is_shorter_than_what_the_node_was_told_last() {
    let mut world = brisk();
    world.register("old").unwrap();
    grow(&mut world, CONFIGURED_UP_TO + 1);
    // It was told 300 ms, and then others joined: it has three seconds like them.
    world.wait_until(secs(3) - secs(1) / 1000);
    assert_eq!(world.status("old"), NodeStatus::Online);
    world.beat("old").unwrap();
    assert_eq!(world.registry.pace().timeout, secs(3), "as the answer says");
    // The others are gone: it reports every second until it hears of that, and once more if the
    // answer is lost.
    for i in 0..CONFIGURED_UP_TO {
        world
            .registry
            .deregister(&id(&format!("n{:05}", i + 1)), None, world.now)
            .unwrap();
    }
    assert_eq!(world.registry.pace().timeout, secs(3) / 10);
    world.wait_until(secs(5));
    assert_eq!(world.status("old"), NodeStatus::Online);
    world.beat("old").unwrap();
    world.wait_until(secs(7));
    assert_eq!(world.status("old"), NodeStatus::Online);
    world.beat("old").unwrap();
    // By now it knows.
    world.wait_until(secs(7) + secs(3) / 10);
    assert_eq!(world.status("old"), NodeStatus::Offline);
}
