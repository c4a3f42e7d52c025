//! A heartbeat that repeats the last does the same whether it is taken apart or only compared.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{World, beat, id, pool, register, secs};
use pool_registry_types::NodeStatus;
use service_registry::{Digest, HeartbeatOutcome, RegistryError, Repeat};

const DIGEST: Digest = Digest { pools: 1, gpus: 2 };

fn report(world: &mut World, seq: u64, digest: Option<Digest>) -> HeartbeatOutcome {
    let request = beat(Some(1), Some(seq), vec![pool("pool-0")]);
    world
        .registry
        .report(&id("a"), request, digest, world.now)
        .unwrap()
}

fn repeat(world: &mut World, seq: u64) -> Result<Option<HeartbeatOutcome>, RegistryError> {
    let repeat = Repeat {
        incarnation: Some(1),
        seq: Some(seq),
        digest: DIGEST,
    };
    world.registry.repeat(&id("a"), &repeat, world.now)
}

fn reported() -> World {
    let mut world = World::new();
    world.register("a").unwrap();
    report(&mut world, 1, Some(DIGEST));
    world.deltas();
    world
}

// spec: LIVE-37
#[test]
fn compared_or_taken_apart_the_outcome_is_the_same() {
    // Online, offline, unreachable, and late.
    let events: [fn(&mut World); 4] = [
        |_| {},
        |world| world.wait_until(secs(31)),
        |world| {
            world.probe("a", false);
            world.probe("a", false);
        },
        |world| {
            report(world, 9, Some(DIGEST));
        },
    ];
    for (i, event) in events.into_iter().enumerate() {
        let mut compared = reported();
        event(&mut compared);
        let mut apart = compared.clone();
        let outcome = report(&mut apart, 5, Some(DIGEST));
        assert_eq!(repeat(&mut compared, 5), Ok(Some(outcome)), "event {i}");
        assert_eq!(compared.registry, apart.registry, "event {i}");
    }
}

// spec: LIVE-37
#[test]
fn what_is_not_known_to_be_the_same_is_asked_for() {
    let asked = |mut world: World| {
        let asked = world.unchanged(|world| repeat(world, 5));
        assert_eq!(asked, Ok(None));
    };
    // It said something else last, or nobody knows what it was made of.
    let mut world = reported();
    report(&mut world, 2, Some(Digest { pools: 3, gpus: 2 }));
    asked(world);
    let mut world = reported();
    report(&mut world, 2, None);
    asked(world);
    // It was another start of it.
    let mut world = reported();
    world
        .register_as(register("a", "machine-a", Some(2)))
        .unwrap();
    let mut again = world.clone();
    asked(world);
    again
        .register_as(register("a", "machine-a", Some(3)))
        .unwrap();
    let mut of_third = beat(None, Some(1), vec![pool("pool-0")]);
    of_third.incarnation = Some(3);
    again
        .registry
        .report(&id("a"), of_third, Some(DIGEST), again.now)
        .unwrap();
    // And what it says is refused as ever.
    let refused = again.unchanged(|world| repeat(world, 5));
    assert!(matches!(
        refused,
        Err(RegistryError::StaleIncarnation { .. })
    ));
    let mut nobody = World::new();
    assert!(matches!(
        repeat(&mut nobody, 1),
        Err(RegistryError::UnknownNode { .. })
    ));
}

#[test]
fn one_that_was_silent_is_back_with_what_it_had() {
    let mut world = reported();
    world.wait_until(secs(30));
    assert_eq!(world.status("a"), NodeStatus::Offline);
    assert_eq!(repeat(&mut world, 2), Ok(Some(HeartbeatOutcome::Unchanged)));
    assert!(world.routable("a"));
    // One that registers first has to say what it has; that may be what it had.
    world.wait_until(secs(60));
    world.register("a").unwrap();
    assert!(!world.routable("a"));
    assert_eq!(repeat(&mut world, 3), Ok(Some(HeartbeatOutcome::Changed)));
    assert!(world.routable("a"));
}
