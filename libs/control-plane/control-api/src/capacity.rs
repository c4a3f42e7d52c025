//! `GET /v2/gpus`, `GET /v2/pools` and `GET /v2/catalog/availability`.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use http_server::ApiError;

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
/// Slots are as last reported by the node; `GET /v2/status` counts them live.
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

/// Every model and the nodes that serve it. Slots are as last reported by the nodes.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/catalog/availability", tag = "capacity",
    responses((status = 200, description = "By name.", body = CatalogAnswer))
))]
pub(crate) async fn catalog(State(api): State<ControlApi>) -> Json<CatalogAnswer> {
    let mut catalog = Catalog::default();
    api.each_node(|node| catalog.add(node)).await;
    Json(catalog.into_answer())
}
