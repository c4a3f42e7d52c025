//! When the fault is more likely ours: many nodes silent at once, and a process that did not run.

mod common;

use std::time::Duration;

use common::{World, secs};
use pool_registry_types::NodeStatus;
use service_registry::{Delta, STALL_THRESHOLD, SUSPICION_MAX};

fn suspicion(world: &mut World) -> Vec<(bool, usize, usize)> {
    world
        .deltas()
        .into_iter()
        .filter_map(|delta| match delta {
            Delta::SelfSuspicion { on, silent, of } => Some((on, silent, of)),
            _ => None,
        })
        .collect()
}

fn lose(world: &mut World, node: &str) {
    world.probe(node, false);
    world.probe(node, false);
}

// spec: LIVE-6
#[test]
fn when_most_fall_silent_together_they_stay_routable() {
    let mut world = World::with_nodes(&["a", "b", "c"]);
    world.wait_until(secs(30));
    assert_eq!(suspicion(&mut world), [(true, 2, 3)]);
    for node in ["a", "b", "c"] {
        assert_eq!(world.status(node), NodeStatus::Offline);
        assert!(world.routable(node));
    }
    assert!(world.suspects_itself());
}

// spec: LIVE-6
#[test]
fn how_many_of_how_many() {
    let names = ["a", "b", "c", "d", "e", "f"];
    for (nodes, lost, held) in [
        (1, 1, false),
        (2, 2, false),
        (3, 1, false),
        (3, 2, true),
        (4, 2, false),
        (4, 3, true),
        (5, 2, false),
        (5, 3, true),
        (6, 3, false),
        (6, 4, true),
    ] {
        let mut world = World::with_nodes(&names[..nodes]);
        for node in &names[..lost] {
            lose(&mut world, node);
        }
        let routable = names[..nodes]
            .iter()
            .filter(|node| world.routable(node))
            .count();
        assert_eq!(
            routable,
            if held { nodes } else { nodes - lost },
            "{lost} of {nodes}"
        );
        assert_eq!(suspicion(&mut world).len(), usize::from(held));
    }
}

#[test]
fn one_after_the_other_is_no_conspiracy() {
    let mut world = World::with_nodes(&["a", "b", "c"]);
    lose(&mut world, "a");
    world.wait_with(secs(16), &["b", "c"]);
    lose(&mut world, "b");
    assert_eq!(suspicion(&mut world), []);
    assert!(!world.routable("a") && !world.routable("b") && world.routable("c"));
}

#[test]
fn those_lost_long_ago_do_not_count() {
    // Five of nine died last week, one by one; that one more dies today is no reason to suspect
    // ourselves.
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let mut world = World::with_nodes(&names);
    for dead in 0..5 {
        lose(&mut world, names[dead]);
        let then = world.now + secs(20);
        world.wait_with(then, &names[5..]);
    }
    assert_eq!(suspicion(&mut world), []);
    lose(&mut world, "f");
    assert_eq!(suspicion(&mut world), []);
    assert!(!world.routable("f"));
}

#[test]
fn a_hold_spares_silence_only() {
    let mut world = World::with_nodes(&["a", "b", "c"]);
    let target = service_registry::Target::Node(common::id("a"));
    world.drain(&target).unwrap();
    for node in ["a", "b", "c"] {
        lose(&mut world, node);
    }
    assert!(!world.routable("a"));
    assert!(world.routable("b"));
}

#[test]
fn when_half_speak_again_the_others_have_one_window_more() {
    let mut world = World::with_nodes(&["a", "b", "c", "d"]);
    for node in ["a", "b", "c"] {
        lose(&mut world, node);
    }
    assert_eq!(suspicion(&mut world), [(true, 3, 4)]);
    world.wait_until(secs(5));
    world.probe("a", true);
    assert_eq!(suspicion(&mut world), [(false, 2, 4)]);
    assert!(!world.suspects_itself());
    assert!(world.routable("b"));
    world.wait_until(secs(20) - Duration::from_millis(1));
    assert!(world.routable("b"));
    world.wait_until(secs(20));
    assert!(!world.routable("b") && !world.routable("c"));
    assert!(world.routable("a") && world.routable("d"));
}

#[test]
fn who_falls_silent_while_suspecting_is_held_too() {
    let mut world = World::with_nodes(&["a", "b", "c", "d"]);
    for node in ["a", "b", "c"] {
        lose(&mut world, node);
    }
    world.wait_until(secs(20));
    lose(&mut world, "d");
    assert!(world.routable("d"));
    assert_eq!(suspicion(&mut world), [(true, 3, 4)]);
}

// spec: LIVE-6
#[test]
fn suspicion_ends_at_the_latest_after_its_maximum() {
    let mut world = World::with_nodes(&["a", "b", "c"]);
    world.wait_until(secs(30));
    assert_eq!(suspicion(&mut world), [(true, 2, 3)]);
    let end = secs(30) + SUSPICION_MAX;
    world.wait_until(end - Duration::from_millis(1));
    assert!(world.routable("a"));
    assert_eq!(world.registry.next_deadline(), Some(end));
    world.wait_until(end);
    assert_eq!(suspicion(&mut world), [(false, 3, 3)]);
    for node in ["a", "b", "c"] {
        assert!(!world.routable(node));
    }
    // And does not begin again by itself.
    world.wait_until(end + secs(3600));
    assert_eq!(suspicion(&mut world), []);
}

// spec: LIVE-7
#[test]
fn a_stall_gives_everybody_the_time_back() {
    for (gap, stalled) in [
        (STALL_THRESHOLD, false),
        (STALL_THRESHOLD + secs(1), true),
        (secs(45), true),
    ] {
        let mut world = World::with_nodes(&["a", "b"]);
        world.wait_until(secs(20));
        world.deltas();
        world.probe("a", false);
        world.now += gap;
        world.registry.tick(world.now);
        let expected: Vec<Delta> = stalled
            .then_some(Delta::Stalled { gap })
            .into_iter()
            .collect();
        assert_eq!(world.deltas(), expected);
        assert_eq!(world.status("a"), NodeStatus::Online);
        let deadline = if stalled { secs(30) + gap } else { secs(30) };
        // A probe that ran into the stall counts for nothing.
        world.probe("a", false);
        assert_eq!(world.status("a") == NodeStatus::Online, stalled);
        world.probe("a", true);
        world.wait_until(deadline - Duration::from_millis(1));
        assert_eq!(world.status("a"), NodeStatus::Online);
        world.wait_until(deadline);
        assert_eq!(world.status("a"), NodeStatus::Offline);
        // The age that people see stays honest.
        assert_eq!(world.node("a").last_heard, Duration::ZERO);
    }
}

#[test]
fn a_message_that_comes_first_after_a_stall_meets_no_corpses() {
    let mut world = World::with_nodes(&["a", "b", "c"]);
    world.wait_until(secs(1));
    world.now = secs(46);
    world.beat("a").unwrap();
    assert_eq!(world.transitions(), Vec::<String>::new());
    // Without a node that is alive a gap is no stall.
    let mut empty = World::new();
    empty.registry.tick(secs(100));
    assert_eq!(empty.deltas(), []);
}
