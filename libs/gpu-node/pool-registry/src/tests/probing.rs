//! Tests of what probes change and report.

use super::support::{claim_all, handoff, pool, replica};
use crate::{PoolRegistry, ProbeOutcome, ReplicaChange, Trust};
use pool_registry_types::{EngineLoad, MAX_MODELS};

fn generation(registry: &PoolRegistry) -> u64 {
    registry.replicas()[0].generation
}

fn reports_slots(slots: u32) -> ProbeOutcome {
    ProbeOutcome {
        slots: Some(slots),
        ..ProbeOutcome::ready()
    }
}

// spec: PROBE-10
#[test]
fn an_engine_gets_at_most_its_announced_slots() {
    let registry = PoolRegistry::new(vec![]);
    registry.upsert(handoff("p", "r0", 8081, 4)).unwrap();
    let probe =
        |outcome| registry.probed(&pool("p"), &replica("r0"), generation(&registry), outcome);
    let shown = || {
        let status = registry.statuses().remove(0);
        let total = status.slots_total();
        let replica = status.replicas.unwrap().remove(0);
        (total, replica.slots_total(), replica.slots_promised)
    };
    assert_eq!(probe(reports_slots(4)), []);
    assert_eq!(
        probe(reports_slots(9)),
        [],
        "the announced slots are the limit"
    );
    assert_eq!(shown(), (4, 4, None));
    let changes = registry.subscribe();
    let fewer = ReplicaChange::FewerSlots {
        announced: 4,
        actual: 2,
    };
    assert_eq!(probe(reports_slots(2)), [fewer]);
    assert!(
        changes.has_changed().unwrap(),
        "a heartbeat reports it at once"
    );
    assert_eq!(shown(), (2, 2, Some(4)));
    assert_eq!(probe(reports_slots(2)), [], "it is reported once");
    assert_eq!(probe(reports_slots(0)), [], "zero is not a count");
    let leases = claim_all(&registry, "p");
    assert_eq!(
        leases.len(),
        2,
        "an engine gets no more requests than slots"
    );
    assert_eq!(
        probe(ProbeOutcome::ready()),
        [],
        "a missing count changes nothing"
    );
    assert_eq!(
        probe(reports_slots(8)),
        [ReplicaChange::SlotsAsAnnounced { announced: 4 }]
    );
    assert_eq!(shown(), (4, 4, None));
    drop(leases);

    // A handoff with the actual slots is correct, whatever the earlier handoff announced.
    assert_eq!(probe(reports_slots(3)).len(), 1);
    registry.upsert(handoff("p", "r0", 8081, 3)).unwrap();
    assert_eq!(shown(), (3, 3, None));
}

// spec: PROBE-11
#[test]
fn an_engine_with_too_many_models_offers_the_first_and_reports_it() {
    let registry = PoolRegistry::new(vec![]);
    registry.upsert(handoff("p", "r0", 8081, 1)).unwrap();
    let lists = |count: usize| {
        let names = (0..count)
            .map(|i| format!("m{i:05}"))
            .chain(["x".repeat(300)]);
        let outcome = ProbeOutcome::ready().with_models(names.collect());
        registry.probed(&pool("p"), &replica("r0"), generation(&registry), outcome)
    };
    let shown = || {
        let replica = registry.statuses().remove(0).replicas.unwrap().remove(0);
        assert!(replica.ready);
        (replica.models.unwrap().len(), replica.last_error)
    };
    let kept = MAX_MODELS;
    let left_out = |left_out| vec![ReplicaChange::ModelsLeftOut { kept, left_out }];
    assert_eq!(lists(2000), left_out(2000 - MAX_MODELS + 1));
    assert_eq!(lists(2000), [], "it is reported once");
    let (offered, error) = shown();
    assert_eq!(offered, MAX_MODELS);
    assert!(
        error
            .unwrap()
            .starts_with("1024 of its models are offered and 977 are not")
    );
    assert_eq!(
        lists(2001),
        left_out(2000 - MAX_MODELS + 2),
        "and again when it changes"
    );
    let outcome = ProbeOutcome::ready().with_models(vec!["tiny".to_owned()]);
    let all = registry.probed(&pool("p"), &replica("r0"), generation(&registry), outcome);
    assert_eq!(
        all,
        [ReplicaChange::ModelsLeftOut {
            kept: 1,
            left_out: 0
        }]
    );
    assert_eq!(shown(), (1, None));
}

// spec: PROBE-2
#[test]
fn each_change_of_readiness_is_reported_once() {
    let registry = PoolRegistry::new(vec![]);
    registry.upsert(handoff("p", "r0", 8081, 1)).unwrap();
    let probe =
        |outcome| registry.probed(&pool("p"), &replica("r0"), generation(&registry), outcome);
    assert_eq!(probe(ProbeOutcome::failed("gone")), []);
    assert_eq!(probe(ProbeOutcome::failed("gone")), []);
    let not_ready = ReplicaChange::NotReady {
        reason: "gone".to_owned(),
    };
    assert_eq!(probe(ProbeOutcome::failed("gone")), [not_ready]);
    assert_eq!(probe(ProbeOutcome::failed("still gone")), []);
    assert_eq!(probe(ProbeOutcome::ready()), [ReplicaChange::ReadyAgain]);
    assert_eq!(probe(ProbeOutcome::ready()), []);
}

// spec: PROBE-8
#[test]
fn the_load_is_reported_until_it_changes_or_the_engine_is_not_ready() {
    let registry = PoolRegistry::new(vec![]);
    registry.upsert(handoff("p", "r0", 8081, 1)).unwrap();
    let probe =
        |outcome| registry.probed(&pool("p"), &replica("r0"), generation(&registry), outcome);
    let shown = || {
        registry.statuses()[0].replicas.as_ref().unwrap()[0]
            .load
            .clone()
    };
    let mut busy = EngineLoad::default();
    busy.running = Some(3);
    busy.models_loaded = Some(["b", "a", "b"].map(|name| name.parse().unwrap()).to_vec());
    let changes = registry.subscribe();
    probe(ProbeOutcome {
        load: Some(busy),
        ..ProbeOutcome::ready()
    });
    assert!(
        !changes.has_changed().unwrap(),
        "the load is not reported at once"
    );
    assert_eq!(shown().running, Some(3));
    assert_eq!(
        shown().models_loaded.unwrap(),
        ["a", "b"],
        "within the limits of a heartbeat"
    );
    probe(ProbeOutcome::ready());
    assert_eq!(shown().running, Some(3), "it was not asked");
    for _ in 0..3 {
        probe(ProbeOutcome::failed("gone"));
    }
    assert_eq!(shown(), EngineLoad::default());
}

// spec: FIND-8
#[test]
fn an_unverified_replica_is_ready_after_its_first_good_probe() {
    let registry = PoolRegistry::new(vec![]);
    let announce = |slots, trust| {
        let handoff = handoff("p", "r0", 8081, slots);
        registry.upsert_as(handoff, Ok(None), trust).unwrap();
    };
    let probe =
        |outcome| registry.probed(&pool("p"), &replica("r0"), generation(&registry), outcome);
    let is_ready = || registry.statuses()[0].ready;
    announce(1, Trust::Unverified);
    assert!(!is_ready() && registry.claim(&pool("p"), None).is_err());
    assert!(registry.replicas()[0].verifies_kind);
    // One failure is enough to say why, and is said once.
    let failed = |reason: &str| ReplicaChange::NotVerified {
        reason: reason.to_owned(),
    };
    assert_eq!(probe(ProbeOutcome::failed("refused")), [failed("refused")]);
    assert_eq!(probe(ProbeOutcome::failed("refused")), []);
    let error = registry.statuses().remove(0).last_error;
    assert_eq!(error.as_deref(), Some("refused"));
    // A corrected file proves nothing either.
    announce(2, Trust::Unverified);
    assert!(!is_ready());
    assert_eq!(probe(ProbeOutcome::ready()), [ReplicaChange::Verified]);
    assert!(is_ready() && registry.claim(&pool("p"), None).is_ok());
    announce(3, Trust::Unverified);
    assert!(is_ready(), "it has been verified");
    for _ in 0..2 {
        assert_eq!(probe(ProbeOutcome::failed("refused")), []);
    }
    assert_eq!(probe(ProbeOutcome::failed("refused")).len(), 1);
    assert_eq!(probe(ProbeOutcome::ready()), [ReplicaChange::ReadyAgain]);
    // The starter of an engine is trusted at once.
    assert_eq!(probe(ProbeOutcome::refused("key")).len(), 1);
    announce(3, Trust::Fresh);
    assert!(is_ready() && !registry.replicas()[0].verifies_kind);
}
