//! Which abandoned requests an engine may still run, and when to poll it next. No I/O, no clock.
//!
//! An engine reports which tasks run, but not whose they are. Slots are therefore released by
//! counting. The task of an abandoned request runs since before the request was abandoned, so it is
//! among the tasks that a poll has shown and every later poll still shows. Some of those tasks
//! belong to requests that are still wanted. The remaining ones may belong to abandoned requests;
//! abandoned requests beyond that number have ended.
//!
//! A wanted request counts only if it was certainly at the engine when the poll began. A request
//! that is still on its way is not among the tasks; counting it would release the slot of another
//! request too early.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

/// How long a request may take to reach the engine and be parsed and tokenized there.
pub(super) const SETTLE: Duration = Duration::from_millis(250);
/// A stream stops within 8 ms, so the first poll finds most engines done.
pub(super) const FIRST_POLL_DELAY: Duration = Duration::from_millis(20);
/// `llama-server` notices the closed connection of an unstreamed request only in a second without
/// results, and every poll is a result. One of two pauses between polls is therefore at least this
/// long.
pub(super) const QUIET_PERIOD: Duration = Duration::from_millis(1250);
/// The pause between polls while no further request is abandoned.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Stop after this many unanswered polls in a row; the prober has marked the engine unready by
/// then.
pub(super) const UNANSWERED_POLLS: u32 = 12;
/// How many poll results are kept. Older ones add nothing, once the requests of their time have
/// ended.
const SNAPSHOTS: usize = 8;

/// How an engine identifies a task: the slot, and its own number.
pub(super) type Task = (u64, i64);

/// Identifies one of our requests.
pub(super) type TrackedRequestId = u64;

/// The result of polling an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PollResult {
    /// These tasks run.
    Busy(BTreeSet<Task>),
    /// Nothing runs, or the engine cannot tell.
    Idle,
    /// It did not answer in time.
    Unanswered,
    /// This process could not ask, or was late itself.
    NotAsked,
}

/// A request whose client still waits.
#[derive(Debug)]
struct TrackedRequest {
    id: TrackedRequestId,
    /// From when on it is certainly at the engine.
    at_engine: Duration,
    /// Its answer has begun, so the engine notices at once when its client leaves.
    answered: bool,
}

/// A request whose client has left, and its slot.
#[derive(Debug)]
struct AbandonedRequest<S> {
    /// A poll that begins from then on shows it, if it runs.
    visible_at: Duration,
    answered: bool,
    slot: S,
}

/// The tasks that a poll showed, without those that have ended since.
#[derive(Debug)]
struct PollSnapshot {
    begun: Duration,
    tasks: BTreeSet<Task>,
}

/// One engine and our requests to it.
#[derive(Debug)]
pub(super) struct EngineTracker<S> {
    in_flight: Vec<TrackedRequest>,
    /// In the order in which polls show them.
    abandoned: Vec<AbandonedRequest<S>>,
    snapshots: VecDeque<PollSnapshot>,
    last_id: TrackedRequestId,
    unanswered: u32,
    polling: bool,
    /// When the last poll began, and when it ended.
    last_begun: Duration,
    last_ended: Option<Duration>,
    /// The pause before the last poll was long enough.
    was_quiet: bool,
}

impl<S> Default for EngineTracker<S> {
    fn default() -> Self {
        Self {
            in_flight: Vec::new(),
            abandoned: Vec::new(),
            snapshots: VecDeque::new(),
            last_id: 0,
            unanswered: 0,
            polling: false,
            last_begun: Duration::ZERO,
            last_ended: None,
            was_quiet: true,
        }
    }
}

impl<S> EngineTracker<S> {
    /// A request is sent.
    pub(super) fn sent(&mut self, now: Duration) -> TrackedRequestId {
        self.last_id += 1;
        self.in_flight.push(TrackedRequest {
            id: self.last_id,
            at_engine: now + SETTLE,
            answered: false,
        });
        self.last_id
    }

    /// Its answer has begun.
    pub(super) fn answered(&mut self, id: TrackedRequestId, now: Duration) {
        if let Some(request) = self.in_flight.iter_mut().find(|request| request.id == id) {
            request.at_engine = request.at_engine.min(now);
            request.answered = true;
        }
    }

    /// The engine has finished it, or never got it.
    pub(super) fn done(&mut self, id: TrackedRequestId) {
        self.take(id);
    }

    /// Its client has left. `slot` is released when the engine has stopped working on it.
    pub(super) fn abandon(&mut self, id: TrackedRequestId, slot: S, now: Duration) {
        let request = self.take(id);
        let at_engine = (request.as_ref()).map_or(now, |request| request.at_engine);
        let visible_at = at_engine.max(now + FIRST_POLL_DELAY);
        let index = (self.abandoned).partition_point(|earlier| earlier.visible_at <= visible_at);
        let abandoned = AbandonedRequest {
            visible_at,
            answered: request.is_some_and(|request| request.answered),
            slot,
        };
        self.abandoned.insert(index, abandoned);
    }

    fn take(&mut self, id: TrackedRequestId) -> Option<TrackedRequest> {
        let index = (self.in_flight.iter()).position(|request| request.id == id)?;
        Some(self.in_flight.swap_remove(index))
    }

    /// When to poll next; `None` while a poll is under way or no request is abandoned.
    pub(super) fn next_poll(&self) -> Option<Duration> {
        if self.polling {
            return None;
        }
        let visible = self.abandoned.iter().map(|request| request.visible_at);
        let Some(last_ended) = self.last_ended else {
            return visible.min();
        };
        let not_polled = visible.filter(|visible_at| *visible_at > self.last_begun);
        let regular = last_ended + POLL_INTERVAL;
        let next = (not_polled.min()).map_or(regular, |visible_at| visible_at.min(regular));
        let needs_quiet = self.abandoned.iter().any(|request| !request.answered);
        let pause = if needs_quiet && !self.was_quiet {
            QUIET_PERIOD
        } else {
            FIRST_POLL_DELAY
        };
        (!self.abandoned.is_empty()).then_some(next.max(last_ended + pause))
    }

    /// A poll begins.
    pub(super) fn begin_poll(&mut self, now: Duration) {
        self.was_quiet = self
            .last_ended
            .is_none_or(|last| now.saturating_sub(last) >= QUIET_PERIOD);
        self.polling = true;
        self.last_begun = now;
    }

    /// A poll has ended. Returns the slots that it releases.
    pub(super) fn poll_finished(&mut self, result: PollResult, now: Duration) -> Vec<S> {
        self.polling = false;
        self.last_ended = Some(now);
        let released = match result {
            PollResult::Idle => self.release_all(),
            PollResult::Unanswered if self.unanswered + 1 >= UNANSWERED_POLLS => self.release_all(),
            PollResult::Unanswered => {
                self.unanswered += 1;
                Vec::new()
            }
            PollResult::NotAsked => Vec::new(),
            PollResult::Busy(tasks) => {
                self.unanswered = 0;
                self.release_ended(tasks)
            }
        };
        if self.abandoned.is_empty() {
            self.unanswered = 0;
            self.snapshots.clear();
        }
        released
    }

    fn release_ended(&mut self, tasks: BTreeSet<Task>) -> Vec<S> {
        for earlier in &mut self.snapshots {
            earlier.tasks.retain(|task| tasks.contains(task));
        }
        self.snapshots.push_back(PollSnapshot {
            begun: self.last_begun,
            tasks,
        });
        if self.snapshots.len() > SNAPSHOTS {
            self.snapshots.pop_front();
        }
        let mut released = Vec::new();
        for snapshot in &self.snapshots {
            let wanted = (self.in_flight.iter())
                .filter(|request| request.at_engine <= snapshot.begun)
                .count();
            let may_run = snapshot.tasks.len().saturating_sub(wanted);
            let visible = (self.abandoned.iter())
                .filter(|request| request.visible_at <= snapshot.begun)
                .count();
            let mut ended = visible.saturating_sub(may_run);
            // Release the first ones. Then the remaining requests became visible no earlier than
            // those that really run, and no earlier snapshot is held against them.
            let first = self.abandoned.extract_if(.., |request| {
                let has_ended = ended > 0 && request.visible_at <= snapshot.begun;
                ended -= usize::from(has_ended);
                has_ended
            });
            released.extend(first.map(|request| request.slot));
        }
        released
    }

    /// Returns the slots of all abandoned requests.
    pub(super) fn release_all(&mut self) -> Vec<S> {
        self.abandoned
            .drain(..)
            .map(|request| request.slot)
            .collect()
    }

    /// It has no requests, and no poll is under way.
    pub(super) fn is_unused(&self) -> bool {
        self.in_flight.is_empty() && self.abandoned.is_empty() && !self.polling
    }
}

#[cfg(test)]
mod tests;
