//! What probes change, and what is told of it.

use super::support::{claim_all, handoff, pool, replica};
use crate::{Change, PoolRegistry, ProbeOutcome};
use pool_registry_types::{EngineLoad, MAX_MODELS};

fn generation(registry: &PoolRegistry) -> u64 {
    registry.replicas()[0].generation
}

fn says_slots(slots: u32) -> ProbeOutcome {
    ProbeOutcome {
        slots: Some(slots),
        ..ProbeOutcome::ready()
    }
}

// spec: PROBE-10
#[test]
fn an_engine_may_have_fewer_slots_than_promised_but_never_more() {
    let registry = PoolRegistry::new(vec![]);
    registry.upsert(handoff("p", "r0", 8081, 4)).unwrap();
    let probe =
        |outcome| registry.probed(&pool("p"), &replica("r0"), generation(&registry), outcome);
    let said = || {
        let status = registry.statuses().remove(0);
        let total = status.slots_total();
        let replica = status.replicas.unwrap().remove(0);
        (total, replica.slots_total(), replica.slots_promised)
    };
    assert_eq!(probe(says_slots(4)), []);
    assert_eq!(probe(says_slots(9)), [], "what was promised is enough");
    assert_eq!(said(), (4, 4, None));
    let changes = registry.subscribe();
    let fewer = Change::FewerSlots {
        promised: 4,
        has: 2,
    };
    assert_eq!(probe(says_slots(2)), [fewer]);
    assert!(
        changes.has_changed().unwrap(),
        "a heartbeat says so at once"
    );
    assert_eq!(said(), (2, 2, Some(4)));
    assert_eq!(probe(says_slots(2)), [], "it is said once");
    assert_eq!(probe(says_slots(0)), [], "that is no count");
    let leases = claim_all(&registry, "p");
    assert_eq!(leases.len(), 2, "no engine gets more than it has");
    assert_eq!(
        probe(ProbeOutcome::ready()),
        [],
        "not being told changes nothing"
    );
    assert_eq!(
        probe(says_slots(8)),
        [Change::SlotsAsPromised { promised: 4 }]
    );
    assert_eq!(said(), (4, 4, None));
    drop(leases);

    // A handoff that promises what the engine has is right, whatever the last one said.
    assert_eq!(probe(says_slots(3)).len(), 1);
    registry.upsert(handoff("p", "r0", 8081, 3)).unwrap();
    assert_eq!(said(), (3, 3, None));
}

// spec: PROBE-11
#[test]
fn an_engine_with_more_models_than_a_replica_may_have_offers_the_first_and_says_so() {
    let registry = PoolRegistry::new(vec![]);
    registry.upsert(handoff("p", "r0", 8081, 1)).unwrap();
    let lists = |count: usize| {
        let names = (0..count)
            .map(|i| format!("m{i:05}"))
            .chain(["x".repeat(300)]);
        let outcome = ProbeOutcome::ready().with_models(names.collect());
        registry.probed(&pool("p"), &replica("r0"), generation(&registry), outcome)
    };
    let said = || {
        let replica = registry.statuses().remove(0).replicas.unwrap().remove(0);
        assert!(replica.ready);
        (replica.models.unwrap().len(), replica.last_error)
    };
    let kept = MAX_MODELS;
    let left_out = |left_out| vec![Change::ModelsLeftOut { kept, left_out }];
    assert_eq!(lists(2000), left_out(2000 - MAX_MODELS + 1));
    assert_eq!(lists(2000), [], "it is said once");
    let (offered, error) = said();
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
        [Change::ModelsLeftOut {
            kept: 1,
            left_out: 0
        }]
    );
    assert_eq!(said(), (1, None));
}

// spec: PROBE-2
#[test]
fn each_change_of_readiness_is_told_once() {
    let registry = PoolRegistry::new(vec![]);
    registry.upsert(handoff("p", "r0", 8081, 1)).unwrap();
    let probe =
        |outcome| registry.probed(&pool("p"), &replica("r0"), generation(&registry), outcome);
    assert_eq!(probe(ProbeOutcome::failed("gone")), []);
    assert_eq!(probe(ProbeOutcome::failed("gone")), []);
    let not_ready = Change::NotReady {
        reason: "gone".to_owned(),
    };
    assert_eq!(probe(ProbeOutcome::failed("gone")), [not_ready]);
    assert_eq!(probe(ProbeOutcome::failed("still gone")), []);
    assert_eq!(probe(ProbeOutcome::ready()), [Change::ReadyAgain]);
    assert_eq!(probe(ProbeOutcome::ready()), []);
}

// spec: PROBE-8
#[test]
fn what_an_engine_does_is_shown_until_it_says_otherwise_or_is_not_ready() {
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
    busy.models_loaded = Some(vec!["b\n".to_owned(), "a".to_owned()]);
    let changes = registry.subscribe();
    probe(ProbeOutcome {
        load: Some(busy),
        ..ProbeOutcome::ready()
    });
    assert!(!changes.has_changed().unwrap(), "it changes all the time");
    assert_eq!(shown().running, Some(3));
    assert_eq!(
        shown().models_loaded.unwrap(),
        ["a"],
        "what a heartbeat may say"
    );
    probe(ProbeOutcome::ready());
    assert_eq!(shown().running, Some(3), "it was not asked");
    for _ in 0..3 {
        probe(ProbeOutcome::failed("gone"));
    }
    assert_eq!(shown(), EngineLoad::default());
}
