//! What clients see of a task.

use std::time::Duration;

use pool_registry_types::TaskId;
use serde::Serialize;

use crate::{
    event::{Failure, Forecast},
    live::Live,
    task::{State, Task, millis},
};

/// The answer to `POST /v2/tasks`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct Accepted {
    task_id: TaskId,
    #[serde(flatten)]
    forecast: Forecast,
    links: Links,
}

/// The answer to `GET /v2/tasks/{task_id}`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct TaskView {
    task_id: TaskId,
    state: State,
    model_ref: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    priority: &'static str,
    /// While it waits.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::WhileItWaits))]
    forecast: Option<Forecast>,
    /// How many `token` events there are so far.
    tokens_out: u32,
    /// Since it came.
    age_ms: u64,
    /// Why it has no answer, or only a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    links: Links,
}

/// Where to go on.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct Links {
    #[serde(rename = "self")]
    task: String,
    events: String,
    cancel: String,
}

impl Accepted {
    pub(crate) fn new(task_id: &TaskId, forecast: Forecast) -> Self {
        Self {
            task_id: task_id.clone(),
            forecast,
            links: Links::new(task_id),
        }
    }
}

impl TaskView {
    pub(crate) fn new(live: &Live, task: &Task, forecast: Option<Forecast>, now: Duration) -> Self {
        Self {
            task_id: live.id.clone(),
            state: task.state(),
            model_ref: live.model.clone(),
            priority: live.priority.as_str(),
            // It may have started since the forecast was made.
            forecast: forecast.filter(|_| task.state() == State::Queued),
            tokens_out: task.tokens(),
            age_ms: millis(task.age(now)),
            error: task.failure().cloned(),
            links: Links::new(&live.id),
        }
    }
}

impl Links {
    fn new(task_id: &TaskId) -> Self {
        Self {
            task: task_path(task_id),
            events: events_path(task_id),
            cancel: format!("{}/cancel", task_path(task_id)),
        }
    }
}

pub(crate) fn task_path(task_id: &TaskId) -> String {
    format!("/v2/tasks/{task_id}")
}

pub(crate) fn events_path(task_id: &TaskId) -> String {
    format!("{}/events", task_path(task_id))
}
