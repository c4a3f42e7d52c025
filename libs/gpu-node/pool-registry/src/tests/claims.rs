//! Which replica a claim gets, and why it gets none.

use pool_registry_types::ErrorCode;

use super::support::{
    claim_all, fail, generation, handoff, one_engine, pool, replica, status, url, with_models,
};
use crate::{ClaimError, FAILURE_THRESHOLD, PoolRegistry, ProbeOutcome, Slots};

// spec: SLOT-8
#[test]
fn a_retry_goes_to_another_engine() {
    let registry = one_engine(2);
    registry.upsert(handoff("p", "r1", 8082, 1)).unwrap();
    let claim = |excluded: &[&str]| {
        let excluded: Vec<_> = excluded.iter().map(|id| replica(id)).collect();
        registry
            .claim_excluding(&pool("p"), None, &excluded)
            .map(|lease| lease.replica_id().clone())
    };
    assert_eq!(claim(&[]), Ok(replica("r0")));
    assert_eq!(claim(&["r0"]), Ok(replica("r1")));
    assert!(matches!(claim(&["r0", "r1"]), Err(ClaimError::NotReady(_))));
    let _taken = registry
        .claim_excluding(&pool("p"), None, &[replica("r0")])
        .unwrap();
    assert_eq!(claim(&["r0"]), Err(ClaimError::Busy));
    assert_eq!(registry.in_flight(), 1);
}

// spec: SLOT-9
#[test]
fn capacity_is_checked_without_a_claim() {
    let registry = one_engine(1);
    assert_eq!(registry.check_capacity(&pool("p"), None), Ok(()));
    assert_eq!(registry.in_flight(), 0);
    let _taken = registry.claim(&pool("p"), None).unwrap();
    assert_eq!(
        registry.check_capacity(&pool("p"), None),
        Err(ClaimError::Busy)
    );
    registry.drain_all();
    assert_eq!(
        registry.check_capacity(&pool("p"), None),
        Err(ClaimError::Draining)
    );
}

// spec: SLOT-2
#[test]
fn an_engine_is_ready_when_announced_and_gives_exactly_its_slots() {
    let registry = one_engine(2);
    assert!(status(&registry, "p").ready);
    let leases = claim_all(&registry, "p");
    assert_eq!(leases.len(), 2);
    assert_eq!(leases[0].url(), &url(8081));
    assert_eq!(leases[0].replica_id(), &replica("r0"));
    assert_eq!(leases[0].engine().as_str(), "llamacpp");
    assert_eq!(leases[0].slots().pool, Slots { free: 0, total: 2 });
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::Busy
    );
    assert_eq!(registry.in_flight(), 2);
    drop(leases);
    assert_eq!(registry.in_flight(), 0);
    assert_eq!(
        registry.pool_slots(&pool("p")),
        Some(Slots { free: 2, total: 2 })
    );
}

#[test]
fn the_replica_with_most_free_slots_is_chosen_then_the_first_by_id() {
    let registry = one_engine(1);
    registry.upsert(handoff("p", "r1", 8082, 3)).unwrap();
    registry.upsert(handoff("p", "r2", 8083, 2)).unwrap();
    let chosen: Vec<String> = claim_all(&registry, "p")
        .iter()
        .map(|lease| lease.replica_id().to_string())
        .collect();
    assert_eq!(chosen, ["r1", "r1", "r2", "r0", "r1", "r2"]);
}

// spec: SLOT-7
#[test]
fn a_model_goes_to_replicas_that_name_it_else_to_those_with_unknown_models() {
    let registry = PoolRegistry::new(vec![]);
    registry
        .upsert(with_models(handoff("p", "named", 1, 1), &["x"]))
        .unwrap();
    registry.upsert(handoff("p", "silent", 2, 4)).unwrap();

    let x = registry.claim(&pool("p"), Some("x")).unwrap();
    assert_eq!(x.replica_id(), &replica("named"));
    assert_eq!(
        registry.claim(&pool("p"), Some("x")).unwrap_err(),
        ClaimError::Busy
    );
    let y = registry.claim(&pool("p"), Some("y")).unwrap();
    assert_eq!(y.replica_id(), &replica("silent"));

    let silent = registry.replicas()[1].clone();
    let outcome = ProbeOutcome::ready().with_models(vec!["z".into()]);
    registry.probed(
        &silent.pool_id,
        &silent.replica_id,
        silent.generation,
        outcome,
    );
    assert_eq!(
        registry.claim(&pool("p"), Some("y")).unwrap_err(),
        ClaimError::ModelNotAvailable
    );
    assert!(registry.claim(&pool("p"), Some("z")).is_ok());
    assert_eq!(status(&registry, "p").models_available.unwrap(), ["x", "z"]);
}

// spec: PROBE-4
#[test]
fn declared_models_take_precedence_over_reported_ones() {
    let registry = PoolRegistry::new(vec![]);
    registry
        .upsert(with_models(handoff("p", "r0", 1, 1), &["declared"]))
        .unwrap();
    assert!(registry.replicas()[0].declares_models);
    let outcome = ProbeOutcome::ready().with_models(vec!["said".into()]);
    registry.probed(&pool("p"), &replica("r0"), generation(&registry), outcome);
    assert_eq!(
        status(&registry, "p").models_available.unwrap(),
        ["declared"]
    );

    // An empty list declares nothing.
    registry
        .upsert(with_models(handoff("p", "r0", 1, 1), &[]))
        .unwrap();
    assert_eq!(status(&registry, "p").models_available.unwrap(), ["said"]);
}

#[test]
fn a_full_replica_beside_an_unready_one_is_busy() {
    let registry = one_engine(1);
    fail(&registry, FAILURE_THRESHOLD);
    registry.upsert(handoff("p", "r1", 8082, 1)).unwrap();
    let _lease = registry.claim(&pool("p"), None).unwrap();
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::Busy
    );
}

// spec: SLOT-3
#[test]
fn every_claim_error_has_its_code() {
    for (error, code) in [
        (ClaimError::UnknownPool, ErrorCode::NotFound),
        (ClaimError::ModelNotAvailable, ErrorCode::ModelNotAvailable),
        (ClaimError::Busy, ErrorCode::PoolBusy),
        (ClaimError::Draining, ErrorCode::PoolDraining),
        (ClaimError::NotReady("x".into()), ErrorCode::PoolUnavailable),
    ] {
        assert_eq!(error.code(), code);
    }
}

#[tokio::test]
async fn idle_waits_for_the_last_lease() {
    let registry = one_engine(2);
    registry.idle().await;
    let mut leases = claim_all(&registry, "p");
    let mut idle = std::pin::pin!(registry.idle());
    let mut still_waiting = async || {
        tokio::select! { biased; () = &mut idle => false, () = std::future::ready(()) => true }
    };
    assert!(still_waiting().await);
    leases.pop();
    assert!(still_waiting().await);
    leases.pop();
    assert!(!still_waiting().await);
}
