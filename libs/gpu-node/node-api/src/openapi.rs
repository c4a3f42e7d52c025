//! The OpenAPI description of the node's routes.

use utoipa::{
    OpenApi as _, PartialSchema, ToSchema,
    openapi::{HttpMethod, ObjectBuilder, OpenApi, PathItem, RefOr, Schema, schema::Type},
};

use crate::control;

/// Describes all [`routes`](crate::routes), and the data path to the engines.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut document = NodeApi::openapi();
    // The data path forwards any method. Engines have these.
    for path in document.paths.paths.values_mut() {
        if let (None, Some(post)) = (&path.get, &path.post)
            && post
                .tags
                .as_ref()
                .is_some_and(|tags| tags.iter().any(|tag| tag == ENGINES))
        {
            *path = PathItem::from_http_methods([HttpMethod::Get, HttpMethod::Post], post.clone());
        }
    }
    document
}

/// The tag of the data path.
const ENGINES: &str = "engines";

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(
        control::all_gpus,
        control::pools,
        control::pool,
        control::drain,
        control::undrain,
        control::drain_replica,
        control::undrain_replica,
        control::restart,
        control::reload,
        to_an_engine,
    ),
    components(schemas(PathSegment))
)]
struct NodeApi;

/// What [`classify`](pool_registry_types::engine_path::classify) accepts, without a dot at the
/// beginning.
const PLAIN: &str = r"^[^\u0000-\u001f\u007f-\u009f/\\;?#%.][^\u0000-\u001f\u007f-\u009f/\\;?#%]*$";

/// A part of an engine's path, in its plain form. No value of this type exists: a route classifies
/// the path as a whole, and forwards it as it came.
struct PathSegment;

impl PartialSchema for PathSegment {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(PLAIN))
            .description(Some(
                "Without control characters and without what some engines take for a separator.",
            ))
            .into()
    }
}

impl ToSchema for PathSegment {}

/// Forwards to an engine of the pool, or refuses at once. The path is the engine's own.
#[utoipa::path(post, path = "/v2/pools/{pool_id}/engine/{path}", tag = ENGINES,
    params(
        ("pool_id" = pool_registry_types::PoolId, Path, description = "The pool."),
        ("path" = PathSegment, Path,
            description = "The engine's own path. Its slashes are sent as they are.")
    ),
    responses(
        (status = "default", description = "The engine's response.", body = Object),
        (status = 404, description = "NOT_FOUND"), (status = 502, description = "WORKER_RESET"),
        (status = 503, description = "POOL_BUSY, POOL_DRAINING, POOL_UNAVAILABLE"),
        (status = 504, description = "DEADLINE_EXCEEDED")
    )
)]
#[expect(
    dead_code,
    reason = "this function carries the description of a route without a handler"
)]
fn to_an_engine() {}
