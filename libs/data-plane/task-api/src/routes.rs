//! The routes and their handlers.

use axum::{
    Extension, Json, Router,
    extract::State as AxumState,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header::LOCATION};
use http_server::{
    Access, ApiError, ApiJson, ApiPath, Principal, Routes, event_stream, last_event_id,
};
use pool_registry_types::{ErrorCode, TaskId};

use crate::{
    api::TaskApi,
    event::EventId,
    reader::ResumeError,
    request::TaskRequest,
    view::{Accepted, TaskView, events_path, task_path},
};

/// The largest body of a new task. A long conversation has a few hundred KiB, an image some MiB.
pub const TASK_BODY_BYTES: usize = 8 * 1024 * 1024;

impl TaskApi {
    /// The routes.
    #[must_use]
    pub fn routes(self) -> Routes {
        Routes::new()
            .post("/v2/tasks", Access::CLIENT, submit)
            .get("/v2/tasks/{task_id}", Access::CLIENT, show)
            .get("/v2/tasks/{task_id}/events", Access::CLIENT, events)
            .post("/v2/tasks/{task_id}/cancel", Access::CLIENT, cancel)
            .with_state(self)
    }

    /// The routes as a router without fallbacks.
    pub fn router(self) -> Router {
        self.routes().into_router()
    }
}

/// Submit a task.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v2/tasks",
    tag = "tasks",
    request_body = crate::new_task::NewTask,
    responses(
        (
            status = 202,
            description = "The task waits or runs.",
            body = Accepted,
            headers(("Location" = String, description = "The path of the task.")),
        ),
        (status = 404, description = "MODEL_NOT_AVAILABLE"),
        (status = 409, description = "TASK_ID_CONFLICT"),
        (status = 429, description = "QUEUE_FULL, RATE_LIMITED"),
    ),
))]
async fn submit(
    AxumState(api): AxumState<TaskApi>,
    Extension(owner): Extension<Principal>,
    ApiJson(request): ApiJson<TaskRequest, TASK_BODY_BYTES>,
) -> Result<Response, ApiError> {
    let handle = api.submit(request, owner).await?;
    let accepted = Accepted::new(&handle.id, handle.with_task(|task| task.forecast()));
    let mut response = (StatusCode::ACCEPTED, Json(accepted)).into_response();
    // Ids are valid header values by construction.
    if let Ok(location) = HeaderValue::from_str(&task_path(&handle.id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Show the state of a task.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v2/tasks/{task_id}",
    tag = "tasks",
    params(("task_id" = TaskId, Path, description = "The task.")),
    responses(
        (status = 200, description = "The present state.", body = TaskView),
        (status = 404, description = "NOT_FOUND"),
    ),
))]
async fn show(
    AxumState(api): AxumState<TaskApi>,
    ApiPath(task_id): ApiPath<TaskId>,
) -> Result<Json<TaskView>, ApiError> {
    let handle = api.find(&task_id)?;
    let forecast = api.forecast(&handle);
    let view = handle.with_task(|task| TaskView::new(&handle, task, forecast, api.now()));
    Ok(Json(view))
}

/// Cancel a task.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v2/tasks/{task_id}/cancel",
    tag = "tasks",
    params(("task_id" = TaskId, Path, description = "The task.")),
    responses(
        (status = 204, description = "No token follows."),
        (status = 404, description = "NOT_FOUND"),
    ),
))]
async fn cancel(
    AxumState(api): AxumState<TaskApi>,
    ApiPath(task_id): ApiPath<TaskId>,
) -> Result<StatusCode, ApiError> {
    api.cancel(&task_id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Read the events of a task, from the first one or after the last one that was read.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v2/tasks/{task_id}/events",
    tag = "tasks",
    params(
        ("task_id" = TaskId, Path, description = "The task."),
        (
            "Last-Event-ID" = Option<String>,
            Header,
            description = "The last event that was read, such as `7f3a90c1-42`.",
            pattern = "^([0-9a-f]{8}-[0-9]{1,19})?$",
        ),
    ),
    responses(
        (
            status = 200,
            description = "`started`, `token`…, `metrics`, then `end` or `error`.",
            body = pool_registry_types::schema::EventStream,
            content_type = "text/event-stream",
        ),
        (status = 204, description = "All events were read."),
        (status = 404, description = "NOT_FOUND"),
    ),
))]
async fn events(
    AxumState(api): AxumState<TaskApi>,
    ApiPath(task_id): ApiPath<TaskId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last = last_event(&headers)?;
    match api.read(&task_id, last)? {
        Ok(reader) => Ok(event_stream(reader)),
        // A 204 tells an `EventSource` not to reconnect (HTML standard, 9.2.3).
        Err(ResumeError::ReadToTheEnd) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(ResumeError::OtherRun) => Err(ApiError::new(
            ErrorCode::NotFound,
            format!(
                "Last-Event-ID belongs to an earlier task, which is gone; read the present task \
                 {task_id} from {}",
                events_path(&task_id)
            ),
        )),
        Err(ResumeError::NotYet) => Err(ApiError::invalid(
            "Last-Event-ID: names an event that the task does not have yet",
        )),
    }
}

fn last_event(headers: &HeaderMap) -> Result<Option<EventId>, ApiError> {
    last_event_id(headers)?
        .map(str::parse)
        .transpose()
        .map_err(|error| ApiError::invalid(format!("Last-TaskEvent-ID: {error}")))
}
