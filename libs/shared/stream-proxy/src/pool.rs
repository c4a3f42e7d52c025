//! Idle connections, one stack per upstream, newest first.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};
use pool_registry_types::HttpUrl;
use tokio::time::Instant;

use crate::link::Link;

/// How often connections that have been idle too long are looked for: half of the time that those to engines are kept.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(2);

/// How many idle connections one upstream keeps: more than an engine has slots, so that a burst that has just
/// ended does not connect anew, and few enough that forgotten ones cost little (about 10 KiB each).
const MAX_IDLE_LINKS: usize = 512;

#[derive(Debug)]
struct Idle {
    link: Box<Link>,
    until: Instant,
}

/// The idle connections of one upstream.
#[derive(Debug, Default)]
pub(crate) struct IdleStack(Mutex<VecDeque<Idle>>);

impl IdleStack {
    /// The most recently used connection that still stands.
    pub(crate) fn take(&self) -> Option<Box<Link>> {
        loop {
            let Idle { mut link, until } = self.0.lock().pop_back()?;
            if Instant::now() < until && link.is_quiet() {
                return Some(link);
            }
        }
    }

    /// Keeps a connection for a request that comes within `time`; drops it when enough are kept.
    pub(crate) fn put(&self, link: Box<Link>, time: Duration) {
        let mut idle = self.0.lock();
        if idle.len() < MAX_IDLE_LINKS {
            idle.push_back(Idle {
                link,
                until: Instant::now() + time,
            });
        }
    }

    /// Closes those that have been idle too long; true when none is left.
    fn sweep(&self, now: Instant) -> bool {
        let mut idle = self.0.lock();
        // All connections to one upstream are kept for the same time, so the oldest end first.
        let stale = idle.iter().take_while(|idle| idle.until <= now).count();
        let closing: Vec<Idle> = idle.drain(..stale).collect();
        let empty = idle.is_empty();
        drop(idle);
        drop(closing);
        empty
    }
}

/// The idle stacks of all upstreams.
#[derive(Debug, Default)]
pub(crate) struct Stacks(RwLock<HashMap<String, Arc<IdleStack>, RandomState>>);

impl Stacks {
    pub(crate) fn of(&self, target: &HttpUrl) -> Arc<IdleStack> {
        let authority = target.authority().as_str();
        if let Some(stack) = self.0.read().get(authority) {
            return stack.clone();
        }
        self.0.write().entry(authority.to_owned()).or_default().clone()
    }

    /// Closes idle connections that are too old and forgets upstreams nobody uses any more.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        // A stack that a request holds just now (strong count above one) will get its connection back.
        self.0
            .write()
            .retain(|_, stack| !stack.sweep(now) || Arc::strong_count(stack) > 1);
    }
}
