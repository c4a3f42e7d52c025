//! The JSON representations of a task.

use std::time::Duration;

use pool_registry_types::TaskId;
use serde::Serialize;

use crate::{
    event::{Forecast, TaskError},
    handle::TaskHandle,
    task::{Task, TaskState, millis},
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
    state: TaskState,
    model_ref: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    priority: &'static str,
    /// Only while it waits.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = crate::schema::WhileItWaits))]
    forecast: Option<Forecast>,
    /// The number of `token` events so far.
    tokens_out: u32,
    /// Since its submission.
    age_ms: u64,
    /// Why it has no answer, or an incomplete one.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<TaskError>,
    links: Links,
}

/// Paths of a task.
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
    pub(crate) fn new(
        handle: &TaskHandle,
        task: &Task,
        forecast: Option<Forecast>,
        now: Duration,
    ) -> Self {
        Self {
            task_id: handle.id.clone(),
            state: task.state(),
            model_ref: handle.model.clone(),
            priority: handle.priority.as_str(),
            // The task may have started since the forecast was made.
            forecast: forecast.filter(|_| task.state() == TaskState::Queued),
            tokens_out: task.tokens(),
            age_ms: millis(task.age(now)),
            error: task.error().cloned(),
            links: Links::new(&handle.id),
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
