//! The retry decision as tables, and its bounds for any sequence of failures.

use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn failure(kind: FailureKind) -> AttemptFailure {
    AttemptFailure {
        kind,
        executed: false,
        resent: false,
    }
}

fn retry(excludes_endpoint: bool, was_executed: bool) -> RetryDecision {
    RetryDecision::Retry {
        excludes_endpoint,
        was_executed,
    }
}

/// A request that holds a slot since `now`.
fn running(deadline: Option<Instant>, queue_timeout: Duration, now: Instant) -> RetryState {
    let mut state = RetryState::new(deadline, queue_timeout);
    state.acquiring(now);
    state.acquired(None);
    state
}

// spec: PATH-3, PATH-27
#[test]
fn the_first_failure_decides_what_a_retry_costs() {
    use FailureKind::{Broken, Refused, Unreachable};
    for (kind, executed, resent, expected) in [
        (Unreachable, false, false, retry(false, false)),
        (Unreachable, false, true, retry(false, true)),
        (Refused, false, false, retry(false, false)),
        (Refused, true, false, retry(false, true)),
        (Refused, false, true, retry(false, true)),
        (Broken, false, false, retry(true, true)),
        (Broken, true, true, retry(true, true)),
    ] {
        let now = Instant::now();
        let failure = AttemptFailure {
            kind,
            executed,
            resent,
        };
        let mut state = running(None, MINUTE, now);
        assert_eq!(state.failed(failure, now), expected, "{failure:?}");
    }
}

// spec: PATH-27, PATH-38
#[test]
fn each_kind_of_failure_has_its_own_bound() {
    let busy = failure(FailureKind::Refused);
    let executed = AttemptFailure {
        executed: true,
        ..busy
    };
    let resent = AttemptFailure {
        resent: true,
        ..failure(FailureKind::Broken)
    };
    for (failure, queue_timeout_s, expected) in [
        (failure(FailureKind::Broken), 60, u64::from(MAX_TRIES)),
        (resent, 60, u64::from(MAX_TRIES) - 1),
        (executed, 60, u64::from(MAX_TRIES)),
        (
            failure(FailureKind::Unreachable),
            60,
            u64::from(MAX_UNREACHABLE),
        ),
        (busy, 5, MIN_REFUSALS),
        (busy, 600, 600 * REFUSALS_PER_SECOND),
    ] {
        let now = Instant::now();
        let mut state = running(None, Duration::from_secs(queue_timeout_s), now);
        let attempts = (1..).find(|_| state.failed(failure, now) == RetryDecision::GiveUp);
        assert_eq!(
            attempts,
            Some(expected),
            "{failure:?}, {queue_timeout_s} s in the queue"
        );
    }
}

#[test]
fn a_second_sending_counts_once() {
    let now = Instant::now();
    let mut state = running(None, MINUTE, now);
    let resent = AttemptFailure {
        resent: true,
        ..failure(FailureKind::Unreachable)
    };
    assert_eq!(state.failed(resent, now), retry(false, true));
    // The same second sending, reported again with the next attempt.
    assert_eq!(state.failed(resent, now), retry(false, false));
}

#[test]
fn nothing_is_retried_after_the_deadline() {
    let now = Instant::now();
    for (deadline, expected) in [
        (now + MINUTE, retry(true, true)),
        (now, RetryDecision::GiveUp),
    ] {
        let mut state = running(Some(deadline), MINUTE, now);
        assert_eq!(state.failed(failure(FailureKind::Broken), now), expected);
    }
}

// spec: PATH-36
#[test]
fn time_at_a_busy_endpoint_counts_as_queue_time() {
    let start = Instant::now();
    let mut state = RetryState::new(None, Duration::from_secs(10));
    state.acquiring(start);
    state.acquired(Some(start + Duration::from_secs(3)));
    assert_eq!(state.queue_time(), Duration::from_secs(3));
    let busy = failure(FailureKind::Refused);
    let refused_at = start + Duration::from_secs(7);
    assert_eq!(state.failed(busy, refused_at), retry(false, false));
    assert_eq!(state.queue_time_left(), Duration::from_secs(3));
    state.acquiring(refused_at);
    state.not_acquired(refused_at + Duration::from_secs(3));
    assert_eq!(state.queue_time(), Duration::from_secs(10));
    let mut waited = running(None, Duration::from_secs(10), start);
    let late = start + Duration::from_secs(10);
    assert_eq!(waited.failed(busy, late), RetryDecision::GiveUp);
}

#[test]
fn a_free_slot_costs_no_queue_time() {
    let state = running(None, MINUTE, Instant::now());
    assert_eq!((state.attempts(), state.queue_time()), (1, Duration::ZERO));
}

fn any_failure() -> impl Strategy<Value = AttemptFailure> {
    let kind = prop_oneof![
        Just(FailureKind::Unreachable),
        Just(FailureKind::Refused),
        Just(FailureKind::Broken),
    ];
    (kind, any::<bool>(), any::<bool>()).prop_map(|(kind, executed, resent)| AttemptFailure {
        kind,
        executed,
        resent,
    })
}

proptest! {
    // spec: PATH-27, PATH-36, PATH-38
    #[test]
    fn every_sequence_of_failures_is_bounded(
        failures in prop::collection::vec((any_failure(), 0..2000_u64), 1..200),
        deadline_ms in prop::option::of(0..100_000_u64),
        queue_timeout_ms in 0..100_000_u64,
    ) {
        let start = Instant::now();
        let deadline = deadline_ms.map(|ms| start + Duration::from_millis(ms));
        let queue_timeout = Duration::from_millis(queue_timeout_ms);
        let mut state = RetryState::new(deadline, queue_timeout);
        let (mut now, mut executions, mut unreachable, mut queued) = (start, 0, 0, Duration::ZERO);
        for (failure, passed_ms) in failures {
            state.acquiring(now);
            state.acquired(None);
            now += Duration::from_millis(passed_ms);
            let decision = state.failed(failure, now);
            prop_assert!(state.queue_time() >= queued, "queue time only grows");
            queued = state.queue_time();
            let RetryDecision::Retry { excludes_endpoint, was_executed } = decision else {
                return Ok(());
            };
            executions += u32::from(was_executed);
            unreachable += u32::from(failure.kind == FailureKind::Unreachable);
            prop_assert!(executions < MAX_TRIES);
            prop_assert!(unreachable < MAX_UNREACHABLE);
            prop_assert!(deadline.is_none_or(|deadline| now < deadline));
            prop_assert!(!failure.executed || was_executed, "an execution is always paid for");
            prop_assert_eq!(excludes_endpoint, failure.kind == FailureKind::Broken);
            prop_assert!(failure.kind != FailureKind::Refused || queued < queue_timeout);
        }
    }
}
