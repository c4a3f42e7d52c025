//! Which tasks are kept, and for how long. Pure: `(state, event, now)`.
//!
//! A task that runs is always kept. One that has ended is kept for a while, so that its client can
//! come back for the answer; the oldest goes first when room is needed.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use pool_registry_types::TaskId;
use thiserror::Error;

/// How much is kept, in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) tasks: usize,
    pub(crate) bytes: usize,
    /// How long a task is kept after its end.
    pub(crate) age: Duration,
}

/// There is no room, even without all tasks that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no room is left for tasks")]
pub(crate) struct Full;

/// The tasks there are, by id.
#[derive(Debug)]
pub(crate) struct Shelf<T> {
    limits: Limits,
    kept: HashMap<TaskId, Kept<T>>,
    /// Those that have ended, in the order of their ends.
    ended: BTreeMap<Ended, TaskId>,
    bytes: usize,
    ends: u64,
}

/// When a task ended, and a number to tell apart those that ended together.
type Ended = (Duration, u64);

#[derive(Debug)]
struct Kept<T> {
    value: T,
    bytes: usize,
    ended: Option<Ended>,
}

impl<T> Shelf<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            kept: HashMap::new(),
            ended: BTreeMap::new(),
            bytes: 0,
            ends: 0,
        }
    }

    pub(crate) fn get(&mut self, id: &TaskId, now: Duration) -> Option<&T> {
        self.expire(now);
        self.kept.get(id).map(|kept| &kept.value)
    }

    /// Takes in a task that takes `bytes`. One of the same id would be replaced: look first.
    pub(crate) fn put(
        &mut self,
        id: TaskId,
        value: T,
        bytes: usize,
        now: Duration,
    ) -> Result<(), Full> {
        self.expire(now);
        self.remove(&id, |_| true);
        while self.kept.len() >= self.limits.tasks || self.bytes + bytes > self.limits.bytes {
            self.drop_oldest()?;
        }
        self.bytes += bytes;
        let kept = Kept {
            value,
            bytes,
            ended: None,
        };
        self.kept.insert(id, kept);
        Ok(())
    }

    /// A running task takes `bytes` more. When there is no room it is not counted, and should take
    /// no more.
    pub(crate) fn grow(&mut self, id: &TaskId, bytes: usize) -> Result<(), Full> {
        while self.bytes + bytes > self.limits.bytes {
            self.drop_oldest()?;
        }
        if let Some(kept) = self.kept.get_mut(id) {
            kept.bytes += bytes;
            self.bytes += bytes;
        }
        Ok(())
    }

    /// A task has ended and takes `bytes` from now on.
    ///
    /// It stays even when that is more than there is room for: its client has not had a chance to
    /// hear of the end.
    pub(crate) fn end(&mut self, id: &TaskId, bytes: usize, now: Duration) {
        let Some(kept) = self.kept.get_mut(id).filter(|kept| kept.ended.is_none()) else {
            return;
        };
        self.ends += 1;
        let ended = (now, self.ends);
        kept.ended = Some(ended);
        self.bytes = self.bytes - kept.bytes + bytes;
        kept.bytes = bytes;
        self.ended.insert(ended, id.clone());
        while self.bytes > self.limits.bytes && self.ended.len() > 1 && self.drop_oldest().is_ok() {
        }
    }

    /// Forgets a task, if it is the one that is meant.
    pub(crate) fn remove(&mut self, id: &TaskId, is_meant: impl FnOnce(&T) -> bool) {
        if !self.kept.get(id).is_some_and(|kept| is_meant(&kept.value)) {
            return;
        }
        if let Some(kept) = self.kept.remove(id) {
            self.bytes -= kept.bytes;
            if let Some(ended) = kept.ended {
                self.ended.remove(&ended);
            }
        }
    }

    /// Forgets what has been kept for long enough.
    pub(crate) fn expire(&mut self, now: Duration) {
        while self.next_expiry().is_some_and(|at| at <= now) && self.drop_oldest().is_ok() {}
    }

    /// When there will be something to forget; `None` while no task has ended.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        let ((ended, _), _) = self.ended.first_key_value()?;
        Some(ended.saturating_add(self.limits.age))
    }

    /// Those that have not ended.
    pub(crate) fn running(&self) -> impl Iterator<Item = &T> {
        self.kept
            .values()
            .filter(|kept| kept.ended.is_none())
            .map(|kept| &kept.value)
    }

    fn drop_oldest(&mut self) -> Result<(), Full> {
        let (_, id) = self.ended.pop_first().ok_or(Full)?;
        if let Some(kept) = self.kept.remove(&id) {
            self.bytes -= kept.bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
