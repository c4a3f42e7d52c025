//! Tasks: inference that runs without a connection.

// The server chooses the numbers: arithmetic on them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use serde::Deserialize;

/// The answer to `POST /v2/tasks`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct TaskAccepted {
    /// The id of the task.
    pub task_id: String,
    /// Requests before it in the queue.
    #[serde(default)]
    pub queue_position: u64,
    /// The predicted time until it starts, in milliseconds.
    #[serde(default)]
    pub predicted_start_ms: Option<u64>,
}

/// `GET /v2/tasks/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct TaskState {
    /// The id of the task.
    pub task_id: String,
    /// The state, such as `running`.
    pub state: String,
    /// The model.
    pub model_ref: String,
    /// `interactive` or `batch`.
    pub priority: String,
    /// Requests before it in the queue, while it waits.
    #[serde(default)]
    pub queue_position: Option<u64>,
    /// The number of `token` events so far.
    #[serde(default)]
    pub tokens_out: u64,
    /// The time since it was submitted, in milliseconds.
    #[serde(default)]
    pub age_ms: u64,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<pool_registry_types::ErrorBody>,
}
