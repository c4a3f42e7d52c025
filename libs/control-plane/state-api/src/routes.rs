//! The route and its handler.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE},
};
use http_server::{Access, ApiError, Routes, audit};
use pool_registry_types::ErrorCode;
use state_export::{LiveState, StateError};
use tokio::sync::Mutex;

/// Lines of JSON.
const JSON_LINES: HeaderValue = HeaderValue::from_static("application/jsonl");
const ATTACHMENT: HeaderValue =
    HeaderValue::from_static("attachment; filename=\"llorch-state.jsonl\"");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// One export is made at a time, because each of them is in memory.
type Source = Arc<Mutex<LiveState>>;

/// The routes.
pub fn routes(state: LiveState) -> Routes {
    Routes::new()
        .post("/v2/store/export", Access::OPERATOR, export)
        .with_state(Arc::new(Mutex::new(state)))
}

/// All state as one file, for a backup or another machine: nodes, drains, keys (as digests), join
/// tokens (as digests), revoked nodes and usage. The files of a CA are not in it; `llorch store
/// export --ca-dir` adds them. `llorch store import` reads it.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/store/export", tag = "store",
    responses((status = 200, description = "Lines of JSON; the last one has a checksum.",
        body = String, content_type = "application/jsonl"))
))]
async fn export(
    State(source): State<Source>,
    Extension(subject): Extension<audit::Subject>,
) -> Result<Response, ApiError> {
    subject.say(|| "export all state".to_owned());
    let state = source.lock_owned().await;
    let work = tokio::task::spawn_blocking(move || {
        let export = state.export(SystemTime::now())?;
        export.to_bytes()
    });
    let done = work.await.map_err(|_| failed())?;
    let mut bytes = done.map_err(|error| answer(&error))?;
    let body = std::mem::take(&mut *bytes);
    let headers = [
        (CONTENT_TYPE, JSON_LINES),
        (CONTENT_DISPOSITION, ATTACHMENT),
        (CACHE_CONTROL, NO_STORE),
    ];
    Ok((headers, body).into_response())
}

fn answer(error: &StateError) -> ApiError {
    match error {
        StateError::TooLarge => ApiError::new(ErrorCode::Internal, error.to_string()),
        _ => {
            let error: &(dyn std::error::Error + 'static) = error;
            tracing::warn!(error, "the state cannot be exported");
            failed()
        }
    }
}

fn failed() -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        "the state cannot be read; the log of this server has more",
    )
}

#[cfg(feature = "openapi")]
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    use utoipa::OpenApi as _;

    #[derive(utoipa::OpenApi)]
    #[openapi(paths(export))]
    struct Store;
    Store::openapi()
}
