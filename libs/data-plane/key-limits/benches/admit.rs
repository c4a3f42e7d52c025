//! What a request of a key with every limit costs here.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::sync::Arc;

use bearer_auth::{Identity, KeyLimits, Scope, UncheckedKeyLimits};
use divan::Bencher;
use key_limits::KeyLimiter;

fn main() {
    divan::main();
}

fn key(number: usize) -> Arc<Identity> {
    let limits = UncheckedKeyLimits {
        requests_per_minute: Some(1_000_000),
        tokens_per_minute: Some(1_000_000_000),
        tokens_per_day: Some(1_000_000_000_000),
        concurrent_requests: Some(100_000),
        ..UncheckedKeyLimits::default()
    };
    Arc::new(Identity {
        id: format!("key-{number}").into(),
        name: "shop".into(),
        scopes: Scope::Client.into(),
        node: None,
        expires_at: None,
        limits: KeyLimits::try_from(limits).unwrap(),
    })
}

/// Admission, its tokens and its end, beside this many other keys.
#[divan::bench(args = [1, 100, 10_000])]
fn admit_and_end(bencher: Bencher<'_, '_>, keys: usize) {
    let limiter = KeyLimiter::default();
    let all: Vec<_> = (0..keys).map(key).collect();
    for key in &all {
        drop(limiter.admit(key));
    }
    let mut next = all.iter().cycle();
    bencher.bench_local(|| {
        if let Ok(permit) = limiter.admit(next.next().unwrap()) {
            permit.used_tokens(0);
        }
    });
}
