//! Tests of claims with a replica hint, and of slots of abandoned requests.

use futures_util::FutureExt as _;
use pool_registry_types::ReplicaId;

use super::support::{handoff, pool, replica, status, with_models};
use crate::{
    Claim, ClaimError, ClaimedSlots, DrainTarget, FAILURE_THRESHOLD, PoolRegistry, ProbeOutcome,
    SlotLease, Slots,
};

/// `r0` has the most slots and is the choice without a hint; `r1` serves two models.
fn three() -> PoolRegistry {
    let registry = PoolRegistry::new(Vec::new());
    for (id, port, slots, models) in [
        ("r0", 8080, 4, &["m"][..]),
        ("r1", 8081, 2, &["m", "other"]),
        ("r2", 8082, 1, &["m"]),
    ] {
        registry
            .upsert(with_models(handoff("p", id, port, slots), models))
            .unwrap();
    }
    registry
}

fn claim(registry: &PoolRegistry, model: &str, hint: &str, excluded: &[ReplicaId]) -> SlotLease {
    let hint = replica(hint);
    let claim = registry.claim_or_start(&pool("p"), Some(model), Some(&hint), excluded);
    claim.unwrap().ready().now_or_never().unwrap().unwrap()
}

// spec: SLOT-40
#[test]
fn the_hinted_replica_gets_the_request() {
    let registry = three();
    for hint in ["r2", "r1", "r0"] {
        assert_eq!(
            claim(&registry, "m", hint, &[]).replica_id(),
            &replica(hint)
        );
    }
}

// spec: SLOT-41
#[test]
fn a_hint_that_cannot_be_followed_is_ignored() {
    let registry = three();
    let used = |model: &str, hint: &str, excluded: &[ReplicaId]| {
        claim(&registry, model, hint, excluded)
            .replica_id()
            .to_string()
    };
    assert_eq!(used("m", "unknown", &[]), "r0");
    assert_eq!(used("m", "r1", &[replica("r1")]), "r0", "it has been tried");
    assert_eq!(used("other", "r0", &[]), "r1", "it serves another model");
    let _full = claim(&registry, "m", "r2", &[]);
    assert_eq!(used("m", "r2", &[]), "r0", "it is full");
    let target = DrainTarget::Replica(pool("p"), replica("r1"));
    registry.drain(&target).unwrap();
    assert_eq!(used("m", "r1", &[]), "r0", "it drains");
    registry.undrain(&target).unwrap();
    let generation = registry.replicas()[1].generation;
    for _ in 0..FAILURE_THRESHOLD {
        registry.probed(
            &pool("p"),
            &replica("r1"),
            generation,
            ProbeOutcome::failed("gone"),
        );
    }
    assert_eq!(used("m", "r1", &[]), "r0", "it is not ready");
    registry.remove(&pool("p"), &replica("r1"));
    assert_eq!(used("m", "r1", &[]), "r0", "it is gone");

    registry.drain_all();
    let refused = registry.claim_or_start(&pool("p"), Some("m"), Some(&replica("r0")), &[]);
    assert_eq!(refused.unwrap_err(), ClaimError::Draining);
}

// spec: SLOT-41
#[test]
fn a_hint_does_not_select_an_engine_with_unknown_models() {
    let registry = PoolRegistry::new(Vec::new());
    registry.upsert(handoff("p", "silent", 8080, 4)).unwrap();
    assert_eq!(
        claim(&registry, "m", "silent", &[]).replica_id(),
        &replica("silent")
    );
    registry
        .upsert(with_models(handoff("p", "r1", 8081, 1), &["m"]))
        .unwrap();
    assert_eq!(
        claim(&registry, "m", "silent", &[]).replica_id(),
        &replica("r1")
    );
}

// spec: SLOT-40
#[test]
fn the_hinted_replica_is_started_when_it_is_scaled_to_zero() {
    let registry = PoolRegistry::new(Vec::new());
    for (id, slots) in [("r0", 4), ("r1", 1)] {
        registry.set_scaled_to_zero(with_models(handoff("p", id, 9000, slots), &["m"]));
    }
    let hint = replica("r1");
    let started = || match registry.claim_or_start(&pool("p"), Some("m"), Some(&hint), &[]) {
        Ok(Claim::Pending(slot)) => slot,
        other => panic!("{other:?}"),
    };
    let first = started();
    assert_eq!(first.replica_id(), &hint);
    assert_eq!(
        started().replica_id(),
        &replica("r0"),
        "its only slot is claimed"
    );
    drop(first);
    registry
        .upsert(with_models(handoff("p", "r2", 8082, 1), &["m"]))
        .unwrap();
    let running = claim(&registry, "m", "r1", &[]);
    assert_eq!(
        running.replica_id(),
        &replica("r2"),
        "a running engine serves at once"
    );
}

// spec: SLOT-42
#[test]
fn a_lease_knows_the_slots_of_its_replica() {
    let registry = three();
    let first = claim(&registry, "m", "r1", &[]);
    let slots = |free, total| Slots { free, total };
    let expected = ClaimedSlots {
        pool: slots(6, 7),
        replica: Some(slots(1, 2)),
    };
    assert_eq!(
        (first.slots(), first.replica_slots()),
        (expected, Some(slots(1, 2)))
    );
    assert_eq!(
        status(&registry, "p").replicas.unwrap()[1].generation,
        Some(first.generation())
    );
    registry.remove(&pool("p"), &replica("r1"));
    registry.upsert(handoff("p", "r1", 9999, 8)).unwrap();
    assert_eq!(first.replica_slots(), None, "another engine has its name");
    let generation = status(&registry, "p").replicas.unwrap()[1].generation;
    assert!(generation > Some(first.generation()));
}

// spec: SLOT-43
#[test]
fn a_slot_of_an_abandoned_request_is_reported_at_once_when_taken_and_when_given_back() {
    let registry = three();
    let mut changes = registry.subscribe();
    let mut lease = claim(&registry, "m", "r2", &[]);
    drop(claim(&registry, "m", "r0", &[]));
    assert!(
        !changes.has_changed().unwrap(),
        "claims and releases are no urgency"
    );
    let abandoned = lease.abandon();
    drop(lease);
    assert!(changes.has_changed().unwrap());
    assert_eq!(registry.in_flight(), 1);
    changes.mark_unchanged();
    assert_eq!(status(&registry, "p").replicas.unwrap()[2].slots_free, 0);
    drop(abandoned);
    assert!(changes.has_changed().unwrap());
    assert_eq!(status(&registry, "p").replicas.unwrap()[2].slots_free, 1);
}
