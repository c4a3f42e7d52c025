//! Which tasks are kept, and for how long. It is pure: `(state, event, now)`.
//!
//! A running task is always kept. A task that has ended is kept for a while, so that its client can
//! return for the answer. When room is needed, the task that ended first is forgotten first.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use pool_registry_types::TaskId;
use thiserror::Error;

/// The limits of all tasks together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreLimits {
    pub(crate) tasks: usize,
    pub(crate) bytes: usize,
    /// How long a task is kept after its end.
    pub(crate) age: Duration,
}

/// There is no room even without the tasks that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no room is left for tasks")]
pub(crate) struct StoreFull;

/// The known tasks by id.
#[derive(Debug)]
pub(crate) struct TaskStore<T> {
    limits: StoreLimits,
    tasks: HashMap<TaskId, StoredTask<T>>,
    /// The tasks that have ended, in the order of their ends.
    ended: BTreeMap<EndOrder, TaskId>,
    bytes: usize,
    end_count: u64,
}

/// When a task ended, and a number that distinguishes simultaneous ends.
type EndOrder = (Duration, u64);

#[derive(Debug)]
struct StoredTask<T> {
    value: T,
    bytes: usize,
    ended: Option<EndOrder>,
}

impl<T> TaskStore<T> {
    pub(crate) fn new(limits: StoreLimits) -> Self {
        Self {
            limits,
            tasks: HashMap::new(),
            ended: BTreeMap::new(),
            bytes: 0,
            end_count: 0,
        }
    }

    pub(crate) fn get(&mut self, id: &TaskId, now: Duration) -> Option<&T> {
        self.expire(now);
        self.tasks.get(id).map(|stored| &stored.value)
    }

    /// Stores a task of `bytes` bytes. It replaces a task with the same id, so call `get` first.
    pub(crate) fn insert(
        &mut self,
        id: TaskId,
        value: T,
        bytes: usize,
        now: Duration,
    ) -> Result<(), StoreFull> {
        self.expire(now);
        self.remove(&id, |_| true);
        while self.tasks.len() >= self.limits.tasks || self.bytes + bytes > self.limits.bytes {
            self.forget_oldest()?;
        }
        self.bytes += bytes;
        let stored = StoredTask {
            value,
            bytes,
            ended: None,
        };
        self.tasks.insert(id, stored);
        Ok(())
    }

    /// A running task grows by `bytes`. Without room the growth is not counted, and the caller must
    /// end the task.
    pub(crate) fn grow(&mut self, id: &TaskId, bytes: usize) -> Result<(), StoreFull> {
        while self.bytes + bytes > self.limits.bytes {
            self.forget_oldest()?;
        }
        if let Some(stored) = self.tasks.get_mut(id) {
            stored.bytes += bytes;
            self.bytes += bytes;
        }
        Ok(())
    }

    /// A task has ended and has `bytes` bytes from now on.
    ///
    /// It is kept even if it exceeds the limit, because its client could not read the end yet.
    pub(crate) fn end(&mut self, id: &TaskId, bytes: usize, now: Duration) {
        let Some(stored) = self
            .tasks
            .get_mut(id)
            .filter(|stored| stored.ended.is_none())
        else {
            return;
        };
        self.end_count += 1;
        let ended = (now, self.end_count);
        stored.ended = Some(ended);
        self.bytes = self.bytes - stored.bytes + bytes;
        stored.bytes = bytes;
        self.ended.insert(ended, id.clone());
        while self.bytes > self.limits.bytes && self.ended.len() > 1 && self.forget_oldest().is_ok()
        {
        }
    }

    /// Forgets the task with this id, if `matches` accepts it.
    pub(crate) fn remove(&mut self, id: &TaskId, matches: impl FnOnce(&T) -> bool) {
        if !self
            .tasks
            .get(id)
            .is_some_and(|stored| matches(&stored.value))
        {
            return;
        }
        if let Some(stored) = self.tasks.remove(id) {
            self.bytes -= stored.bytes;
            if let Some(ended) = stored.ended {
                self.ended.remove(&ended);
            }
        }
    }

    /// Forgets the tasks whose time is over.
    pub(crate) fn expire(&mut self, now: Duration) {
        while self.next_expiry().is_some_and(|at| at <= now) && self.forget_oldest().is_ok() {}
    }

    /// When the next task expires; `None` while no task has ended.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        let ((ended, _), _) = self.ended.first_key_value()?;
        Some(ended.saturating_add(self.limits.age))
    }

    /// The tasks that have not ended.
    pub(crate) fn running(&self) -> impl Iterator<Item = &T> {
        self.tasks
            .values()
            .filter(|stored| stored.ended.is_none())
            .map(|stored| &stored.value)
    }

    fn forget_oldest(&mut self) -> Result<(), StoreFull> {
        let (_, id) = self.ended.pop_first().ok_or(StoreFull)?;
        if let Some(stored) = self.tasks.remove(&id) {
            self.bytes -= stored.bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
