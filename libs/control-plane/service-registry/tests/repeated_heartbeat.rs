//! A repeated heartbeat has the same effect whether it is parsed or recognised by its digest.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{World, beat, id, pool, register, secs};
use pool_registry_types::{HeartbeatRequest, NodeStatus};
use service_registry::{HeartbeatHeader, HeartbeatOutcome, RegistryError, ReportDigest};

const DIGEST: ReportDigest = ReportDigest(1);

fn report(world: &mut World, seq: u64, digest: Option<ReportDigest>) -> HeartbeatOutcome {
    let request = beat(Some(1), Some(seq), vec![pool("pool-0")]);
    world
        .registry
        .heartbeat_with_digest(&id("a"), request, digest, world.now)
        .unwrap()
}

fn repeat(world: &mut World, seq: u64) -> Result<Option<HeartbeatOutcome>, RegistryError> {
    let header = HeartbeatHeader {
        incarnation: Some(1),
        seq: Some(seq),
        digest: DIGEST,
    };
    world
        .registry
        .repeated_heartbeat(&id("a"), &header, world.now)
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
fn parsed_or_recognised_the_outcome_is_the_same() {
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
fn an_unknown_digest_asks_for_the_whole_heartbeat() {
    let asked = |mut world: World| {
        let asked = world.unchanged(|world| repeat(world, 5));
        assert_eq!(asked, Ok(None));
    };
    // The last report has another digest, or none.
    let mut world = reported();
    report(&mut world, 2, Some(ReportDigest(2)));
    asked(world);
    let mut world = reported();
    report(&mut world, 2, None);
    asked(world);
    // The last report was of another incarnation.
    let mut world = reported();
    world
        .register_as(register("a", "machine-a", Some(2)))
        .unwrap();
    let mut again = world.clone();
    asked(world);
    again
        .register_as(register("a", "machine-a", Some(3)))
        .unwrap();
    let of_third = HeartbeatRequest {
        incarnation: Some(3),
        ..beat(None, Some(1), vec![pool("pool-0")])
    };
    again
        .registry
        .heartbeat_with_digest(&id("a"), of_third, Some(DIGEST), again.now)
        .unwrap();
    // A stale incarnation is refused as always.
    let refused = again.unchanged(|world| repeat(world, 5));
    assert!(matches!(
        refused,
        Err(RegistryError::StaleIncarnation { .. })
    ));
    let mut empty = World::new();
    assert!(matches!(
        repeat(&mut empty, 1),
        Err(RegistryError::UnknownNode { .. })
    ));
}

#[test]
fn a_silent_node_returns_with_its_last_report() {
    let mut world = reported();
    world.wait_until(secs(30));
    assert_eq!(world.status("a"), NodeStatus::Offline);
    assert_eq!(repeat(&mut world, 2), Ok(Some(HeartbeatOutcome::Unchanged)));
    assert!(world.routable("a"));
    // A node that registers first must report again; the report may be the same.
    world.wait_until(secs(60));
    world.register("a").unwrap();
    assert!(!world.routable("a"));
    assert_eq!(repeat(&mut world, 3), Ok(Some(HeartbeatOutcome::Changed)));
    assert!(world.routable("a"));
}
