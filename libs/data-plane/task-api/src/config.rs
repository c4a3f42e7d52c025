//! How many tasks are kept, how large they may be, and for how long.

use std::time::Duration;

/// Limits of the task API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskConfig {
    /// The largest number of known tasks, ended ones included.
    pub max_tasks: usize,
    /// The memory of all tasks in bytes: waiting and running requests, and events.
    pub max_bytes: usize,
    /// The memory of one task's events in bytes. A longer answer ends with an error.
    pub max_task_bytes: usize,
    /// How long a task is kept after its end.
    pub max_age: Duration,
    /// The longest time that a task waits for a slot, or for a node that may return.
    pub max_wait: Duration,
    /// The longest duration of a task without a deadline.
    pub max_duration: Duration,
}

impl TaskConfig {
    /// The defaults.
    ///
    /// * 4096 tasks: sixteen full queues.
    /// * 64 MiB in all, and 8 MiB of one task: about 100 000 tokens.
    /// * 10 minutes after the end: a client that restarts is back by then.
    /// * 10 minutes of waiting: no person waits, and the client knows its position in the queue.
    /// * An hour without a deadline: no client reads on after that.
    pub const DEFAULT: Self = Self {
        max_tasks: 4096,
        max_bytes: 64 * 1024 * 1024,
        max_task_bytes: 8 * 1024 * 1024,
        max_age: Duration::from_secs(10 * 60),
        max_wait: Duration::from_secs(10 * 60),
        max_duration: Duration::from_secs(60 * 60),
    };
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}
