//! Tests of the schedule, with a manual clock.

use std::time::Duration;

use pool_registry::{PoolRegistry, ProbeOutcome, ReplicaTarget};
use pool_registry_types::EngineLoad;
use tokio::time::Instant;

use crate::{
    ProbeScope, Timing,
    schedule::{Job, Schedule},
};

const READINESS: Duration = Duration::from_secs(2);
/// The scope for a replica whose handoff declares its models.
const DECLARED: ProbeScope = ProbeScope {
    models: false,
    ..ProbeScope::ALL
};

fn not_ready() -> ProbeOutcome {
    ProbeOutcome::failed("gone")
}

/// An outcome with everything in the scope.
fn outcome_of(scope: ProbeScope) -> ProbeOutcome {
    ProbeOutcome {
        models: scope.models.then(Vec::new),
        load: scope.load.then(EngineLoad::default),
        ..ProbeOutcome::ready()
    }
}

fn targets(replicas: &[(&str, bool)]) -> Vec<ReplicaTarget> {
    let registry = PoolRegistry::new(vec![]);
    for (replica, declares) in replicas {
        let models = if *declares { r#","models":["m"]"# } else { "" };
        let text = format!(
            r#"{{"pool_id":"p","replica_id":"{replica}","engine":"vllm",
                "url":"http://localhost:1","slots":1{models}}}"#
        );
        registry
            .upsert(serde_json::from_str(&text).unwrap())
            .unwrap();
    }
    registry.replicas().to_vec()
}

fn job(target: &ReplicaTarget, scope: ProbeScope) -> Job {
    Job {
        target: target.clone(),
        scope,
    }
}

// spec: PROBE-1, PROBE-9
#[test]
fn a_new_replica_is_probed_at_once_and_then_regularly() {
    let start = Instant::now();
    let targets = targets(&[("r0", false)]);
    let mut schedule = Schedule::new(Timing::default());
    schedule.sync(&targets, start);
    assert_eq!(schedule.next(), Some(start));
    assert_eq!(
        schedule.take_due(9, start),
        [job(&targets[0], ProbeScope::ALL)]
    );
    assert_eq!(schedule.take_due(9, start), [], "it is being asked");
    assert_eq!(schedule.next(), None);

    schedule.finished(&targets[0], &not_ready(), start, 0.0);
    let second = start + READINESS;
    assert_eq!(schedule.next(), Some(second));
    assert_eq!(
        schedule.take_due(9, second),
        [job(&targets[0], ProbeScope::ALL)],
        "its models are unknown"
    );
    schedule.finished(&targets[0], &outcome_of(ProbeScope::ALL), second, 0.0);
    for probes in 1..15 {
        let now = second + READINESS * probes;
        let load = ProbeScope {
            load: probes % 3 == 0,
            ..ProbeScope::READINESS
        };
        assert_eq!(
            schedule.take_due(9, now),
            [job(&targets[0], load)],
            "probe {probes}"
        );
        schedule.finished(&targets[0], &outcome_of(load), now, 0.0);
    }
    let later = second + Timing::default().models;
    assert_eq!(
        schedule.take_due(9, later),
        [job(&targets[0], ProbeScope::ALL)]
    );
}

#[test]
fn declared_models_are_not_asked_for() {
    let start = Instant::now();
    let targets = targets(&[("r0", true)]);
    let mut schedule = Schedule::new(Timing::default());
    schedule.sync(&targets, start);
    assert_eq!(schedule.take_due(9, start), [job(&targets[0], DECLARED)]);
    schedule.finished(&targets[0], &outcome_of(DECLARED), start, 0.0);
    let next = start + READINESS;
    assert_eq!(
        schedule.take_due(9, next),
        [job(&targets[0], ProbeScope::READINESS)]
    );
}

#[test]
fn the_longest_overdue_probes_start_first_up_to_the_limit() {
    let start = Instant::now();
    let targets = targets(&[("r0", true), ("r1", true), ("r2", true)]);
    let mut schedule = Schedule::new(Timing::default());
    schedule.sync(&targets, start);
    assert_eq!(schedule.take_due(2, start).len(), 2);
    schedule.finished(&targets[0], &outcome_of(DECLARED), start, 0.0);
    let later = start + READINESS;
    assert_eq!(schedule.take_due(1, later), [job(&targets[2], DECLARED)]);
    assert_eq!(
        schedule.take_due(9, later),
        [job(&targets[0], ProbeScope::READINESS)],
        "r1 is still being asked"
    );
}

#[test]
fn a_new_handoff_is_probed_at_once_and_late_outcomes_do_not_count() {
    let start = Instant::now();
    let old = targets(&[("r0", false)]);
    let mut schedule = Schedule::new(Timing::default());
    schedule.sync(&old, start);
    schedule.take_due(9, start);
    let new = vec![ReplicaTarget {
        revision: old[0].revision + 1,
        ..old[0].clone()
    }];
    schedule.sync(&new, start);
    schedule.finished(&old[0], &outcome_of(ProbeScope::ALL), start, 0.0);
    assert_eq!(schedule.take_due(9, start), [job(&new[0], ProbeScope::ALL)]);
    schedule.sync(&[], start);
    schedule.finished(&new[0], &outcome_of(ProbeScope::ALL), start, 0.0);
    assert_eq!(schedule.next(), None);
}

#[test]
fn jitter_stays_within_a_tenth() {
    let start = Instant::now();
    let targets = targets(&[("r0", false)]);
    for (drift, expected) in [(-1.0, 0.9), (0.0, 1.0), (1.0, 1.1), (50.0, 1.1)] {
        let mut schedule = Schedule::new(Timing::default());
        schedule.sync(&targets, start);
        schedule.take_due(9, start);
        schedule.finished(&targets[0], &not_ready(), start, drift);
        assert_eq!(schedule.next(), Some(start + READINESS.mul_f64(expected)));
    }
}
