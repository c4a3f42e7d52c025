//! The routes and their handlers.

use std::{sync::Arc, time::SystemTime};

use access_keys::{AccessKey, Event};
use axum::{
    Extension, Json,
    extract::{Query, State},
    response::{IntoResponse as _, Response},
};
use bearer_auth::AccessToken;
use http::{HeaderValue, header::CACHE_CONTROL};
use http_server::{Access, ApiError, ApiJson, ApiPath, Routes, audit};
use pool_registry_types::{ErrorCode, limits::Limit};
use serde::Deserialize;

use crate::{
    api::KeyApi,
    errors::{internal, refused},
    view::{
        CreatedKeyAnswer, KeyAnswer, KeyChangeRequest, KeysAnswer, NewKeyRequest, RotateRequest,
    },
};

/// The most keys of one answer, also without `limit`.
pub const MAX_PAGE_KEYS: usize = 1000;

/// The length of an id, which is a part of a digest.
const KEY_ID_DIGITS: usize = 12;

/// All limits.
pub const LIMITS: &[Limit] = &[Limit::new("MAX_PAGE_KEYS", MAX_PAGE_KEYS as u64, "keys")
    .because("The keys of one answer, also when no `limit` is given.")
    .enforced_by("GET /v2/keys")
    .beyond(
        "`next_after` names the last one, and `?after=` continues behind it; a larger `limit` is \
         400 INVALID_REQUEST",
    )];

impl KeyApi {
    /// The routes.
    #[must_use]
    pub fn routes(self) -> Routes {
        Routes::new()
            .post("/v2/keys", Access::OPERATOR, create)
            .get("/v2/keys", Access::OPERATOR, list)
            .post("/v2/keys/{key_id}/rotate", Access::OPERATOR, rotate)
            .patch("/v2/keys/{key_id}", Access::OPERATOR, change_limits)
            .delete("/v2/keys/{key_id}", Access::OPERATOR, revoke)
            .with_state(self)
    }
}

/// Creates a key. The answer has its token, which is shown this once.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/keys", tag = "keys", request_body = NewKeyRequest,
    responses((status = 200, description = "It is valid.", body = CreatedKeyAnswer),
        (status = 409, description = "KEY_CONFLICT"))
))]
async fn create(
    State(api): State<KeyApi>,
    Extension(subject): Extension<audit::Subject>,
    ApiJson(request): ApiJson<NewKeyRequest>,
) -> Result<Response, ApiError> {
    let token = AccessToken::generate().map_err(|_| internal())?;
    let event = Event::Create {
        digest: token.digest(),
        request: request.into(),
    };
    subject.say(|| format!("create key {}", token.digest().short()));
    let key = change(&api, event).await?;
    Ok(with_token(&key, token))
}

/// Gives a key a new token, which is shown this once. The old one stays valid for the overlap.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/keys/{key_id}/rotate", tag = "keys",
    params(("key_id" = String, Path, description = "The key.")),
    request_body = Option<RotateRequest>,
    responses((status = 200, description = "The new token is valid.", body = CreatedKeyAnswer),
        (status = 404, description = "NOT_FOUND"), (status = 409, description = "KEY_CONFLICT"))
))]
async fn rotate(
    State(api): State<KeyApi>,
    ApiPath(key_id): ApiPath<String>,
    Extension(subject): Extension<audit::Subject>,
    request: Option<ApiJson<RotateRequest>>,
) -> Result<Response, ApiError> {
    let token = AccessToken::generate().map_err(|_| internal())?;
    let request = request.map(|ApiJson(request)| request).unwrap_or_default();
    let key_id = known_form(&key_id)?;
    subject.say(|| format!("rotate key {key_id}"));
    let event = Event::Rotate {
        key_id,
        digest: token.digest(),
        rotation: request.into(),
    };
    let key = change(&api, event).await?;
    Ok(with_token(&key, token))
}

/// Changes the limits of a key, from its next request on: a limit that is absent stays, and `null`
/// removes it. Requests that run go on.
#[cfg_attr(feature = "openapi", utoipa::path(
    patch, path = "/v2/keys/{key_id}", tag = "keys",
    params(("key_id" = String, Path, description = "The key.")),
    request_body = KeyChangeRequest,
    responses((status = 200, description = "The limits hold.", body = KeyAnswer),
        (status = 404, description = "NOT_FOUND"), (status = 409, description = "KEY_CONFLICT"))
))]
async fn change_limits(
    State(api): State<KeyApi>,
    ApiPath(key_id): ApiPath<String>,
    Extension(subject): Extension<audit::Subject>,
    ApiJson(request): ApiJson<KeyChangeRequest>,
) -> Result<Json<KeyAnswer>, ApiError> {
    let key_id = known_form(&key_id)?;
    subject.say(|| format!("change limits of key {key_id}: {}", request.in_words()));
    let event = Event::ChangeLimits {
        key_id,
        change: request.into(),
    };
    let key = change(&api, event).await?;
    Ok(Json(KeyAnswer::new(&key, SystemTime::now())))
}

/// Revokes a key. Its next request is refused; running ones finish.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete, path = "/v2/keys/{key_id}", tag = "keys",
    params(("key_id" = String, Path, description = "The key.")),
    responses((status = 200, description = "It is refused from now on.", body = KeyAnswer),
        (status = 404, description = "NOT_FOUND"), (status = 409, description = "KEY_CONFLICT"))
))]
async fn revoke(
    State(api): State<KeyApi>,
    ApiPath(key_id): ApiPath<String>,
    Extension(subject): Extension<audit::Subject>,
) -> Result<Json<KeyAnswer>, ApiError> {
    let key_id = known_form(&key_id)?;
    subject.say(|| format!("revoke key {key_id}"));
    let event = Event::Revoke { key_id };
    let key = change(&api, event).await?;
    Ok(Json(KeyAnswer::new(&key, SystemTime::now())))
}

/// Which keys to list.
#[derive(Debug, Deserialize)]
struct KeysQuery {
    limit: Option<usize>,
    after: Option<String>,
}

/// The keys, page by page. No answer has a token.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/keys", tag = "keys",
    params(
        ("limit" = Option<u32>, Query, description = "The most keys.", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query,
            description = "Only keys after this one; see `next_after`."),
    ),
    responses((status = 200, description = "Sorted by id.", body = KeysAnswer))
))]
async fn list(
    State(api): State<KeyApi>,
    query: Result<Query<KeysQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<KeysAnswer>, ApiError> {
    let wrong = || ApiError::invalid(format!("limit: must be a number from 1 to {MAX_PAGE_KEYS}"));
    let Query(query) = query.map_err(|_| wrong())?;
    let limit = query.limit.unwrap_or(MAX_PAGE_KEYS);
    if !(1..=MAX_PAGE_KEYS).contains(&limit) {
        return Err(wrong());
    }
    let page = api.page(query.after.as_deref(), limit).await;
    let last = page.keys.last().filter(|_| page.more);
    let now = SystemTime::now();
    Ok(Json(KeysAnswer {
        next_after: last.map(|key| Arc::clone(&key.key_id)),
        keys: page
            .keys
            .iter()
            .map(|key| KeyAnswer::new(key, now))
            .collect(),
    }))
}

/// An id that a key may have.
fn known_form(key_id: &str) -> Result<Arc<str>, ApiError> {
    if key_id.len() == KEY_ID_DIGITS && key_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(key_id.into());
    }
    Err(ApiError::new(
        ErrorCode::NotFound,
        "there is no such key: an id has 12 hexadecimal digits, and GET /v2/keys lists them",
    ))
}

async fn change(api: &KeyApi, event: Event) -> Result<Arc<AccessKey>, ApiError> {
    api.change(event).await.map_err(|error| refused(&error))
}

/// No cache keeps a token.
fn with_token(key: &AccessKey, token: AccessToken) -> Response {
    let answer = Json(CreatedKeyAnswer::new(key, token, SystemTime::now()));
    let no_store = HeaderValue::from_static("no-store");
    ([(CACHE_CONTROL, no_store)], answer).into_response()
}

#[cfg(feature = "openapi")]
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    use utoipa::OpenApi as _;

    #[derive(utoipa::OpenApi)]
    #[openapi(paths(create, list, rotate, change_limits, revoke))]
    struct Keys;
    Keys::openapi()
}
