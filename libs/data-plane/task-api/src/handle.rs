//! A task that several owners change, watch and stop concurrently.

use std::{fmt, time::Duration};

use admission::Priority;
use parking_lot::Mutex;
use pool_registry_types::TaskId;
use tokio::sync::{Notify, watch};

use crate::{
    event::Forecast,
    request::{EngineRequest, Fingerprint},
    task::{Task, TaskChange},
};

/// A task and its watchers.
pub(crate) struct TaskHandle {
    pub(crate) id: TaskId,
    /// See [`EventId`](crate::event::EventId).
    pub(crate) run: u32,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) model: String,
    pub(crate) priority: Priority,
    task: Mutex<Task>,
    /// The number of events. Each reader holds a receiver.
    event_count: watch::Sender<u64>,
    stop: Notify,
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The effect of changes on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChangeEffect {
    /// How many bytes of memory the task uses more.
    pub(crate) bytes: usize,
    /// Whether the task has not ended.
    pub(crate) is_active: bool,
}

impl TaskHandle {
    pub(crate) fn new(
        id: TaskId,
        fingerprint: Fingerprint,
        request: &EngineRequest,
        task: Task,
    ) -> Self {
        Self {
            id,
            run: fastrand::u32(..),
            fingerprint,
            model: request.model.clone(),
            priority: request.priority,
            task: Mutex::new(task),
            event_count: watch::Sender::new(0),
            stop: Notify::new(),
        }
    }

    /// Applies `changes` in order. Readers see all of them at once.
    pub(crate) fn apply(
        &self,
        changes: impl IntoIterator<Item = TaskChange>,
        now: Duration,
    ) -> ChangeEffect {
        let mut task = self.task.lock();
        let bytes_before = task.log().bytes();
        for change in changes {
            task.apply(change, now);
        }
        let effect = ChangeEffect {
            bytes: task.log().bytes() - bytes_before,
            is_active: !task.state().is_over(),
        };
        // Published under the lock, so that two counts are never published in the wrong order.
        let count = task.log().len();
        self.event_count
            .send_if_modified(|known| std::mem::replace(known, count) != count);
        effect
    }

    /// Ends the task from outside. Its run stops and releases the engine.
    pub(crate) fn end(&self, change: TaskChange, now: Duration) {
        if !self.apply([change], now).is_active {
            self.stop.notify_one();
        }
    }

    /// Returns when the task was ended from outside.
    pub(crate) async fn stopped(&self) {
        self.stop.notified().await;
    }

    pub(crate) fn set_forecast(&self, forecast: Forecast) {
        self.task.lock().set_forecast(forecast);
    }

    /// Reads the task under its lock.
    pub(crate) fn with_task<T>(&self, read: impl FnOnce(&Task) -> T) -> T {
        read(&self.task.lock())
    }

    /// Follows the number of events.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.event_count.subscribe()
    }

    /// The number of readers of its events.
    pub(crate) fn readers(&self) -> usize {
        self.event_count.receiver_count()
    }
}
