//! Limits the connections that are being opened to one upstream.
//!
//! A server accepts connections through a queue of limited length. Thousands of connections at once
//! overflow it, and each that finds no room waits for the system to ask again after a second, then
//! after three. So only [`MAX_HANDSHAKES`] connections are opened at a time, and the others wait in
//! order of arrival. Giving up costs nothing but the place.

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// The most handshakes in progress with one upstream. Half of the shortest queue that servers
/// commonly ask for (128): a second gateway fits beside this one. A handshake takes one round trip,
/// so even over 100 ms it allows 640 connections a second.
pub const MAX_HANDSHAKES: usize = 64;

/// The handshakes with one upstream.
#[derive(Debug)]
pub(crate) struct Handshakes {
    permits: Semaphore,
    results: Mutex<Results>,
}

#[derive(Debug, Default)]
struct Results {
    /// When the latest handshake was completed.
    accepted: Option<Instant>,
    /// When the latest handshake was given up without any answer.
    unanswered: Option<Instant>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            permits: Semaphore::new(MAX_HANDSHAKES),
            results: Mutex::default(),
        }
    }
}

impl Handshakes {
    /// Waits for its turn to open a connection. Dropping the future gives up the place.
    pub(crate) async fn begin(&self) -> Handshake<'_> {
        let waiting_since = match self.permits.try_acquire() {
            Ok(permit) => return Handshake::new(self, Some(permit), None),
            Err(_) => Instant::now(),
        };
        // The semaphore is fair, and nothing closes it.
        let permit = self.permits.acquire().await.ok();
        Handshake::new(self, permit, Some(waiting_since))
    }

    /// Whether a handshake was completed after `since`.
    pub(crate) fn accepted_since(&self, since: Instant) -> bool {
        self.results.lock().accepted >= Some(since)
    }
}

/// The right to open one connection, until it is dropped.
#[derive(Debug)]
pub struct Handshake<'a> {
    handshakes: &'a Handshakes,
    /// Held for its `Drop`.
    _permit: Option<SemaphorePermit<'a>>,
    /// When it began to wait for its turn, if it had to.
    waiting_since: Option<Instant>,
}

impl<'a> Handshake<'a> {
    fn new(
        handshakes: &'a Handshakes,
        permit: Option<SemaphorePermit<'a>>,
        waiting_since: Option<Instant>,
    ) -> Self {
        Self {
            handshakes,
            _permit: permit,
            waiting_since,
        }
    }

    /// Whether the upstream stopped answering while this handshake waited for its turn: an earlier
    /// one was given up, and none was completed after that. Trying again would only take as long
    /// once more, for each handshake that waits.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        let results = self.handshakes.results.lock();
        self.waiting_since.is_some_and(|since| {
            results.unanswered >= Some(since) && results.unanswered > results.accepted
        })
    }

    /// The upstream has accepted the connection.
    pub fn accepted(self) {
        self.handshakes.results.lock().accepted = Some(Instant::now());
    }

    /// The upstream has not answered in time.
    pub fn unanswered(self) {
        self.handshakes.results.lock().unanswered = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    fn all_turns(handshakes: &Handshakes) -> Vec<Handshake<'_>> {
        let turn = |_| handshakes.begin().now_or_never().unwrap();
        (0..MAX_HANDSHAKES).map(turn).collect()
    }

    // spec: PATH-80
    #[tokio::test(start_paused = true)]
    async fn handshakes_take_turns_in_order_of_arrival() {
        let handshakes = Handshakes::default();
        let mut first = all_turns(&handshakes);
        let mut second = Box::pin(handshakes.begin());
        let mut third = Box::pin(handshakes.begin());
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        first.pop().unwrap().accepted();
        assert!((&mut third).now_or_never().is_none(), "it came later");
        // Who gives up passes its turn on.
        drop(second);
        assert!((&mut third).now_or_never().is_some());
    }

    // spec: PATH-80
    #[tokio::test(start_paused = true)]
    async fn one_unanswered_handshake_speaks_for_those_that_waited_behind_it() {
        let handshakes = Handshakes::default();
        let mut first = all_turns(&handshakes);
        let mut waiting = Box::pin(handshakes.begin());
        assert!((&mut waiting).now_or_never().is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        first.pop().unwrap().unanswered();
        let turn = waiting.await;
        assert!(turn.is_hopeless());
        tokio::time::advance(Duration::from_secs(1)).await;
        first.pop().unwrap().accepted();
        assert!(!turn.is_hopeless(), "the upstream answers again");
        drop(turn);
        assert!(!handshakes.begin().await.is_hopeless(), "a later one tries");
    }
}
