//! Idle connections by upstream and by the runtime that polls them, newest first.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};
use tokio::{
    runtime::{Handle, Id},
    time::Instant,
};

use crate::connection::UpstreamConnection;

/// How often to call [`IdlePools::sweep`]: half of the shortest idle time that is in use.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(2);

/// The most idle connections of one upstream: enough to reuse after a burst, and few enough that
/// forgotten ones cost little (about 10 KiB each).
pub const MAX_IDLE_CONNECTIONS: usize = 512;

#[derive(Debug)]
struct Idle {
    connection: Box<UpstreamConnection>,
    until: Instant,
}

/// The idle connections of one upstream: one stack for each runtime that opened one.
///
/// The runtime that opened a connection polls it. Used from another runtime, each read would wake
/// the first one, so [`take`](Self::take) prefers connections of the current runtime.
#[derive(Debug, Default)]
pub struct IdlePool(Mutex<Vec<(Id, VecDeque<Idle>)>>);

impl IdlePool {
    /// The most recently used connection that is still open at `now`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn take(&self, now: Instant) -> Option<Box<UpstreamConnection>> {
        let current = Handle::current().id();
        loop {
            let Idle {
                mut connection,
                until,
            } = self.pop(current)?;
            if now < until && connection.is_quiet() {
                if connection.runtime() == current {
                    return Some(connection);
                }
                match connection.move_to_current_runtime() {
                    Ok(connection) => return Some(Box::new(connection)),
                    Err(error) => {
                        tracing::debug!(%error, "cannot move an idle connection to this runtime");
                    }
                }
            }
        }
    }

    /// The newest connection of `runtime`, or else of any other.
    fn pop(&self, runtime: Id) -> Option<Idle> {
        let mut stacks = self.0.lock();
        let newest = |(_, stack): &mut (Id, VecDeque<Idle>)| stack.pop_back();
        if let Some(idle) = stacks
            .iter_mut()
            .find(|(id, _)| *id == runtime)
            .and_then(newest)
        {
            return Some(idle);
        }
        stacks.iter_mut().find_map(newest)
    }

    /// Stores a connection for a request that comes within `time`. Closes it if
    /// [`MAX_IDLE_CONNECTIONS`] are stored already.
    pub fn put(&self, connection: Box<UpstreamConnection>, time: Duration) {
        let runtime = connection.runtime();
        let until = Instant::now() + time;
        let mut stacks = self.0.lock();
        let count: usize = stacks.iter().map(|(_, stack)| stack.len()).sum();
        if count >= MAX_IDLE_CONNECTIONS {
            return;
        }
        let idle = Idle { connection, until };
        match stacks.iter_mut().find(|(id, _)| *id == runtime) {
            Some((_, stack)) => stack.push_back(idle),
            None => stacks.push((runtime, VecDeque::from([idle]))),
        }
    }

    /// Closes connections that have been idle too long; true if none is left.
    fn sweep(&self, now: Instant) -> bool {
        let mut expired = Vec::new();
        let mut stacks = self.0.lock();
        stacks.retain_mut(|(_, stack)| {
            // All connections to one upstream are kept for the same time, so the oldest end first.
            let count = stack.iter().take_while(|idle| idle.until <= now).count();
            expired.extend(stack.drain(..count));
            !stack.is_empty()
        });
        let is_empty = stacks.is_empty();
        drop(stacks);
        // Close the sockets outside the lock.
        drop(expired);
        is_empty
    }
}

/// The idle pools of all upstreams, by authority (`host:port`).
#[derive(Debug, Default)]
pub struct IdlePools(RwLock<HashMap<String, Arc<IdlePool>, RandomState>>);

impl IdlePools {
    /// The pool of the upstream with this authority.
    pub fn of(&self, authority: &str) -> Arc<IdlePool> {
        if let Some(pool) = self.0.read().get(authority) {
            return pool.clone();
        }
        self.0
            .write()
            .entry(authority.to_owned())
            .or_default()
            .clone()
    }

    /// Closes connections that have been idle too long, and forgets upstreams without connections.
    pub fn sweep(&self) {
        let now = Instant::now();
        // A request that holds the pool (strong count above one) will put its connection back.
        self.0
            .write()
            .retain(|_, pool| !pool.sweep(now) || Arc::strong_count(pool) > 1);
    }
}
