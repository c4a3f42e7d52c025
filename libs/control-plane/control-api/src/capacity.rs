//! `GET /v2/gpus`, `GET /v2/pools` and `GET /v2/catalog/availability`.

use axum::{
    Extension, Json,
    extract::{RawQuery, State},
};
use http_server::{ApiError, Principal};

use crate::{
    api::ControlApi,
    query::NodesQuery,
    view::{Catalog, CatalogAnswer, GpusAnswer, PoolsAnswer},
};

/// The GPUs of nodes.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/gpus", tag = "capacity",
    params(crate::query::PageParameters),
    responses((status = 200, description = "By node, then by index.", body = GpusAnswer))
))]
pub(crate) async fn gpus(
    State(api): State<ControlApi>,
    RawQuery(query): RawQuery,
) -> Result<Json<GpusAnswer>, ApiError> {
    let query = NodesQuery::parse_page(query.as_deref().unwrap_or_default())?;
    Ok(Json(GpusAnswer::of(&api.page(&query))))
}

/// The endpoints that requests may go to: replicas, or whole pools where replicas are not known.
/// Free slots are counted live, as in `GET /v2/status`.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/pools", tag = "capacity",
    params(crate::query::PageParameters),
    responses((status = 200, description = "By node, pool and replica.", body = PoolsAnswer))
))]
pub(crate) async fn pools(
    State(api): State<ControlApi>,
    RawQuery(query): RawQuery,
) -> Result<Json<PoolsAnswer>, ApiError> {
    let query = NodesQuery::parse_page(query.as_deref().unwrap_or_default())?;
    Ok(Json(PoolsAnswer::of(&api.page(&query), &*api.data_path)))
}

/// Every model that the caller may use, and the nodes that serve it. Free slots are counted live,
/// as in `GET /v2/status`.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/catalog/availability", tag = "capacity",
    responses((status = 200, description = "By name.", body = CatalogAnswer))
))]
pub(crate) async fn catalog(
    State(api): State<ControlApi>,
    Extension(principal): Extension<Principal>,
) -> Json<CatalogAnswer> {
    let mut catalog = Catalog::of(principal);
    api.each_node(|node| catalog.add(node, &*api.data_path))
        .await;
    Json(catalog.into_answer())
}
