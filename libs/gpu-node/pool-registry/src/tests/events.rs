//! Tests of the registry, event by event.

use std::time::Duration;

use pool_registry_types::MAX_POOLS;

use super::support::{
    claim_all, fail, generation, handoff, one_engine, pool, replica, status, url,
};
use crate::{ClaimError, DrainTarget, FAILURE_THRESHOLD, PoolRegistry, ProbeOutcome, UpsertError};

// spec: CLOUD-3003
#[test]
fn a_configured_pool_is_reported_before_it_has_an_engine() {
    let registry = PoolRegistry::new(vec![pool("p")]);
    let shown = status(&registry, "p");
    assert!(!shown.ready && !shown.draining);
    assert_eq!(
        (
            shown.slots_free(),
            shown.slots_total(),
            shown.vram_free_bytes
        ),
        (0, 0, 0)
    );
    assert_eq!(
        shown.last_error.as_deref(),
        Some("no engine has been announced")
    );
    assert!(matches!(
        registry.claim(&pool("p"), None),
        Err(ClaimError::NotReady(_))
    ));
    assert_eq!(
        registry.claim(&pool("q"), None).unwrap_err(),
        ClaimError::UnknownPool
    );
}

// spec: PROV-42
#[test]
fn a_queue_timeout_may_be_set_before_its_pool_exists_and_is_reported_at_once() {
    let registry = PoolRegistry::new(Vec::new());
    let timeout = Some(Duration::from_secs(90));
    registry.set_queue_timeout(&pool("p"), timeout);
    registry.upsert(handoff("p", "r0", 8081, 1)).unwrap();
    assert_eq!(status(&registry, "p").queue_timeout(), timeout);
    let mut reports = registry.subscribe();
    reports.mark_unchanged();
    registry.set_queue_timeout(&pool("p"), timeout);
    assert!(!reports.has_changed().unwrap());
    registry.set_queue_timeout(&pool("p"), None);
    assert!(reports.has_changed().unwrap());
    assert_eq!(status(&registry, "p").queue_timeout(), None);
}

// spec: PROBE-2
#[test]
fn three_failures_in_a_row_make_unready_and_one_success_makes_ready() {
    let registry = one_engine(1);
    fail(&registry, FAILURE_THRESHOLD - 1);
    registry.probed(
        &pool("p"),
        &replica("r0"),
        generation(&registry),
        ProbeOutcome::ready(),
    );
    fail(&registry, FAILURE_THRESHOLD - 1);
    assert!(status(&registry, "p").ready, "never three in a row");

    fail(&registry, 1);
    let shown = status(&registry, "p");
    assert!(!shown.ready);
    assert_eq!(
        (shown.slots_free(), shown.slots_total()),
        (0, 0),
        "only ready replicas have slots to give"
    );
    assert_eq!(shown.last_error.as_deref(), Some("connection refused"));
    assert_eq!(
        shown.replicas.unwrap()[0].last_error.as_deref(),
        Some("connection refused")
    );
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::NotReady("connection refused".into())
    );

    registry.probed(
        &pool("p"),
        &replica("r0"),
        generation(&registry),
        ProbeOutcome::ready(),
    );
    let shown = status(&registry, "p");
    assert!(shown.ready && shown.last_error.is_none());
}

#[test]
fn draining_refuses_new_claims_and_can_be_undone() {
    let registry = one_engine(2);
    let lease = registry.claim(&pool("p"), None).unwrap();
    registry.drain(&DrainTarget::Pool(pool("p"))).unwrap();
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::Draining
    );
    let shown = status(&registry, "p");
    assert!(shown.draining && shown.ready);
    assert_eq!(
        (shown.slots_free(), shown.slots_total()),
        (1, 2),
        "progress stays visible"
    );
    drop(lease);
    registry.drain_all();
    registry.undrain(&DrainTarget::Pool(pool("p"))).unwrap();
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::Draining,
        "the node still drains"
    );
    registry.undrain(&DrainTarget::Node).unwrap();
    assert!(registry.claim(&pool("p"), None).is_ok());
    assert!(registry.drain(&DrainTarget::Pool(pool("q"))).is_err());
}

#[test]
fn a_pool_that_appears_while_the_node_drains_drains_too() {
    let registry = PoolRegistry::new(vec![]);
    registry.drain_all();
    registry.upsert(handoff("late", "r0", 1, 1)).unwrap();
    assert!(status(&registry, "late").draining);
    assert_eq!(
        registry.claim(&pool("late"), None).unwrap_err(),
        ClaimError::Draining
    );
}

// spec: SLOT-5
#[test]
fn a_retired_replica_stays_until_its_last_lease() {
    let registry = PoolRegistry::new(vec![]);
    registry.upsert(handoff("p", "r0", 8081, 2)).unwrap();
    let leases = claim_all(&registry, "p");
    registry.remove(&pool("p"), &replica("r0"));

    let shown = status(&registry, "p");
    assert!(!shown.ready);
    let replicas = shown.replicas.unwrap();
    assert!(!replicas[0].ready && replicas[0].last_error.is_some());
    assert!(registry.replicas().is_empty(), "it is not probed");
    assert_eq!(leases[0].url(), &url(8081), "its requests go on");

    drop(leases);
    assert!(registry.statuses().is_empty(), "the pool is not configured");
}

#[test]
fn a_replica_at_another_url_starts_afresh_while_old_leases_finish() {
    let registry = one_engine(1);
    fail(&registry, FAILURE_THRESHOLD - 1);
    let old = registry.claim(&pool("p"), None).unwrap();
    let old_generation = generation(&registry);
    registry.upsert(handoff("p", "r0", 9000, 1)).unwrap();
    assert_ne!(generation(&registry), old_generation);

    let new = registry.claim(&pool("p"), None).unwrap();
    assert_eq!((old.url(), new.url()), (&url(8081), &url(9000)));
    registry.probed(
        &pool("p"),
        &replica("r0"),
        old_generation,
        ProbeOutcome::failed("late"),
    );
    assert!(
        status(&registry, "p").ready,
        "a probe of the old generation does not count"
    );
    drop(old);
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::Busy,
        "the old lease freed the old slot"
    );
    drop(new);
    assert_eq!(status(&registry, "p").slots_free(), 1);
}

// spec: SLOT-6
#[test]
fn an_engine_that_comes_back_still_counts_its_running_requests() {
    let registry = one_engine(2);
    let lease = registry.claim(&pool("p"), None).unwrap();
    registry.remove(&pool("p"), &replica("r0"));
    registry.upsert(handoff("p", "r0", 8081, 2)).unwrap();
    assert_eq!(claim_all(&registry, "p").len(), 1);
    drop(lease);
    assert_eq!(claim_all(&registry, "p").len(), 2);
}

// spec: SLOT-6
#[test]
fn fewer_slots_for_the_same_engine_are_never_overdrawn_again() {
    let registry = one_engine(3);
    let mut leases = claim_all(&registry, "p");
    registry.upsert(handoff("p", "r0", 8081, 1)).unwrap();
    assert_eq!(status(&registry, "p").slots_free(), 0);
    leases.truncate(1);
    assert_eq!(
        registry.claim(&pool("p"), None).unwrap_err(),
        ClaimError::Busy
    );
    leases.clear();
    assert_eq!(claim_all(&registry, "p").len(), 1);
}

#[test]
fn the_version_rises_with_changes_that_must_be_reported_at_once() {
    let registry = PoolRegistry::new(vec![pool("p")]);
    let mut version = registry.subscribe();
    let mut moved = || {
        let moved = version.has_changed().unwrap();
        version.mark_unchanged();
        moved
    };
    registry.upsert(handoff("p", "r0", 8081, 1)).unwrap();
    assert!(moved(), "a replica");
    registry.upsert(handoff("p", "r0", 8081, 1)).unwrap();
    assert!(!moved(), "the same again");
    registry.upsert(handoff("p", "r0", 8081, 2)).unwrap();
    assert!(moved(), "slot totals");
    drop(registry.claim(&pool("p"), None).unwrap());
    assert!(!moved(), "a claim and a release");
    fail(&registry, FAILURE_THRESHOLD);
    assert!(moved(), "readiness");
    fail(&registry, 1);
    assert!(!moved(), "still not ready");
    let models = |name: &str| ProbeOutcome::ready().with_models(vec![name.into()]);
    registry.probed(
        &pool("p"),
        &replica("r0"),
        generation(&registry),
        models("x"),
    );
    assert!(moved(), "ready again, with models");
    registry.probed(
        &pool("p"),
        &replica("r0"),
        generation(&registry),
        models("x"),
    );
    assert!(!moved(), "the same models");
    registry.probed(
        &pool("p"),
        &replica("r0"),
        generation(&registry),
        models("y"),
    );
    assert!(moved(), "other models");
    registry.drain_all();
    assert!(moved(), "draining");
    registry.drain_all();
    assert!(!moved(), "draining twice");
    registry.set_vram_free(&pool("p"), 7);
    assert!(!moved(), "memory can wait");
    assert_eq!(status(&registry, "p").vram_free_bytes, 7);
    registry.remove(&pool("p"), &replica("r0"));
    assert!(moved(), "a replica gone");
    registry.remove(&pool("p"), &replica("r0"));
    assert!(!moved(), "gone already");
}

#[test]
fn handoffs_beyond_the_limits_of_a_heartbeat_are_refused() {
    let registry = PoolRegistry::new(vec![]);
    for i in 0..MAX_POOLS {
        registry
            .upsert(handoff(&format!("p{i}"), "r0", 1, 1))
            .unwrap();
        registry
            .upsert(handoff("p0", &format!("r{i}"), 1, 1))
            .unwrap();
    }
    assert_eq!(
        registry.upsert(handoff("more", "r0", 1, 1)),
        Err(UpsertError::TooManyPools)
    );
    assert_eq!(
        registry.upsert(handoff("p0", "more", 1, 1)),
        Err(UpsertError::TooManyReplicas)
    );
    registry.upsert(handoff("p0", "r0", 1, 2)).unwrap();
    registry.remove(&pool("p1"), &replica("r0"));
    registry.upsert(handoff("more", "r0", 1, 1)).unwrap();
}
