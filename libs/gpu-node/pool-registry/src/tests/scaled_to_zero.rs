//! Tests of scale to zero, and of drains of single replicas.

use futures_util::FutureExt as _;
use pool_registry_types::Handoff;

use super::support::{handoff, pool, replica, status, url, with_models};
use crate::{
    Claim, ClaimError, DrainTarget, PoolRegistry, ProbeOutcome, SlotLease, Slots, UnknownTarget,
};

fn scaled_to_zero(id: &str, slots: u32) -> Handoff {
    with_models(handoff("p", id, 9000, slots), &["m"])
}

fn pending(registry: &PoolRegistry, model: &str) -> Claim {
    let claim = registry
        .claim_or_start(&pool("p"), Some(model), None, &[])
        .unwrap();
    assert!(matches!(claim, Claim::Pending(_)), "{claim:?}");
    claim
}

fn now(claim: Claim) -> Result<SlotLease, ClaimError> {
    claim.ready().now_or_never().unwrap()
}

// spec: PROV-19
#[test]
fn a_scaled_to_zero_engine_is_offered_with_its_models_and_slots() {
    let registry = PoolRegistry::new(Vec::new());
    registry.upsert(handoff("p", "r0", 8081, 2)).unwrap();
    let target = registry.replicas()[0].clone();
    let named = ProbeOutcome::ready().with_models(vec!["m".to_owned()]);
    registry.probed(
        &target.pool_id,
        &target.replica_id,
        target.generation,
        named,
    );
    let offer = registry.set_scaled_to_zero(handoff("p", "r0", 8081, 2));
    assert_eq!(
        offer.models,
        Some(vec!["m".parse().unwrap()]),
        "the models that the engine reported"
    );
    assert!(!status(&registry, "p").sleeping, "it is still announced");
    registry.remove(&pool("p"), &replica("r0"));
    let shown = status(&registry, "p");
    assert!(
        shown.ready && shown.sleeping && !shown.draining,
        "{shown:?}"
    );
    assert_eq!((shown.slots_free(), shown.slots_total()), (2, 2));
    assert_eq!(shown.models_available.unwrap(), ["m"]);
    assert_eq!(
        (shown.engine.unwrap().as_str(), shown.last_error),
        ("llamacpp", None)
    );
    assert_eq!(shown.replicas.unwrap()[0].load.sleeping, Some(true));
    assert!(
        registry.replicas().is_empty(),
        "there is no engine to probe"
    );
    assert!(registry.check_capacity(&pool("p"), Some("m")).is_ok());
    assert!(registry.claim(&pool("p"), Some("m")).is_err());
    let mut other = offer.clone();
    other.url = url(1);
    assert!(
        !registry.withdraw_offer(&other, None),
        "the offer of another engine stays"
    );
    assert!(registry.withdraw_offer(&offer, None));
    assert!(registry.statuses().is_empty());
}

// spec: PROV-20, SLOT-1
#[test]
fn waiting_requests_keep_their_slots_when_the_engine_starts() {
    let registry = PoolRegistry::new(Vec::new());
    registry.set_scaled_to_zero(scaled_to_zero("r0", 2));
    let mut demand = std::pin::pin!(async {
        registry.wait_for_demand(&pool("p"), &replica("r0")).await;
    });
    assert!(demand.as_mut().now_or_never().is_none());
    let none = registry.claim_or_start(&pool("p"), Some("other"), None, &[]);
    assert_eq!(none.unwrap_err(), ClaimError::ModelNotAvailable);
    let (first, second) = (pending(&registry, "m"), pending(&registry, "m"));
    assert!(demand.now_or_never().is_some());
    assert_eq!(
        registry.pool_slots(&pool("p")),
        Some(Slots { free: 0, total: 2 })
    );
    let third = registry.claim_or_start(&pool("p"), Some("m"), None, &[]);
    assert_eq!(
        third.unwrap_err(),
        ClaimError::Busy,
        "no more requests than slots"
    );
    assert_eq!(
        registry.check_capacity(&pool("p"), Some("m")),
        Err(ClaimError::Busy)
    );
    drop(second);
    let second = pending(&registry, "m");
    assert_eq!(
        (registry.in_flight(), registry.usage(&pool("p")).running),
        (2, 2)
    );

    let Claim::Pending(slot) = first else {
        panic!()
    };
    let mut first = std::pin::pin!(slot.ready());
    assert!(first.as_mut().now_or_never().is_none());
    registry
        .upsert(with_models(handoff("p", "r0", 8081, 2), &["m"]))
        .unwrap();
    let first = first.now_or_never().unwrap().unwrap();
    assert_eq!(first.url(), &url(8081));
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::Busy
    );
    let second = now(second).unwrap();
    assert!(!status(&registry, "p").sleeping);
    drop((first, second));
    assert_eq!(registry.in_flight(), 0);
    assert_eq!(
        registry.pool_slots(&pool("p")),
        Some(Slots { free: 2, total: 2 })
    );
}

// spec: PROV-21
#[test]
fn a_request_that_waited_in_vain_gets_the_reason() {
    let registry = PoolRegistry::new(Vec::new());
    registry.set_scaled_to_zero(scaled_to_zero("r0", 1));
    let waits = pending(&registry, "m");
    registry.withdraw_offer(&scaled_to_zero("r0", 1), Some("backoff: no memory"));
    assert_eq!(
        now(waits).unwrap_err(),
        ClaimError::NotReady("backoff: no memory".into())
    );
    assert_eq!(registry.in_flight(), 0);
    assert!(!status(&registry, "p").ready);

    registry.set_scaled_to_zero(scaled_to_zero("r0", 1));
    let waits = pending(&registry, "m");
    let target = DrainTarget::Pool(pool("p"));
    registry.drain(&target).unwrap();
    assert_eq!(now(waits).unwrap_err(), ClaimError::Draining);
    let refused = registry.claim_or_start(&pool("p"), Some("m"), None, &[]);
    assert_eq!(refused.unwrap_err(), ClaimError::Draining);
    let shown = status(&registry, "p");
    assert!(shown.sleeping && shown.draining);
    registry.undrain(&target).unwrap();
    let _waits = pending(&registry, "m");
}

#[test]
fn a_running_engine_with_a_free_slot_is_used_first() {
    let registry = PoolRegistry::new(Vec::new());
    registry.set_scaled_to_zero(scaled_to_zero("r0", 4));
    registry
        .upsert(with_models(handoff("p", "r1", 8082, 1), &["m"]))
        .unwrap();
    assert!(!status(&registry, "p").sleeping, "one engine runs");
    assert_eq!(
        registry.pool_slots(&pool("p")),
        Some(Slots { free: 5, total: 5 })
    );
    let running = registry
        .claim_or_start(&pool("p"), Some("m"), None, &[])
        .unwrap();
    assert_eq!(now(running).map(|lease| lease.url().clone()), Ok(url(8082)));
    let _taken = registry.claim(&pool("p"), None).unwrap();
    let Claim::Pending(slot) = pending(&registry, "m") else {
        panic!()
    };
    assert_eq!(slot.replica_id(), &replica("r0"));
}

// spec: PROV-22
#[test]
fn a_drained_replica_does_not_affect_the_others() {
    let registry = PoolRegistry::new(Vec::new());
    let target = |id: &str| DrainTarget::Replica(pool("p"), replica(id));
    assert_eq!(
        registry.drain(&target("r0")),
        Err(UnknownTarget::Pool(pool("p")))
    );
    for (id, port) in [("r0", 8081), ("r1", 8082)] {
        registry.upsert(handoff("p", id, port, 2)).unwrap();
    }
    let running = registry.claim(&pool("p"), None).unwrap();
    assert_eq!(running.replica_id(), &replica("r0"));
    registry.drain(&target("r0")).unwrap();
    let shown = status(&registry, "p");
    assert!(shown.ready && !shown.draining);
    // The running request is counted, so that it is not subtracted from the other replica.
    assert_eq!((shown.slots_free(), shown.slots_total()), (2, 3));
    let replicas = shown.replicas.unwrap();
    assert_eq!((replicas[0].draining, replicas[0].slots_free()), (true, 0));
    assert!(!replicas[1].draining);
    assert_eq!(registry.in_flight_of_replica(&pool("p"), &replica("r0")), 1);
    let others: Vec<_> = std::iter::from_fn(|| registry.claim(&pool("p"), None).ok()).collect();
    assert!(
        others.len() == 2
            && others
                .iter()
                .all(|lease| *lease.replica_id() == replica("r1"))
    );
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::Busy
    );
    drop((running, others));

    // The drain belongs to the replica, not to the engine.
    registry.upsert(handoff("p", "r0", 8083, 2)).unwrap();
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap().replica_id(),
        &replica("r1")
    );
    registry.drain(&target("r1")).unwrap();
    assert!(status(&registry, "p").draining, "all of them");
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::Draining
    );
    assert_eq!(
        registry.drain(&target("r7")),
        Err(UnknownTarget::Replica(pool("p"), replica("r7")))
    );
    for id in ["r0", "r1"] {
        registry.undrain(&target(id)).unwrap();
        registry.remove(&pool("p"), &replica(id));
    }
    assert!(registry.statuses().is_empty(), "no trace is left");
}

#[test]
fn a_replica_can_be_drained_in_advance() {
    let registry = PoolRegistry::new(Vec::new());
    registry.drain_in_advance(&pool("p"), replica("r0"));
    registry.upsert(handoff("p", "r0", 8081, 2)).unwrap();
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::Draining
    );
}
