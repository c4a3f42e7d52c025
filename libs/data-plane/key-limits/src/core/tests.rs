//! The limits hold in every history, and a refused request may come back when it was told.

use bearer_auth::UncheckedKeyLimits;
use proptest::prelude::*;

use super::*;

const S: Duration = Duration::from_secs(1);

fn at(now: Duration) -> Moment {
    Moment {
        now,
        utc: now + 20_000 * DAY + DAY / 2,
    }
}

fn limits(unchecked: UncheckedKeyLimits) -> KeyLimits {
    KeyLimits::try_from(unchecked).unwrap()
}

fn key() -> Arc<str> {
    "k1".into()
}

// spec: KEY-2, KEY-5
#[test]
fn a_minute_admits_the_limit_and_says_when_the_next_one_may_come() {
    let mut core = LimitsCore::default();
    let limits = limits(UncheckedKeyLimits {
        requests_per_minute: Some(2),
        ..UncheckedKeyLimits::default()
    });
    let first = core.admit(&key(), &limits, at(S / 2)).unwrap();
    assert_eq!(
        first.requests,
        Some(RateWindow {
            limit: 2,
            remaining: 1,
            reset: 60 * S + S / 2,
        })
    );
    assert_eq!(first.tokens, None);
    core.admit(&key(), &limits, at(30 * S)).unwrap();
    let refused = core.admit(&key(), &limits, at(40 * S)).unwrap_err();
    assert_eq!(
        (refused.kind, refused.retry_after),
        (LimitKind::RequestsPerMinute, 21 * S)
    );
    assert_eq!(refused.quota.requests.unwrap().remaining, 0);
    assert_eq!(
        refused.to_string(),
        "the limit of this key is reached: 2 requests a minute (requests_per_minute)"
    );
    core.admit(&key(), &limits, at(61 * S)).unwrap();
    // Another key has its own minute, and a key without the limit has none.
    core.admit(&"k2".into(), &limits, at(61 * S)).unwrap();
    let unlimited = core.admit(&key(), &KeyLimits::default(), at(61 * S));
    assert_eq!(unlimited, Ok(Quota::default()));
}

// spec: KEY-3, KEY-5
#[test]
fn tokens_are_charged_when_they_are_known() {
    let mut core = LimitsCore::default();
    let limits = limits(UncheckedKeyLimits {
        tokens_per_minute: Some(100),
        tokens_per_day: Some(250),
        ..UncheckedKeyLimits::default()
    });
    core.admit(&key(), &limits, at(S)).unwrap();
    // Both run: neither has been charged.
    core.admit(&key(), &limits, at(S)).unwrap();
    core.used_tokens("k1", 120, at(2 * S));
    core.used_tokens("k1", 90, at(3 * S));
    let refused = core.admit(&key(), &limits, at(4 * S)).unwrap_err();
    assert_eq!(
        (refused.kind, refused.limit, refused.retry_after),
        (LimitKind::TokensPerMinute, 100, 59 * S)
    );
    let quota = core.admit(&key(), &limits, at(63 * S)).unwrap();
    // The day has less left than the minute would have.
    assert_eq!(
        quota.tokens,
        Some(RateWindow {
            limit: 100,
            remaining: 10,
            reset: S,
        })
    );
    core.used_tokens("k1", 40, at(64 * S));
    let refused = core.admit(&key(), &limits, at(200 * S)).unwrap_err();
    assert_eq!(
        (refused.kind, refused.retry_after),
        (LimitKind::TokensPerDay, DAY / 2 - 200 * S)
    );
    core.admit(&key(), &limits, at(DAY / 2)).unwrap();
}

// spec: KEY-2, KEY-12
#[test]
fn a_request_that_waited_is_asked_again_whether_its_key_has_tokens() {
    let mut core = LimitsCore::default();
    let limits = limits(UncheckedKeyLimits {
        requests_per_minute: Some(3),
        tokens_per_minute: Some(100),
        tokens_per_day: Some(150),
        concurrent_requests: Some(3),
        ..UncheckedKeyLimits::default()
    });
    for _ in 0..3 {
        core.admit(&key(), &limits, at(S)).unwrap();
    }
    // The limits of requests have admitted them: they refuse none of them now.
    core.has_tokens("k1", &limits, at(2 * S)).unwrap();
    core.used_tokens("k1", 100, at(2 * S));
    let refused = core.has_tokens("k1", &limits, at(3 * S)).unwrap_err();
    assert_eq!(
        (refused.kind, refused.limit, refused.retry_after),
        (LimitKind::TokensPerMinute, 100, 60 * S)
    );
    // It counts for nothing.
    core.withdrawn("k1", S);
    core.ended("k1", S);
    let quota = core.admit(&key(), &limits, at(63 * S)).unwrap();
    assert_eq!(quota.requests.unwrap().remaining, 2);
    core.used_tokens("k1", 50, at(63 * S));
    let refused = core.has_tokens("k1", &limits, at(63 * S)).unwrap_err();
    assert_eq!(refused.kind, LimitKind::TokensPerDay);
    // What the minute has forgotten cannot be taken back.
    core.withdrawn("k1", S);
    core.withdrawn("k1", 90 * S);
    let quota = core.keys["k1"].quota(&limits, at(63 * S));
    assert_eq!(quota.requests.unwrap().remaining, 2);
    assert_eq!(core.has_tokens("k2", &limits, at(S)), Ok(()));
}

// spec: KEY-4, KEY-5
#[test]
fn requests_at_once_are_counted_until_they_end() {
    let mut core = LimitsCore::default();
    let limits = limits(UncheckedKeyLimits {
        concurrent_requests: Some(2),
        ..UncheckedKeyLimits::default()
    });
    for _ in 0..2 {
        core.admit(&key(), &limits, at(S)).unwrap();
    }
    let refused = core.admit(&key(), &limits, at(S)).unwrap_err();
    // Two requests of an assumed second each.
    assert_eq!(
        (refused.kind, refused.retry_after),
        (LimitKind::ConcurrentRequests, S / 2)
    );
    core.ended("k1", 9 * S);
    core.admit(&key(), &limits, at(10 * S)).unwrap();
    let refused = core.admit(&key(), &limits, at(10 * S)).unwrap_err();
    // The mean of seven times one second and nine seconds.
    assert_eq!(refused.retry_after, S);
}

// spec: KEY-3
#[test]
fn a_restart_keeps_the_tokens_of_the_day_and_a_new_day_forgets_idle_keys() {
    let mut core = LimitsCore::default();
    let limits = limits(UncheckedKeyLimits {
        tokens_per_day: Some(10),
        ..UncheckedKeyLimits::default()
    });
    core.restore(&key(), 10, at(S));
    assert!(core.admit(&key(), &limits, at(S)).is_err());
    core.admit(&"k2".into(), &limits, at(DAY)).unwrap();
    // Yesterday is remembered.
    assert_eq!(core.keys.len(), 2);
    core.admit(&"k2".into(), &limits, at(2 * DAY)).unwrap();
    assert_eq!(core.keys.len(), 1);
}

// spec: KEY-13
#[test]
fn a_clock_that_jumps_and_returns_takes_no_day_and_gives_none() {
    let limits = limits(UncheckedKeyLimits {
        tokens_per_day: Some(10),
        ..UncheckedKeyLimits::default()
    });
    let shows = |now: u32, day: u32| Moment {
        now: now * S,
        utc: 20_000 * DAY + day * DAY + DAY / 2,
    };
    for jump in [
        shows(10, 30),
        shows(10, 1),
        Moment {
            utc: Duration::ZERO,
            ..shows(10, 0)
        },
    ] {
        let mut core = LimitsCore::default();
        core.admit(&key(), &limits, shows(1, 0)).unwrap();
        core.used_tokens("k1", 10, shows(2, 0));
        assert!(core.admit(&key(), &limits, shows(3, 0)).is_err());
        // The wrong day has its own tokens.
        core.admit(&key(), &limits, jump).unwrap();
        core.used_tokens("k1", 10, jump);
        let refused = core.admit(&key(), &limits, jump).unwrap_err();
        assert!(refused.retry_after <= DAY);
        // Back, the day goes on as it was, and the next one is a new one.
        assert!(core.admit(&key(), &limits, shows(20, 0)).is_err());
        core.admit(&"k2".into(), &limits, shows(20, 0)).unwrap();
        if jump.utc != shows(0, 1).utc {
            core.admit(&key(), &limits, shows(30, 1)).unwrap();
            core.used_tokens("k1", 10, shows(31, 1));
            assert!(core.admit(&key(), &limits, shows(32, 1)).is_err());
        }
        core.admit(&key(), &limits, shows(40, 2)).unwrap();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Admit,
    /// The oldest running request ends with these tokens.
    End(u64),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Admit),
        3 => (0..40_u64).prop_map(Step::End),
        3 => (0..9_000_u64).prop_map(Step::Pass),
        1 => (0..70_000_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..200)
}

fn some_limits() -> impl Strategy<Value = KeyLimits> {
    let limit = |most: u64| prop::option::of(1..most);
    (limit(6), limit(60), limit(400), limit(4)).prop_map(
        |(requests_per_minute, tokens_per_minute, tokens_per_day, concurrent_requests)| {
            limits(UncheckedKeyLimits {
                requests_per_minute,
                tokens_per_minute,
                tokens_per_day,
                concurrent_requests,
                ..UncheckedKeyLimits::default()
            })
        },
    )
}

proptest! {
    /// In no 60 seconds are more requests admitted than the limit, and never more run at once. A
    /// request is admitted only while tokens are left. One that is refused may come back after the
    /// time it was told, and not without need before it.
    // spec: KEY-2, KEY-3, KEY-4, KEY-5
    #[test]
    fn no_history_exceeds_a_limit(steps in steps(), limits in some_limits()) {
        let mut core = LimitsCore::default();
        let mut now = Duration::from_millis(500);
        let mut admitted: Vec<Duration> = Vec::new();
        let mut charged: Vec<(Duration, u64)> = Vec::new();
        let mut running = 0_u64;
        for step in steps {
            match step {
                Step::Pass(ms) => now += Duration::from_millis(ms),
                Step::End(tokens) if running > 0 => {
                    core.used_tokens("k1", tokens, at(now));
                    core.ended("k1", S);
                    charged.push((now, tokens));
                    running -= 1;
                }
                Step::End(_) => {}
                Step::Admit => {
                    let of_last = |seconds: u32| {
                        let since = now.saturating_sub(seconds * S);
                        let is_recent = |then: Duration| then >= since;
                        let requests = admitted.iter().filter(|then| is_recent(**then)).count();
                        let tokens = charged.iter().filter(|(then, _)| is_recent(*then));
                        (requests as u64, tokens.map(|(_, tokens)| tokens).sum::<u64>())
                    };
                    let ((requests, tokens), (most_requests, most_tokens)) =
                        (of_last(60), of_last(61));
                    let today: u64 = charged.iter().map(|(_, tokens)| tokens).sum();
                    let is_below = |limit: Option<u64>, used: u64| {
                        limit.is_none_or(|limit| used < limit)
                    };
                    match core.admit(&key(), &limits, at(now)) {
                        Ok(quota) => {
                            prop_assert!(is_below(limits.requests_per_minute(), requests));
                            prop_assert!(is_below(limits.tokens_per_minute(), tokens));
                            prop_assert!(is_below(limits.tokens_per_day(), today));
                            prop_assert!(is_below(limits.concurrent_requests(), running));
                            if let Some(window) = quota.requests {
                                prop_assert!(window.reset <= 61 * S);
                                prop_assert!(window.remaining < window.limit);
                            }
                            admitted.push(now);
                            running += 1;
                        }
                        Err(refused) => {
                            let is_needed = match refused.kind {
                                LimitKind::ConcurrentRequests => running >= refused.limit,
                                LimitKind::RequestsPerMinute => most_requests >= refused.limit,
                                LimitKind::TokensPerMinute => most_tokens >= refused.limit,
                                LimitKind::TokensPerDay => today >= refused.limit,
                            };
                            prop_assert!(is_needed, "{refused:?}");
                            if refused.kind != LimitKind::ConcurrentRequests {
                                prop_assert!(refused.retry_after > Duration::ZERO);
                                let later = at(now + refused.retry_after);
                                // Only what runs may still refuse it.
                                let mut copy = core.clone();
                                copy.start_day(later);
                                let used = copy.keys.entry(key()).or_default();
                                used.running = 0;
                                used.advance(later);
                                prop_assert_eq!(used.exceeded(&limits, later), None);
                            }
                        }
                    }
                }
            }
        }
    }
}
