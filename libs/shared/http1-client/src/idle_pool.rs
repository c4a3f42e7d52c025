//! What is known of each upstream: its idle connections by the runtime that polls them, newest
//! first, and the handshakes with it.

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

use crate::{
    connection::UpstreamConnection,
    handshakes::{Handshake, Handshakes},
};

/// How often to call [`IdlePools::sweep`]: half of the shortest idle time that is in use.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(2);

/// The most idle connections of one upstream: enough to reuse after a burst, and few enough that
/// forgotten ones cost little (about 10 KiB each).
pub const MAX_IDLE_CONNECTIONS: usize = 512;

/// How long a connection may be idle and still be used without a look at its socket. The runtime
/// learns of a close in that time, or a little later when it is busy; a look costs a system call.
const TRUSTED_FOR: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Idle {
    connection: Box<UpstreamConnection>,
    since: Instant,
    until: Instant,
}

/// The idle connections of one upstream, one stack for each runtime that opened one, and the
/// handshakes with it.
///
/// The runtime that opened a connection polls it. Used from another runtime, each read would wake
/// the first one, so [`take`](Self::take) prefers connections of the current runtime.
#[derive(Debug, Default)]
pub struct IdlePool {
    idle: Mutex<IdleConnections>,
    handshakes: Handshakes,
}

#[derive(Debug, Default)]
struct IdleConnections {
    stacks: Vec<(Id, VecDeque<Idle>)>,
    /// When a connection became idle the last time.
    latest: Option<Instant>,
}

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
                since,
                until,
            } = self.pop(current)?;
            let is_trusted = now.saturating_duration_since(since) < TRUSTED_FOR;
            if now < until && connection.is_quiet() && (is_trusted || connection.is_silent()) {
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
        let stacks = &mut self.idle.lock().stacks;
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

    /// Stores a connection for a request that comes within `time`, or sooner if the upstream asks
    /// for that. Closes it if [`MAX_IDLE_CONNECTIONS`] are stored already.
    pub fn put(&self, connection: Box<UpstreamConnection>, time: Duration) {
        let runtime = connection.runtime();
        let since = Instant::now();
        let time = connection
            .idle_limit()
            .map_or(time, |limit| limit.min(time));
        let mut idle = self.idle.lock();
        idle.latest = Some(since);
        let stacks = &mut idle.stacks;
        let count: usize = stacks.iter().map(|(_, stack)| stack.len()).sum();
        if count >= MAX_IDLE_CONNECTIONS || time.is_zero() {
            return;
        }
        let idle = Idle {
            connection,
            since,
            until: since + time,
        };
        match stacks.iter_mut().find(|(id, _)| *id == runtime) {
            Some((_, stack)) => stack.push_back(idle),
            None => stacks.push((runtime, VecDeque::from([idle]))),
        }
    }

    /// Waits for its turn to open a connection to this upstream; at most
    /// [`MAX_HANDSHAKES`](crate::MAX_HANDSHAKES) are opened at a time.
    pub async fn begin_handshake(&self) -> Handshake<'_> {
        self.handshakes.begin().await
    }

    /// Whether the upstream showed after `since` that it works: it accepted a connection, or
    /// completed a response on one.
    #[must_use]
    pub fn is_alive_since(&self, since: Instant) -> bool {
        self.idle.lock().latest >= Some(since) || self.handshakes.accepted_since(since)
    }

    /// Closes connections that have been idle too long; true if none is left.
    fn sweep(&self, now: Instant) -> bool {
        // Declared before the lock, so that the sockets are closed outside it.
        let mut expired = Vec::new();
        let stacks = &mut self.idle.lock().stacks;
        stacks.retain_mut(|(_, stack)| {
            // Most connections to one upstream are kept for the same time, so the oldest end first.
            // One that ends sooner is closed when it is taken.
            let count = stack.iter().take_while(|idle| idle.until <= now).count();
            expired.extend(stack.drain(..count));
            !stack.is_empty()
        });
        stacks.is_empty()
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
