//! How many connections there are, and which one makes room for a new one.
//!
//! A connection has to be accepted before it can present a token. So new connections have a share
//! of their own, in which they wait to be authenticated, and leave it for a place among the
//! authenticated ones. Whoever fills the share without a token takes nothing from those that have
//! one: a new connection then displaces the one that has waited longest. To keep somebody with a
//! token out, others would have to open the whole share anew within the time that his first request
//! takes to arrive.

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

use crate::Limits;

/// More than one in so many of the share displaced and not gone yet are many.
const BEHIND_PART: usize = 8;

/// The places of a server.
#[derive(Debug)]
pub(crate) struct Places {
    max_authenticated: usize,
    /// `None` when every connection counts as authenticated.
    max_unauthenticated: Option<usize>,
    taken: Mutex<Taken>,
}

/// Locked at the beginning and the end of a connection, and when it is authenticated.
#[derive(Debug, Default)]
struct Taken {
    authenticated: usize,
    /// Those that are not, the oldest first.
    unauthenticated: BTreeMap<u64, Arc<Place>>,
    /// Those that have made room for others and are not gone yet.
    displaced: usize,
    /// The number of the next connection.
    next: u64,
}

/// What a connection counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Unauthenticated,
    Authenticated,
    Displaced,
    Gone,
}

impl Standing {
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

/// The place of one connection, as its parts and the table see it.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    /// Written under the lock of the table, read without it.
    standing: AtomicU8,
    /// Wakes the connection when it is displaced.
    waker: AtomicWaker,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct OwnPlace(Arc<Place>);

/// A new connection's place, and whether another connection makes room for it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) place: OwnPlace,
    pub(crate) displaces: bool,
}

impl Places {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            max_authenticated: limits.max_connections,
            max_unauthenticated: limits.unauthenticated.map(|share| share.max_connections),
            taken: Mutex::default(),
        })
    }

    /// A place for a new connection; `None` when there is no room and none can be made.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Entry> {
        let mut taken = self.taken.lock();
        let number = taken.next;
        taken.next += 1;
        let place = |standing: Standing| {
            Arc::new(Place {
                places: Arc::clone(self),
                number,
                standing: AtomicU8::new(standing.code()),
                waker: AtomicWaker::new(),
            })
        };
        let Some(share) = self.max_unauthenticated else {
            if taken.authenticated >= self.max_authenticated {
                return None;
            }
            taken.authenticated += 1;
            return Some(Entry {
                place: OwnPlace(place(Standing::Authenticated)),
                displaces: false,
            });
        };
        let oldest = if taken.unauthenticated.len() < share {
            None
        } else if taken.displaced < share {
            Some(taken.unauthenticated.pop_first()?.1)
        } else {
            // The threads of connections do not keep up, or one hangs.
            return None;
        };
        if let Some(oldest) = &oldest {
            taken.displaced += 1;
            oldest.set(Standing::Displaced);
        }
        let place = place(Standing::Unauthenticated);
        taken.unauthenticated.insert(number, Arc::clone(&place));
        drop(taken);
        if let Some(oldest) = &oldest {
            oldest.waker.wake();
        }
        Some(Entry {
            place: OwnPlace(place),
            displaces: oldest.is_some(),
        })
    }

    /// Whether many of those that were displaced are still there: the threads of connections do not
    /// keep up.
    pub(crate) fn is_behind(&self) -> bool {
        let share = self.max_unauthenticated.unwrap_or(usize::MAX);
        self.taken.lock().displaced > share / BEHIND_PART
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        let taken = self.taken.lock();
        taken.authenticated + taken.unauthenticated.len() + taken.displaced
    }
}

impl Taken {
    fn remove(&mut self, place: &Place) {
        match place.standing() {
            Standing::Unauthenticated => drop(self.unauthenticated.remove(&place.number)),
            Standing::Authenticated => self.authenticated -= 1,
            Standing::Displaced => self.displaced -= 1,
            Standing::Gone => {}
        }
    }
}

impl Place {
    fn standing(&self) -> Standing {
        Standing::from_code(self.standing.load(Ordering::Acquire))
    }

    fn set(&self, standing: Standing) {
        self.standing.store(standing.code(), Ordering::Release);
    }

    /// Whether nobody on this connection has been authenticated yet.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        self.standing() != Standing::Authenticated
    }

    /// Whether the connection is to make room for another one; otherwise it is woken when it is.
    pub(crate) fn poll_displaced(&self, cx: &Context<'_>) -> bool {
        if !self.is_unauthenticated() {
            return false;
        }
        self.waker.register(cx.waker());
        self.standing() == Standing::Displaced
    }

    /// Notes that somebody on this connection is authenticated; false when those have no room left.
    /// A connection that has just been displaced stays then.
    pub(crate) fn authenticate(&self) -> bool {
        if !self.is_unauthenticated() {
            return true;
        }
        let mut taken = self.places.taken.lock();
        // A body can outlive its connection.
        if self.standing() == Standing::Gone {
            return true;
        }
        if taken.authenticated >= self.places.max_authenticated {
            return false;
        }
        taken.remove(self);
        taken.authenticated += 1;
        self.set(Standing::Authenticated);
        true
    }
}

impl OwnPlace {
    /// For the connection's parts.
    pub(crate) fn shared(&self) -> Arc<Place> {
        Arc::clone(&self.0)
    }
}

impl Drop for OwnPlace {
    fn drop(&mut self) {
        let mut taken = self.0.places.taken.lock();
        taken.remove(&self.0);
        self.0.set(Standing::Gone);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::{UnauthenticatedLimits, counted::Wakes};

    fn places(max_connections: usize, share: Option<usize>) -> Arc<Places> {
        Places::new(&Limits {
            max_connections,
            unauthenticated: share.map(|max_connections| UnauthenticatedLimits {
                max_connections,
                ..UnauthenticatedLimits::default()
            }),
            ..Limits::default()
        })
    }

    fn enter(places: &Arc<Places>) -> OwnPlace {
        places.enter().unwrap().place
    }

    #[test]
    fn without_a_share_places_are_counted_and_nothing_is_displaced() {
        let places = places(2, None);
        let (first, second) = (enter(&places), enter(&places));
        assert!(places.enter().is_none());
        assert!(!first.shared().is_unauthenticated() && second.shared().authenticate());
        drop(first);
        assert_eq!(places.open(), 1);
        assert!(!places.enter().unwrap().displaces);
    }

    // spec: DOOR-18
    #[test]
    fn the_one_that_has_waited_longest_makes_room() {
        let places = places(2, Some(2));
        let (first, second) = (enter(&places), enter(&places));
        let wakes = Wakes::default();
        let waker = wakes.waker();
        let cx = Context::from_waker(&waker);
        assert!(!first.shared().poll_displaced(&cx) && !second.shared().poll_displaced(&cx));

        let third = places.enter().unwrap();
        assert!(third.displaces && wakes.count() == 1);
        assert!(first.shared().poll_displaced(&cx) && !second.shared().poll_displaced(&cx));
        assert_eq!(places.open(), 3);
        drop(first);
        assert_eq!(places.open(), 2);
        drop((second, third));
        assert_eq!(places.open(), 0);
    }

    // spec: DOOR-18
    #[test]
    fn whoever_is_authenticated_is_not_displaced_any_more() {
        let places = places(2, Some(1));
        let first = enter(&places);
        assert!(first.shared().authenticate() && first.shared().authenticate());
        let second = places.enter().unwrap();
        assert!(!second.displaces);
        // Its request was there before it was told to go.
        let third = places.enter().unwrap();
        assert!(third.displaces && second.place.shared().authenticate());
        let cx = Context::from_waker(Waker::noop());
        assert!(!second.place.shared().poll_displaced(&cx));

        assert!(
            !third.place.shared().authenticate(),
            "both places are taken"
        );
        drop(first);
        assert!(third.place.shared().authenticate());
        assert_eq!(places.open(), 2);
        let late = third.place.shared();
        drop(third);
        assert!(late.authenticate());
        assert_eq!(places.open(), 1);
    }

    #[test]
    fn connections_that_do_not_go_are_bounded_too() {
        let places = places(9, Some(2));
        let waiting: Vec<OwnPlace> = (0..4).map(|_| enter(&places)).collect();
        assert!(places.enter().is_none());
        drop(waiting);
        assert_eq!(places.open(), 0);
        assert!(self::places(9, Some(0)).enter().is_none());
    }
}
