//! Idle connections, by upstream and by the runtime that watches them, newest first.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};
use pool_registry_types::HttpUrl;
use tokio::{
    runtime::{Handle, Id},
    time::Instant,
};

use crate::link::Link;

/// How often connections that have been idle too long are looked for: half of the time that those
/// to engines are kept.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(2);

/// How many idle connections one upstream keeps: more than an engine has slots, so that a burst
/// that has just ended does not connect anew, and few enough that forgotten ones cost little (about
/// 10 KiB each).
pub(crate) const MAX_IDLE_LINKS: usize = 512;

#[derive(Debug)]
struct Idle {
    link: Box<Link>,
    until: Instant,
}

/// The idle connections of one upstream: a stack for each runtime that has opened one, of which
/// there are few.
///
/// A connection is watched by the runtime in which it was opened. Used from another one it would
/// wake that one first, for each piece that comes, so that whoever needs one takes of his own
/// first.
#[derive(Debug, Default)]
pub(crate) struct IdleStack(Mutex<Vec<(Id, VecDeque<Idle>)>>);

impl IdleStack {
    /// The most recently used connection that still stands.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn take(&self, now: Instant) -> Option<Box<Link>> {
        let here = Handle::current().id();
        loop {
            let Idle { mut link, until } = self.pop(here)?;
            if now < until && link.is_quiet() {
                if link.watched_by() == here {
                    return Some(link);
                }
                match link.move_here() {
                    Ok(link) => return Some(Box::new(link)),
                    Err(error) => {
                        tracing::debug!(%error, "an idle connection cannot be used from here")
                    }
                }
            }
        }
    }

    /// The newest of `here`, or else any.
    fn pop(&self, here: Id) -> Option<Idle> {
        let mut stacks = self.0.lock();
        let newest = |(_, stack): &mut (Id, VecDeque<Idle>)| stack.pop_back();
        if let Some(idle) = stacks
            .iter_mut()
            .find(|(runtime, _)| *runtime == here)
            .and_then(newest)
        {
            return Some(idle);
        }
        stacks.iter_mut().find_map(newest)
    }

    /// Keeps a connection for a request that comes within `time`; drops it when enough are kept.
    pub(crate) fn put(&self, link: Box<Link>, time: Duration) {
        let watched_by = link.watched_by();
        let until = Instant::now() + time;
        let mut stacks = self.0.lock();
        let count: usize = stacks.iter().map(|(_, stack)| stack.len()).sum();
        if count >= MAX_IDLE_LINKS {
            return;
        }
        let idle = Idle { link, until };
        match stacks
            .iter_mut()
            .find(|(runtime, _)| *runtime == watched_by)
        {
            Some((_, stack)) => stack.push_back(idle),
            None => stacks.push((watched_by, VecDeque::from([idle]))),
        }
    }

    /// Closes those that have been idle too long; true when none is left.
    fn sweep(&self, now: Instant) -> bool {
        let mut closing = Vec::new();
        let mut stacks = self.0.lock();
        stacks.retain_mut(|(_, stack)| {
            // All connections to one upstream are kept for the same time, so the oldest end first.
            let stale = stack.iter().take_while(|idle| idle.until <= now).count();
            closing.extend(stack.drain(..stale));
            !stack.is_empty()
        });
        let empty = stacks.is_empty();
        drop(stacks);
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
        self.0
            .write()
            .entry(authority.to_owned())
            .or_default()
            .clone()
    }

    /// Closes idle connections that are too old and forgets upstreams nobody uses any more.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        // A stack that a request holds just now (strong count above one) will get its connection
        // back.
        self.0
            .write()
            .retain(|_, stack| !stack.sweep(now) || Arc::strong_count(stack) > 1);
    }
}
