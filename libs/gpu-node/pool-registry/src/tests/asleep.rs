//! Engines that sleep, and replicas that are drained one by one.

use futures_util::FutureExt as _;
use pool_registry_types::Handoff;

use super::support::{handoff, pool, replica, status, url, with_models};
use crate::{
    Claim, ClaimError, DrainTarget, PoolRegistry, ProbeOutcome, SlotLease, Slots, UnknownTarget,
};

fn sleeper(id: &str, slots: u32) -> Handoff {
    with_models(handoff("p", id, 9000, slots), &["m"])
}

fn promised(registry: &PoolRegistry, model: &str) -> Claim {
    let claim = registry
        .claim_or_wake(&pool("p"), Some(model), None, &[])
        .unwrap();
    assert!(matches!(claim, Claim::Promised(_)), "{claim:?}");
    claim
}

fn now(claim: Claim) -> Result<SlotLease, ClaimError> {
    claim.awake().now_or_never().unwrap()
}

// spec: PROV-19
#[test]
fn an_engine_that_sleeps_is_offered_with_its_models_and_slots() {
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
    let promise = registry.set_asleep(handoff("p", "r0", 8081, 2));
    assert_eq!(
        promise.models,
        Some(vec!["m".to_owned()]),
        "what the engine said"
    );
    assert!(!status(&registry, "p").sleeping, "it is still announced");
    registry.remove(&pool("p"), &replica("r0"));
    let said = status(&registry, "p");
    assert!(said.ready && said.sleeping && !said.draining, "{said:?}");
    assert_eq!((said.slots_free(), said.slots_total()), (2, 2));
    assert_eq!(said.models_available, Some(vec!["m".to_owned()]));
    assert_eq!(
        (said.engine.unwrap().as_str(), said.last_error),
        ("llamacpp", None)
    );
    assert_eq!(said.replicas.unwrap()[0].load.sleeping, Some(true));
    assert!(
        registry.replicas().is_empty(),
        "nobody is there to be probed"
    );
    assert!(registry.check_room(&pool("p"), Some("m")).is_ok());
    assert!(registry.claim(&pool("p"), Some("m")).is_err());
    let mut other = promise.clone();
    other.url = url(1);
    assert!(
        !registry.forsake(&other, None),
        "nobody takes back what another promised"
    );
    assert!(registry.forsake(&promise, None));
    assert!(registry.statuses().is_empty());
}

// spec: PROV-20, SLOT-1
#[test]
fn who_waits_for_an_engine_has_its_slots_when_it_wakes() {
    let registry = PoolRegistry::new(Vec::new());
    registry.set_asleep(sleeper("r0", 2));
    let mut wanted = std::pin::pin!(async {
        registry.wanted(&pool("p"), &replica("r0")).await;
    });
    assert!(wanted.as_mut().now_or_never().is_none());
    let none = registry.claim_or_wake(&pool("p"), Some("other"), None, &[]);
    assert_eq!(none.unwrap_err(), ClaimError::ModelNotAvailable);
    let (first, second) = (promised(&registry, "m"), promised(&registry, "m"));
    assert!(wanted.now_or_never().is_some());
    assert_eq!(
        registry.pool_slots(&pool("p")),
        Some(Slots { free: 0, total: 2 })
    );
    let third = registry.claim_or_wake(&pool("p"), Some("m"), None, &[]);
    assert_eq!(
        third.unwrap_err(),
        ClaimError::Busy,
        "no more than it has slots"
    );
    assert_eq!(
        registry.check_room(&pool("p"), Some("m")),
        Err(ClaimError::Busy)
    );
    drop(second);
    let second = promised(&registry, "m");
    assert_eq!(
        (registry.in_flight(), registry.usage(&pool("p")).running),
        (2, 2)
    );

    let Claim::Promised(slot) = first else {
        panic!()
    };
    let mut first = std::pin::pin!(slot.awake());
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
fn who_waits_in_vain_is_told_why() {
    let registry = PoolRegistry::new(Vec::new());
    registry.set_asleep(sleeper("r0", 1));
    let waits = promised(&registry, "m");
    registry.forsake(&sleeper("r0", 1), Some("backoff: no memory"));
    assert_eq!(
        now(waits).unwrap_err(),
        ClaimError::NotReady("backoff: no memory".into())
    );
    assert_eq!(registry.in_flight(), 0);
    assert!(!status(&registry, "p").ready);

    registry.set_asleep(sleeper("r0", 1));
    let waits = promised(&registry, "m");
    let target = DrainTarget::Pool(pool("p"));
    registry.drain(&target).unwrap();
    assert_eq!(now(waits).unwrap_err(), ClaimError::Draining);
    let refused = registry.claim_or_wake(&pool("p"), Some("m"), None, &[]);
    assert_eq!(refused.unwrap_err(), ClaimError::Draining);
    let said = status(&registry, "p");
    assert!(said.sleeping && said.draining);
    registry.undrain(&target).unwrap();
    let _waits = promised(&registry, "m");
}

#[test]
fn one_that_is_awake_and_free_is_taken_first() {
    let registry = PoolRegistry::new(Vec::new());
    registry.set_asleep(sleeper("r0", 4));
    registry
        .upsert(with_models(handoff("p", "r1", 8082, 1), &["m"]))
        .unwrap();
    assert!(!status(&registry, "p").sleeping, "one is awake");
    assert_eq!(
        registry.pool_slots(&pool("p")),
        Some(Slots { free: 5, total: 5 })
    );
    let awake = registry
        .claim_or_wake(&pool("p"), Some("m"), None, &[])
        .unwrap();
    assert_eq!(now(awake).map(|lease| lease.url().clone()), Ok(url(8082)));
    let _taken = registry.claim(&pool("p"), None).unwrap();
    let Claim::Promised(slot) = promised(&registry, "m") else {
        panic!()
    };
    assert_eq!(slot.replica_id(), &replica("r0"));
}

// spec: PROV-22
#[test]
fn a_drained_replica_takes_only_itself_out() {
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
    let said = status(&registry, "p");
    assert!(said.ready && !said.draining);
    // The request that still runs counts, so that nobody thinks it takes a slot of the other one.
    assert_eq!((said.slots_free(), said.slots_total()), (2, 3));
    let replicas = said.replicas.unwrap();
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

    // It is the replica that is drained, not the engine.
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
fn a_replica_can_be_drained_before_it_is_there() {
    let registry = PoolRegistry::new(Vec::new());
    registry.drain_before(&pool("p"), replica("r0"));
    registry.upsert(handoff("p", "r0", 8081, 2)).unwrap();
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::Draining
    );
}
