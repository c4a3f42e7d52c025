//! Who is asked when, with a clock made by hand.

use std::time::Duration;

use pool_registry::{PoolRegistry, ReplicaTarget};
use tokio::time::Instant;

use crate::{
    Ask, Timing,
    schedule::{Job, Schedule},
};

const READINESS: Duration = Duration::from_secs(2);

fn targets(replicas: &[(&str, bool)]) -> Vec<ReplicaTarget> {
    let registry = PoolRegistry::new(vec![]);
    for (replica, declares) in replicas {
        let models = if *declares { r#","models":["m"]"# } else { "" };
        let text = format!(
            r#"{{"pool_id":"p","replica_id":"{replica}","engine":"vllm","url":"http://localhost:1","slots":1{models}}}"#
        );
        registry.upsert(serde_json::from_str(&text).unwrap()).unwrap();
    }
    registry.replicas().to_vec()
}

fn job(target: &ReplicaTarget, ask: Ask) -> Job {
    Job {
        target: target.clone(),
        ask,
    }
}

// spec: PROBE-1
#[test]
fn a_new_replica_is_asked_at_once_and_then_regularly() {
    let start = Instant::now();
    let targets = targets(&[("r0", false)]);
    let mut schedule = Schedule::new(Timing::default());
    schedule.sync(&targets, start);
    assert_eq!(schedule.next(), Some(start));
    assert_eq!(schedule.take_due(9, start), [job(&targets[0], Ask::Models)]);
    assert_eq!(schedule.take_due(9, start), [], "it is being asked");
    assert_eq!(schedule.next(), None);

    schedule.finished(&targets[0], false, start, 0.0);
    let second = start + READINESS;
    assert_eq!(schedule.next(), Some(second));
    assert_eq!(
        schedule.take_due(9, second),
        [job(&targets[0], Ask::Models)],
        "it has not told its models"
    );
    schedule.finished(&targets[0], true, second, 0.0);
    let third = second + READINESS;
    assert_eq!(schedule.take_due(9, third), [job(&targets[0], Ask::Readiness)]);
    schedule.finished(&targets[0], false, third, 0.0);
    let later = second + Timing::default().models;
    assert_eq!(schedule.take_due(9, later), [job(&targets[0], Ask::Models)]);
}

#[test]
fn declared_models_are_not_asked_for() {
    let start = Instant::now();
    let targets = targets(&[("r0", true)]);
    let mut schedule = Schedule::new(Timing::default());
    schedule.sync(&targets, start);
    assert_eq!(schedule.take_due(9, start), [job(&targets[0], Ask::Readiness)]);
}

#[test]
fn no_more_than_asked_for_and_the_longest_overdue_first() {
    let start = Instant::now();
    let targets = targets(&[("r0", true), ("r1", true), ("r2", true)]);
    let mut schedule = Schedule::new(Timing::default());
    schedule.sync(&targets, start);
    assert_eq!(schedule.take_due(2, start).len(), 2);
    schedule.finished(&targets[0], false, start, 0.0);
    let later = start + READINESS;
    assert_eq!(schedule.take_due(1, later), [job(&targets[2], Ask::Readiness)]);
    assert_eq!(
        schedule.take_due(9, later),
        [job(&targets[0], Ask::Readiness)],
        "r1 is still being asked"
    );
}

#[test]
fn a_replica_announced_anew_is_asked_at_once_and_late_results_do_not_count() {
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
    schedule.finished(&old[0], true, start, 0.0);
    assert_eq!(schedule.take_due(9, start), [job(&new[0], Ask::Models)]);
    schedule.sync(&[], start);
    schedule.finished(&new[0], true, start, 0.0);
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
        schedule.finished(&targets[0], false, start, drift);
        assert_eq!(schedule.next(), Some(start + READINESS.mul_f64(expected)));
    }
}
