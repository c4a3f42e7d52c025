//! How many tasks there may be, how large, and for how long.

use std::time::Duration;

/// Limits of the task API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskConfig {
    /// The most tasks that are known at a time, ended ones included.
    pub max_tasks: usize,
    /// The most memory of all tasks together, in bytes: requests that wait or run, and events.
    pub max_bytes: usize,
    /// The most memory of one task's events, in bytes; a longer answer ends with an error.
    pub max_task_bytes: usize,
    /// How long a task is kept after its end.
    pub max_age: Duration,
    /// The longest a task waits for a slot, or for a node that may be coming back.
    pub max_wait: Duration,
    /// How long a task may take in all when its client sets no deadline.
    pub max_duration: Duration,
}

impl TaskConfig {
    /// What holds where nothing else is set.
    ///
    /// 4096 tasks (sixteen full queues), 64 MiB in all, 8 MiB of one (about 100 000 tokens), kept
    /// for 10 minutes (a client that restarts is back by then), 10 minutes of waiting (nobody
    /// sits before it, and it was told its place in the line), an hour for a task without a
    /// deadline (nobody reads on after that).
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
