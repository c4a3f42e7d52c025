//! A task that can be changed, watched and stopped from several sides at once.

use std::{fmt, sync::Arc, time::Duration};

use admission::Priority;
use bytes::Bytes;
use http_server::EventSource;
use parking_lot::Mutex;
use pool_registry_types::TaskId;
use tokio::sync::{Notify, watch};

use crate::{
    event::{EventId, Failure, Forecast},
    request::{Fingerprint, Job},
    task::{Change, Task},
};

/// How much of a task a reader takes at a time: large enough to catch up fast, small enough to hold
/// for each reader.
const PORTION_BYTES: usize = 64 * 1024;

/// A task and those who watch it.
pub(crate) struct Live {
    pub(crate) id: TaskId,
    /// See [`EventId`].
    pub(crate) run: u32,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) model: String,
    pub(crate) priority: Priority,
    task: Mutex<Task>,
    /// How many events there are; each reader holds a receiver.
    told: watch::Sender<u64>,
    stop: Notify,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effect {
    /// How much memory the task takes more.
    pub(crate) bytes: usize,
    /// The task has not ended.
    pub(crate) goes_on: bool,
}

impl Live {
    pub(crate) fn new(id: TaskId, fingerprint: Fingerprint, job: &Job, task: Task) -> Self {
        Self {
            id,
            run: fastrand::u32(..),
            fingerprint,
            model: job.model.clone(),
            priority: job.priority,
            task: Mutex::new(task),
            told: watch::Sender::new(0),
            stop: Notify::new(),
        }
    }

    /// Applies `changes` in order, at once for all who watch.
    pub(crate) fn apply(&self, changes: impl IntoIterator<Item = Change>, now: Duration) -> Effect {
        let mut task = self.task.lock();
        let before = task.log().bytes();
        for change in changes {
            task.apply(change, now);
        }
        let effect = Effect {
            bytes: task.log().bytes() - before,
            goes_on: !task.state().is_over(),
        };
        // Told under the lock, or two changes might be told in the wrong order.
        let told = task.log().len();
        self.told
            .send_if_modified(|known| std::mem::replace(known, told) != told);
        effect
    }

    /// Ends the task from outside: the run notices and lets go of its engine.
    pub(crate) fn end(&self, change: Change, now: Duration) {
        if !self.apply([change], now).goes_on {
            self.stop.notify_one();
        }
    }

    /// Returns when the task was ended from outside.
    pub(crate) async fn stopped(&self) {
        self.stop.notified().await;
    }

    pub(crate) fn expect(&self, forecast: Forecast) {
        self.task.lock().expect(forecast);
    }

    /// Looks at the task.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Task) -> T) -> T {
        look(&self.task.lock())
    }

    /// How many read its events now.
    pub(crate) fn readers(&self) -> usize {
        self.told.receiver_count()
    }
}

/// Why a reader cannot go on where it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CannotResume {
    /// It read another task, of the same id.
    OtherRun,
    /// There is no such event.
    NotYet,
    /// There is nothing after it and never will be.
    ReadToTheEnd,
}

/// One client's way through a task's events.
#[derive(Debug)]
pub(crate) struct Reader {
    live: Arc<Live>,
    seen: u64,
    told: watch::Receiver<u64>,
    /// The last field: when it is dropped, the reader does not count any more.
    _left: Left,
}

/// Tells that a reader has left.
#[derive(Debug)]
struct Left(Arc<Notify>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

impl Reader {
    /// A reader that goes on after `last`, or begins at the beginning.
    pub(crate) fn new(
        live: Arc<Live>,
        last: Option<EventId>,
        left: Arc<Notify>,
    ) -> Result<Self, CannotResume> {
        let told = live.told.subscribe();
        let seen = match last {
            None => 0,
            Some(last) if last.run != live.run => return Err(CannotResume::OtherRun),
            Some(last) => last.number,
        };
        let (count, is_closed) = live.look(|task| (task.log().len(), task.log().is_closed()));
        if seen > count {
            return Err(CannotResume::NotYet);
        }
        if last.is_some() && is_closed && seen == count {
            return Err(CannotResume::ReadToTheEnd);
        }
        Ok(Self {
            live,
            seen,
            told,
            _left: Left(left),
        })
    }
}

impl EventSource for Reader {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Before looking: what is told from here on wakes us.
            self.told.mark_unchanged();
            match self.portion() {
                Portion::Events(events) => return Some(events),
                Portion::End => return None,
                Portion::Nothing => {}
            }
            // The sender lives in `live`.
            self.told.changed().await.ok()?;
        }
    }
}

impl Reader {
    fn portion(&mut self) -> Portion {
        let task = self.live.task.lock();
        let events = task.log().after(self.seen, PORTION_BYTES);
        if events.is_empty() {
            return if task.log().is_closed() {
                Portion::End
            } else {
                Portion::Nothing
            };
        }
        let mut out = Vec::new();
        for event in events {
            self.seen += 1;
            let id = EventId {
                run: self.live.run,
                number: self.seen,
            };
            event.write(id, &mut out);
        }
        Portion::Events(out.into())
    }
}

enum Portion {
    Events(Bytes),
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    End,
}

impl From<Failure> for Change {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

#[cfg(test)]
mod tests;
