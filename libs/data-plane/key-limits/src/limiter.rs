//! A lock and clocks around the pure core, and the permit of a running request.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bearer_auth::Identity;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::core::{LimitExceeded, LimitsCore, Moment, Quota};

/// Enforces the limits of keys. Clones share what was counted.
#[derive(Clone)]
pub struct KeyLimiter(Arc<Shared>);

struct Shared {
    core: Mutex<LimitsCore>,
    origin: Instant,
}

impl Default for KeyLimiter {
    fn default() -> Self {
        Self(Arc::new(Shared {
            core: Mutex::new(LimitsCore::default()),
            origin: Instant::now(),
        }))
    }
}

impl Shared {
    fn moment(&self, now: Instant) -> Moment {
        let utc = SystemTime::now().duration_since(UNIX_EPOCH);
        Moment {
            now: now.saturating_duration_since(self.origin),
            utc: utc.unwrap_or(Duration::ZERO),
        }
    }
}

impl KeyLimiter {
    /// A request of a key wants to go on.
    ///
    /// # Errors
    /// When a limit of the key is reached.
    pub fn admit(&self, key: &Arc<Identity>) -> Result<KeyPermit, LimitExceeded> {
        let started = Instant::now();
        let at = self.0.moment(started);
        let quota = self.0.core.lock().admit(&key.id, &key.limits, at)?;
        Ok(KeyPermit {
            shared: Arc::clone(&self.0),
            key: Arc::clone(key),
            started,
            quota,
        })
    }

    /// Says what a key has used today at least: before this process started, or while it had no
    /// limits.
    pub fn restore(&self, key_id: &Arc<str>, tokens_today: u64) {
        let at = self.0.moment(Instant::now());
        self.0.core.lock().restore(key_id, tokens_today, at);
    }
}

impl fmt::Debug for KeyLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLimiter").finish_non_exhaustive()
    }
}

/// A running request of a key. It has ended when this is dropped.
pub struct KeyPermit {
    shared: Arc<Shared>,
    key: Arc<Identity>,
    started: Instant,
    quota: Quota,
}

impl KeyPermit {
    /// What its key had left when the request was admitted.
    #[must_use]
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// The request gets a slot: asks again whether its key has tokens left, because others may have
    /// used them up while it waited. A key without limits of tokens is not looked up.
    ///
    /// # Errors
    /// When a limit of tokens is reached.
    pub fn has_tokens(&self) -> Result<(), LimitExceeded> {
        let limits = &self.key.limits;
        if limits.tokens_per_minute().is_none() && limits.tokens_per_day().is_none() {
            return Ok(());
        }
        let at = self.shared.moment(Instant::now());
        let mut core = self.shared.core.lock();
        core.has_tokens(&self.key.id, limits, at)
    }

    /// The request was refused after its admission, and no engine has got it: it counts for
    /// nothing.
    pub fn withdraw(&self) {
        let admitted = self.shared.moment(self.started).now;
        self.shared.core.lock().withdrawn(&self.key.id, admitted);
    }

    /// The request has used tokens, which it read or generated.
    pub fn used_tokens(&self, tokens: u64) {
        if tokens > 0 {
            let at = self.shared.moment(Instant::now());
            let mut core = self.shared.core.lock();
            core.used_tokens(&self.key.id, tokens, at);
        }
    }
}

impl Drop for KeyPermit {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        self.shared.core.lock().ended(&self.key.id, duration);
    }
}

impl fmt::Debug for KeyPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPermit")
            .field("key", &self.key.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bearer_auth::{KeyLimits, Scope, UncheckedKeyLimits};

    use super::*;

    fn key(limits: UncheckedKeyLimits) -> Arc<Identity> {
        Arc::new(Identity {
            id: "k1".into(),
            name: "shop".into(),
            scopes: Scope::Client.into(),
            node: None,
            expires_at: None,
            limits: KeyLimits::try_from(limits).unwrap(),
        })
    }

    // spec: KEY-2, KEY-4
    #[test]
    fn threads_at_once_get_no_more_than_the_limits() {
        const THREADS: u64 = 8;
        const EACH: u64 = 2000;
        let limiter = KeyLimiter::default();
        let key = key(UncheckedKeyLimits {
            requests_per_minute: Some(1000),
            concurrent_requests: Some(3),
            ..UncheckedKeyLimits::default()
        });
        let (admitted, running) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let Ok(permit) = limiter.admit(&key) else {
                            std::thread::yield_now();
                            continue;
                        };
                        let before = running.fetch_add(1, Ordering::SeqCst);
                        assert!(before < 3, "{before} others run");
                        admitted.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        let admitted = admitted.into_inner();
        // A slow machine may need more than a minute, and then admits more.
        println!("{admitted} of {} admitted", THREADS * EACH);
        let minutes = limiter.0.origin.elapsed().as_secs() / 60 + 1;
        assert!((1..=1000 * minutes).contains(&admitted), "{admitted}");
    }
}
