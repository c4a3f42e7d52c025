//! Which given-up requests an engine may still be at, and when to look next. No I/O, no clock.
//!
//! An engine tells which of its tasks run, but not whose they are. So slots are given back by
//! counting. A task that belongs to a given-up request runs since before it was given up; it is
//! among the tasks that a look has shown and every later look shows still. Of those, some belong to
//! requests that somebody waits for. As many as are left over may be given-up ones; who was given
//! up beyond that number has ended.
//!
//! Only requests that were surely at the engine when it was looked at count as somebody's: one that
//! is still on its way is not among the tasks, and to count it would give the slot of another away
//! too early.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

/// How long a request may be on its way: over loopback, read, parsed and cut into tokens.
pub(super) const SETTLE: Duration = Duration::from_millis(250);
/// A stream stops within 8 ms: the first look finds most engines done.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(20);
/// `llama-server` notices the closed connection of an unstreamed request only in a second without
/// results, and every look is one. So of two pauses between looks one is at least this long.
pub(super) const QUIET: Duration = Duration::from_millis(1250);
/// When nobody new was given up, there is no hurry.
pub(super) const NEXT_LOOK: Duration = Duration::from_secs(2);
/// How many looks in a row may go unanswered before the engine is taken to be past caring: the
/// prober has long said that it is not ready.
pub(super) const LOOKS_WITHOUT_ANSWER: u32 = 12;
/// How many looks are remembered. Older ones say nothing that these do not, once the requests of
/// then have ended.
const REMEMBERED: usize = 8;

/// What an engine calls a request: the slot, and its own number.
pub(super) type Task = (u64, i64);

/// Which request of ours.
pub(super) type TrackedRequestId = u64;

/// What a look at an engine found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// These tasks run.
    Busy(BTreeSet<Task>),
    /// There is nothing to wait for, or no way to know.
    Over,
    /// It did not answer in time.
    Unanswered,
    /// This process could not ask, or was late itself.
    NotAsked,
}

/// A request that somebody waits for.
#[derive(Debug)]
struct TrackedRequest {
    id: TrackedRequestId,
    /// From when on it is surely at the engine.
    at_engine: Duration,
    /// Its answer has begun: the engine hears at once when its reader leaves.
    answered: bool,
}

/// A request that nobody waits for, and its slot.
#[derive(Debug)]
struct AbandonedRequest<S> {
    /// A look that is begun from then on shows it, if it runs.
    shown: Duration,
    answered: bool,
    slot: S,
}

/// What a look showed, without what has ended since.
#[derive(Debug)]
struct Seen {
    asked: Duration,
    tasks: BTreeSet<Task>,
}

/// One engine and our requests to it.
#[derive(Debug)]
pub(super) struct Engine<S> {
    visits: Vec<TrackedRequest>,
    /// Those that looks show first come first.
    patients: Vec<AbandonedRequest<S>>,
    seen: VecDeque<Seen>,
    last_id: TrackedRequestId,
    unanswered: u32,
    looking: bool,
    /// When the last look began, and when it ended.
    asked: Duration,
    last_look: Option<Duration>,
    /// There was silence before the last look, for long enough.
    was_quiet: bool,
}

impl<S> Default for Engine<S> {
    fn default() -> Self {
        Self {
            visits: Vec::new(),
            patients: Vec::new(),
            seen: VecDeque::new(),
            last_id: 0,
            unanswered: 0,
            looking: false,
            asked: Duration::ZERO,
            last_look: None,
            was_quiet: true,
        }
    }
}

impl<S> Engine<S> {
    /// A request sets out.
    pub(super) fn sent(&mut self, now: Duration) -> TrackedRequestId {
        self.last_id += 1;
        self.visits.push(TrackedRequest {
            id: self.last_id,
            at_engine: now + SETTLE,
            answered: false,
        });
        self.last_id
    }

    /// Its answer has begun.
    pub(super) fn answered(&mut self, id: TrackedRequestId, now: Duration) {
        if let Some(visit) = self.visits.iter_mut().find(|visit| visit.id == id) {
            visit.at_engine = visit.at_engine.min(now);
            visit.answered = true;
        }
    }

    /// The engine is done with it, or never had it.
    pub(super) fn done(&mut self, id: TrackedRequestId) {
        self.leave(id);
    }

    /// Nobody waits for it any more; `slot` is given back when the engine is done.
    pub(super) fn given_up(&mut self, id: TrackedRequestId, slot: S, now: Duration) {
        let visit = self.leave(id);
        let at_engine = visit.as_ref().map_or(now, |visit| visit.at_engine);
        let shown = at_engine.max(now + FIRST_LOOK);
        let place = self
            .patients
            .partition_point(|earlier| earlier.shown <= shown);
        let answered = visit.is_some_and(|visit| visit.answered);
        self.patients.insert(
            place,
            AbandonedRequest {
                shown,
                answered,
                slot,
            },
        );
    }

    fn leave(&mut self, id: TrackedRequestId) -> Option<TrackedRequest> {
        let place = self.visits.iter().position(|visit| visit.id == id)?;
        Some(self.visits.swap_remove(place))
    }

    /// When to look next; `None` while a look is under way or there is nothing to look for.
    pub(super) fn next_look(&self) -> Option<Duration> {
        if self.looking {
            return None;
        }
        let newcomers = self.patients.iter().map(|patient| patient.shown);
        let Some(last) = self.last_look else {
            return newcomers.min();
        };
        let next = newcomers.filter(|shown| *shown > self.asked).min();
        let next = next.map_or(last + NEXT_LOOK, |next| next.min(last + NEXT_LOOK));
        let may_be_deaf = self.patients.iter().any(|patient| !patient.answered);
        let pause = if may_be_deaf && !self.was_quiet {
            QUIET
        } else {
            FIRST_LOOK
        };
        (!self.patients.is_empty()).then_some(next.max(last + pause))
    }

    /// A look begins.
    pub(super) fn look(&mut self, now: Duration) {
        self.was_quiet = self
            .last_look
            .is_none_or(|last| now.saturating_sub(last) >= QUIET);
        self.looking = true;
        self.asked = now;
    }

    /// A look has ended: the slots that are free by it.
    pub(super) fn looked(&mut self, found: Found, now: Duration) -> Vec<S> {
        self.looking = false;
        self.last_look = Some(now);
        let free = match found {
            Found::Over => self.all(),
            Found::Unanswered if self.unanswered + 1 >= LOOKS_WITHOUT_ANSWER => self.all(),
            Found::Unanswered => {
                self.unanswered += 1;
                Vec::new()
            }
            Found::NotAsked => Vec::new(),
            Found::Busy(tasks) => {
                self.unanswered = 0;
                self.saw(tasks)
            }
        };
        if self.patients.is_empty() {
            self.unanswered = 0;
            self.seen.clear();
        }
        free
    }

    fn saw(&mut self, tasks: BTreeSet<Task>) -> Vec<S> {
        for earlier in &mut self.seen {
            earlier.tasks.retain(|task| tasks.contains(task));
        }
        self.seen.push_back(Seen {
            asked: self.asked,
            tasks,
        });
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        let mut free = Vec::new();
        for seen in &self.seen {
            let of_others = self
                .visits
                .iter()
                .filter(|visit| visit.at_engine <= seen.asked);
            let may_run = seen.tasks.len().saturating_sub(of_others.count());
            let shown = self
                .patients
                .iter()
                .filter(|patient| patient.shown <= seen.asked);
            let mut over = shown.count().saturating_sub(may_run);
            // The first of them, so that who stays is shown later than whoever may really run: no
            // look from before that is held against them then.
            let ended = self.patients.extract_if(.., |patient| {
                let has_ended = over > 0 && patient.shown <= seen.asked;
                over -= usize::from(has_ended);
                has_ended
            });
            free.extend(ended.map(|patient| patient.slot));
        }
        free
    }

    /// Every slot that waits here.
    pub(super) fn all(&mut self) -> Vec<S> {
        self.patients
            .drain(..)
            .map(|patient| patient.slot)
            .collect()
    }

    /// Nobody is with it, and nobody looks at it.
    pub(super) fn is_forgotten(&self) -> bool {
        self.visits.is_empty() && self.patients.is_empty() && !self.looking
    }
}

#[cfg(test)]
mod tests;
