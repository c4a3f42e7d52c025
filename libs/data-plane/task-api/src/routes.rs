//! The routes and their handlers.

use axum::{
    Json, Router,
    extract::State as AxumState,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header::LOCATION};
use http_server::{ApiError, ApiJson, ApiPath, Routes, event_stream, last_event_id};
use pool_registry_types::{ErrorCode, TaskId};

use crate::{
    TaskApi,
    event::EventId,
    live::CannotResume,
    request::TaskRequest,
    view::{Accepted, TaskView, events_path, task_path},
};

/// The largest task: a long conversation is a few hundred KiB, an image in it some MiB.
pub const TASK_BODY_BYTES: usize = 8 * 1024 * 1024;

impl TaskApi {
    /// The routes.
    #[must_use]
    pub fn routes(self) -> Routes {
        Routes::new()
            .post("/v2/tasks", submit)
            .get("/v2/tasks/{task_id}", show)
            .get("/v2/tasks/{task_id}/events", events)
            .post("/v2/tasks/{task_id}/cancel", cancel)
            .with_state(self)
    }

    /// The routes as a router without fallbacks.
    pub fn router(self) -> Router {
        self.routes().into_router()
    }
}

/// A task is taken in.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/tasks", tag = "tasks", request_body = crate::openapi::NewTask,
    responses((status = 202, description = "It waits, or runs already.", body = Accepted,
            headers(("Location" = String, description = "Where it is."))),
        (status = 404, description = "MODEL_NOT_AVAILABLE"), (status = 409, description = "TASK_ID_CONFLICT"),
        (status = 429, description = "QUEUE_FULL"))
))]
async fn submit(
    AxumState(api): AxumState<TaskApi>,
    ApiJson(request): ApiJson<TaskRequest, TASK_BODY_BYTES>,
) -> Result<Response, ApiError> {
    let live = api.submit(request).await?;
    let accepted = Accepted::new(&live.id, live.look(|task| task.forecast()));
    let mut response = (StatusCode::ACCEPTED, Json(accepted)).into_response();
    // An id is a header value by its own rules.
    if let Ok(location) = HeaderValue::from_str(&task_path(&live.id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// How far a task is.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/tasks/{task_id}", tag = "tasks", params(("task_id" = TaskId, Path, description = "The task.")),
    responses((status = 200, description = "As it is now.", body = TaskView), (status = 404, description = "NOT_FOUND"))
))]
async fn show(
    AxumState(api): AxumState<TaskApi>,
    ApiPath(task_id): ApiPath<TaskId>,
) -> Result<Json<TaskView>, ApiError> {
    let live = api.find(&task_id)?;
    let forecast = api.forecast(&live);
    Ok(Json(live.look(|task| {
        TaskView::new(&live, task, forecast, api.now())
    })))
}

/// Nobody wants a task any more.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/tasks/{task_id}/cancel", tag = "tasks", params(("task_id" = TaskId, Path, description = "The task.")),
    responses((status = 204, description = "No token follows."), (status = 404, description = "NOT_FOUND"))
))]
async fn cancel(
    AxumState(api): AxumState<TaskApi>,
    ApiPath(task_id): ApiPath<TaskId>,
) -> Result<StatusCode, ApiError> {
    api.cancel(&task_id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a task tells, from its beginning or from where the reader was.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/tasks/{task_id}/events", tag = "tasks", params(("task_id" = TaskId, Path, description = "The task."),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was read, such as `7f3a90c1-42`.",
            pattern = "^([0-9a-f]{8}-[0-9]{1,19})?$")),
    responses((status = 200, description = "`started`, `token`…, `metrics`, then `end` or `error`.", body = pool_registry_types::schema::EventStream,
            content_type = "text/event-stream"),
        (status = 204, description = "All of it was read."), (status = 404, description = "NOT_FOUND"))
))]
async fn events(
    AxumState(api): AxumState<TaskApi>,
    ApiPath(task_id): ApiPath<TaskId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last = last_event(&headers)?;
    match api.read(&task_id, last)? {
        Ok(reader) => Ok(event_stream(reader)),
        // What the standard has for a client that would otherwise come again and again (HTML
        // standard, 9.2.3).
        Err(CannotResume::ReadToTheEnd) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(CannotResume::OtherRun) => Err(ApiError::new(
            ErrorCode::NotFound,
            format!(
                "the task that Last-Event-ID is about is gone; {task_id} is now another one, to \
                 be read from {}",
                events_path(&task_id)
            ),
        )),
        Err(CannotResume::NotYet) => Err(ApiError::invalid(
            "Last-Event-ID: names an event that the task has not told yet",
        )),
    }
}

fn last_event(headers: &HeaderMap) -> Result<Option<EventId>, ApiError> {
    last_event_id(headers)?
        .map(str::parse)
        .transpose()
        .map_err(|error| ApiError::invalid(format!("Last-Event-ID: {error}")))
}
