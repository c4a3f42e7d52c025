//! The router, its handlers, and the list of its routes.

use axum::{
    Json, Router,
    extract::State as AxumState,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::LOCATION};
use http_server::{ApiError, ApiJson, ApiPath, event_stream, last_event_id};
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

/// Every route, as in the router: for tests that must not forget one, such as "each refuses a stranger".
pub static ROUTES: &[(Method, &str)] = &[
    (Method::POST, "/v2/tasks"),
    (Method::GET, "/v2/tasks/{task_id}"),
    (Method::GET, "/v2/tasks/{task_id}/events"),
    (Method::POST, "/v2/tasks/{task_id}/cancel"),
];

impl TaskApi {
    /// The routes, without fallbacks, so that the router can be merged with others.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v2/tasks", post(submit))
            .route("/v2/tasks/{task_id}", get(show))
            .route("/v2/tasks/{task_id}/events", get(events))
            .route("/v2/tasks/{task_id}/cancel", post(cancel))
            .with_state(self)
    }
}

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

async fn show(
    AxumState(api): AxumState<TaskApi>,
    ApiPath(task_id): ApiPath<TaskId>,
) -> Result<Json<TaskView>, ApiError> {
    let live = api.find(&task_id)?;
    let forecast = api.forecast(&live);
    Ok(Json(
        live.look(|task| TaskView::new(&live, task, forecast, api.now())),
    ))
}

async fn cancel(
    AxumState(api): AxumState<TaskApi>,
    ApiPath(task_id): ApiPath<TaskId>,
) -> Result<StatusCode, ApiError> {
    api.cancel(&task_id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn events(
    AxumState(api): AxumState<TaskApi>,
    ApiPath(task_id): ApiPath<TaskId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last = last_event(&headers)?;
    match api.read(&task_id, last)? {
        Ok(reader) => Ok(event_stream(reader)),
        // What the standard has for a client that would otherwise come again and again (HTML standard, 9.2.3).
        Err(CannotResume::ReadToTheEnd) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(CannotResume::OtherRun) => Err(ApiError::new(
            ErrorCode::NotFound,
            format!(
                "the task that Last-Event-ID is about is gone; {task_id} is now another one, to be read from {}",
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
