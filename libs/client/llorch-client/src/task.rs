//! Tasks, as their clients see them.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use serde::Deserialize;

/// The answer to `POST /v2/tasks`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskAccepted {
    /// The id it goes by.
    pub task_id: String,
    /// How many requests are served before it.
    #[serde(default)]
    pub queue_position: u64,
    /// In how many milliseconds it starts, as far as that can be told.
    #[serde(default)]
    pub predicted_start_ms: Option<u64>,
}

/// `GET /v2/tasks/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskState {
    /// The id it goes by.
    pub task_id: String,
    /// How far it is, in a word.
    pub state: String,
    /// The model.
    pub model_ref: String,
    /// `interactive` or `batch`.
    pub priority: String,
    /// How many requests are served before it, while it waits.
    #[serde(default)]
    pub queue_position: Option<u64>,
    /// How many `token` events there are so far.
    #[serde(default)]
    pub tokens_out: u64,
    /// Since it came, in milliseconds.
    #[serde(default)]
    pub age_ms: u64,
    /// Why it has no answer.
    #[serde(default)]
    pub error: Option<pool_registry_types::ErrorBody>,
}
