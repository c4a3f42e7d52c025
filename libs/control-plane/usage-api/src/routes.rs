//! The route and its handler.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use http_server::{Access, ApiError, Routes};
use usage_log::UsageLog;

use crate::{
    csv::csv,
    query::{WrittenQuery, cursor_text},
    view::UsageAnswer,
};

const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8");

/// The position after the rows of a CSV answer, when there may be more.
const NEXT_AFTER: HeaderName = HeaderName::from_static("x-next-after");

/// The routes.
pub fn routes(log: UsageLog) -> Routes {
    Routes::new()
        .get("/v2/usage", Access::OBSERVER, list)
        .with_state(log)
}

/// What keys have used, by day, key and model: as JSON, or as CSV (`format=csv`, or
/// `Accept: text/csv`).
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/usage", tag = "keys",
    params(
        ("key" = Option<String>, Query, description = "Only this key, by its id or its name.",
            min_length = 1, max_length = 256),
        ("model" = Option<String>, Query, description = "Only this model.",
            min_length = 1, max_length = 256),
        ("from" = Option<String>, Query, description = "From this day on, such as 2027-01-31.",
            format = Date),
        ("to" = Option<String>, Query, description = "Up to this day, which is included.",
            format = Date),
        ("limit" = Option<u32>, Query, description = "The most rows.",
            minimum = 1, maximum = 10_000),
        ("after" = Option<String>, Query,
            description = "Only rows after this one; see `next_after`.",
            pattern = "^[0-9]{1,7}/[^/]*/.*$"),
        ("format" = Option<UsageFormat>, Query, description = "By default as `Accept` says."),
    ),
    responses((status = 200, description = "Sorted by day, key and model. CSV has the header \
        `X-Next-After` instead of `next_after`.",
        content((UsageAnswer = "application/json"), (String = "text/csv"))))
))]
async fn list(
    State(log): State<UsageLog>,
    headers: HeaderMap,
    query: Result<Query<WrittenQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(written) =
        query.map_err(|_| ApiError::invalid("the query of the path is not valid"))?;
    let query = written.parse(&headers)?;
    let page = log.page(&query.rows, query.after.as_ref(), query.limit);
    if !query.is_csv {
        return Ok(Json(UsageAnswer::from(page)).into_response());
    }
    let next = page.next.as_ref().map(cursor_text);
    let mut response = csv(page.rows).into_response();
    response.headers_mut().insert(CONTENT_TYPE, CSV);
    let next = next.and_then(|next| HeaderValue::try_from(next).ok());
    if let Some(next) = next {
        response.headers_mut().insert(NEXT_AFTER, next);
    }
    Ok(response)
}

/// The form of an answer.
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes a text")]
enum UsageFormat {
    Json,
    Csv,
}

#[cfg(feature = "openapi")]
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    use utoipa::OpenApi as _;

    #[derive(utoipa::OpenApi)]
    #[openapi(paths(list), components(schemas(UsageFormat)))]
    struct Usage;
    Usage::openapi()
}
