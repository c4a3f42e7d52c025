//! Permits for connections, and which connection a new one displaces.
//!
//! A connection must be accepted before it can present a token. So unauthenticated connections have
//! permits of their own, and exchange them for an authenticated one. A client without a token that
//! uses up the unauthenticated permits takes nothing from authenticated connections: each new
//! connection then displaces the oldest unauthenticated one, once that had its time to send a
//! request. Until then the new one waits in the kernel's queue, so that a crowd of clients which
//! all connect at the same moment loses none of them. To keep a client with a token out, an
//! attacker would have to open all unauthenticated permits anew within that time, and to fill the
//! kernel's queue.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::Context,
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{Limits, UnauthenticatedLimits};

/// All permits of a server.
#[derive(Debug)]
pub(crate) struct ConnectionPermits {
    max_authenticated: usize,
    /// `None` if every connection counts as authenticated.
    unauthenticated: Option<UnauthenticatedLimits>,
    table: Mutex<PermitTable>,
    /// An unauthenticated permit may be free. One task waits: the one that accepts.
    freed: Notify,
}

/// Locked at the beginning and the end of a connection, and when it is authenticated.
#[derive(Debug, Default)]
struct PermitTable {
    authenticated: usize,
    /// Unauthenticated connections, the oldest first, and until when each is not displaced.
    unauthenticated: BTreeMap<u64, (Arc<ConnectionPermit>, Instant)>,
    /// Displaced connections that have not ended yet.
    displaced: usize,
    /// The number of the next connection.
    next: u64,
}

/// The state of a connection's permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PermitState {
    Unauthenticated,
    Authenticated,
    Displaced,
    Gone,
}

impl PermitState {
    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Unauthenticated,
            1 => Self::Authenticated,
            2 => Self::Displaced,
            _ => Self::Gone,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Unauthenticated => 0,
            Self::Authenticated => 1,
            Self::Displaced => 2,
            Self::Gone => 3,
        }
    }
}

/// The permit of one connection, shared by its parts and the table.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    permits: Arc<ConnectionPermits>,
    number: u64,
    /// Written under the lock of the table, read without it.
    state: AtomicU8,
    /// CountingWakers the connection when it is displaced.
    waker: AtomicWaker,
}

/// Holds a permit until it is dropped.
#[derive(Debug)]
pub(crate) struct PermitGuard(Arc<ConnectionPermit>);

/// The permit of a new connection, and whether it displaced another connection.
#[derive(Debug)]
pub(crate) struct Acquired {
    pub(crate) permit: PermitGuard,
    pub(crate) displaces: bool,
}

impl ConnectionPermits {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            max_authenticated: limits.max_connections,
            unauthenticated: limits.unauthenticated,
            table: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Waits until a new connection has room, or may displace an older one.
    pub(crate) async fn room(&self) {
        while let Some(time) = self.room_at().filter(|&time| time > Instant::now()) {
            tokio::select! {
                () = self.freed.notified() => {}
                () = sleep_until(time) => {}
            }
        }
    }

    /// When the oldest connection may be displaced; `None` if a permit is free.
    fn room_at(&self) -> Option<Instant> {
        let share = self.unauthenticated?.max_connections;
        let table = self.table.lock();
        if table.unauthenticated.len() < share {
            return None;
        }
        let (_, (_, grace_end)) = table.unauthenticated.first_key_value()?;
        Some(*grace_end)
    }

    /// A permit for a new connection; `None` if none is free and no connection can be displaced.
    pub(crate) fn acquire(self: &Arc<Self>) -> Option<Acquired> {
        let mut table = self.table.lock();
        let number = table.next;
        table.next += 1;
        let permit = |state: PermitState| {
            Arc::new(ConnectionPermit {
                permits: Arc::clone(self),
                number,
                state: AtomicU8::new(state.code()),
                waker: AtomicWaker::new(),
            })
        };
        let Some(UnauthenticatedLimits {
            max_connections: share,
            grace,
            ..
        }) = self.unauthenticated
        else {
            if table.authenticated >= self.max_authenticated {
                return None;
            }
            table.authenticated += 1;
            return Some(Acquired {
                permit: PermitGuard(permit(PermitState::Authenticated)),
                displaces: false,
            });
        };
        let oldest = if table.unauthenticated.len() < share {
            None
        } else if table.displaced < share {
            Some(table.unauthenticated.pop_first()?.1.0)
        } else {
            // The connection threads do not keep up, or one hangs.
            return None;
        };
        if let Some(oldest) = &oldest {
            table.displaced += 1;
            oldest.set(PermitState::Displaced);
        }
        let permit = permit(PermitState::Unauthenticated);
        let entry = (Arc::clone(&permit), Instant::now() + grace);
        table.unauthenticated.insert(number, entry);
        drop(table);
        if let Some(oldest) = &oldest {
            oldest.waker.wake();
        }
        Some(Acquired {
            permit: PermitGuard(permit),
            displaces: oldest.is_some(),
        })
    }

    /// The number of open connections.
    pub(crate) fn open(&self) -> usize {
        let table = self.table.lock();
        table.authenticated + table.unauthenticated.len() + table.displaced
    }
}

impl PermitTable {
    fn remove(&mut self, permit: &ConnectionPermit) {
        match permit.state() {
            PermitState::Unauthenticated => drop(self.unauthenticated.remove(&permit.number)),
            PermitState::Authenticated => self.authenticated -= 1,
            PermitState::Displaced => self.displaced -= 1,
            PermitState::Gone => {}
        }
    }
}

impl ConnectionPermit {
    fn state(&self) -> PermitState {
        PermitState::from_code(self.state.load(Ordering::Acquire))
    }

    fn set(&self, state: PermitState) {
        self.state.store(state.code(), Ordering::Release);
    }

    /// Whether the connection is not authenticated.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        self.state() != PermitState::Authenticated
    }

    /// Whether the connection is displaced. If not, its task is woken when it is.
    pub(crate) fn poll_displaced(&self, cx: &Context<'_>) -> bool {
        if !self.is_unauthenticated() {
            return false;
        }
        self.waker.register(cx.waker());
        self.state() == PermitState::Displaced
    }

    /// Marks the connection as authenticated; false if no such permit is free. A connection that
    /// was just displaced stays then.
    pub(crate) fn authenticate(&self) -> bool {
        if !self.is_unauthenticated() {
            return true;
        }
        let mut table = self.permits.table.lock();
        // A body can outlive its connection.
        if self.state() == PermitState::Gone {
            return true;
        }
        if table.authenticated >= self.permits.max_authenticated {
            return false;
        }
        table.remove(self);
        table.authenticated += 1;
        self.set(PermitState::Authenticated);
        drop(table);
        self.permits.freed.notify_one();
        true
    }
}

impl PermitGuard {
    /// A reference for the parts of the connection.
    pub(crate) fn shared(&self) -> Arc<ConnectionPermit> {
        Arc::clone(&self.0)
    }
}

impl Drop for PermitGuard {
    fn drop(&mut self) {
        let mut table = self.0.permits.table.lock();
        table.remove(&self.0);
        self.0.set(PermitState::Gone);
        drop(table);
        self.0.permits.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{task::Waker, time::Duration};

    use tokio::time::advance;

    use super::*;
    use crate::{UnauthenticatedLimits, counting_waker::CountingWakers};

    const GRACE: Duration = Duration::from_secs(1);

    fn permits(max_connections: usize, share: Option<usize>) -> Arc<ConnectionPermits> {
        ConnectionPermits::new(&Limits {
            max_connections,
            unauthenticated: share.map(|max_connections| UnauthenticatedLimits {
                max_connections,
                grace: GRACE,
                ..UnauthenticatedLimits::default()
            }),
            ..Limits::default()
        })
    }

    fn acquire(permits: &Arc<ConnectionPermits>) -> PermitGuard {
        permits.acquire().unwrap().permit
    }

    #[test]
    fn without_unauthenticated_permits_nothing_is_displaced() {
        let permits = permits(2, None);
        let (first, second) = (acquire(&permits), acquire(&permits));
        assert!(permits.acquire().is_none());
        assert!(!first.shared().is_unauthenticated() && second.shared().authenticate());
        drop(first);
        assert_eq!(permits.open(), 1);
        assert!(!permits.acquire().unwrap().displaces);
    }

    // spec: DOOR-18
    #[test]
    fn the_oldest_connection_is_displaced() {
        let permits = permits(2, Some(2));
        let (first, second) = (acquire(&permits), acquire(&permits));
        let wakes = CountingWakers::default();
        let waker = wakes.waker();
        let cx = Context::from_waker(&waker);
        assert!(!first.shared().poll_displaced(&cx) && !second.shared().poll_displaced(&cx));

        let third = permits.acquire().unwrap();
        assert!(third.displaces && wakes.count() == 1);
        assert!(first.shared().poll_displaced(&cx) && !second.shared().poll_displaced(&cx));
        assert_eq!(permits.open(), 3);
        drop(first);
        assert_eq!(permits.open(), 2);
        drop((second, third));
        assert_eq!(permits.open(), 0);
    }

    // spec: DOOR-18
    #[tokio::test(start_paused = true)]
    async fn a_new_connection_waits_while_the_oldest_has_time() {
        let permits = permits(3, Some(2));
        let begin = Instant::now();
        permits.room().await;
        let (first, second) = (acquire(&permits), acquire(&permits));
        permits.room().await;
        assert_eq!(begin.elapsed(), GRACE);
        // What ends or is authenticated meanwhile makes room at once.
        let third = acquire(&permits);
        advance(GRACE / 2).await;
        let fourth = acquire(&permits);
        let begin = Instant::now();
        tokio::join!(permits.room(), async {
            advance(GRACE / 4).await;
            assert!(fourth.shared().authenticate());
        });
        assert_eq!(begin.elapsed(), GRACE / 4);
        let fifth = acquire(&permits);
        tokio::join!(permits.room(), async {
            advance(GRACE / 8).await;
            drop(third);
        });
        assert_eq!(begin.elapsed(), GRACE / 4 + GRACE / 8);
        drop((first, second, fifth));
    }

    // spec: DOOR-18
    #[test]
    fn an_authenticated_connection_is_not_displaced() {
        let permits = permits(2, Some(1));
        let first = acquire(&permits);
        assert!(first.shared().authenticate() && first.shared().authenticate());
        let second = permits.acquire().unwrap();
        assert!(!second.displaces);
        // Its request arrived before it noticed the displacement.
        let third = permits.acquire().unwrap();
        assert!(third.displaces && second.permit.shared().authenticate());
        let cx = Context::from_waker(Waker::noop());
        assert!(!second.permit.shared().poll_displaced(&cx));

        assert!(
            !third.permit.shared().authenticate(),
            "both permits are table"
        );
        drop(first);
        assert!(third.permit.shared().authenticate());
        assert_eq!(permits.open(), 2);
        let late = third.permit.shared();
        drop(third);
        assert!(late.authenticate());
        assert_eq!(permits.open(), 1);
    }

    #[test]
    fn displaced_connections_are_limited_too() {
        let permits = permits(9, Some(2));
        let waiting: Vec<PermitGuard> = (0..4).map(|_| acquire(&permits)).collect();
        assert!(permits.acquire().is_none());
        drop(waiting);
        assert_eq!(permits.open(), 0);
        assert!(self::permits(9, Some(0)).acquire().is_none());
    }
}
