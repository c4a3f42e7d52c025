//! The OpenAPI description of the gateway's routes.
#![expect(
    dead_code,
    reason = "these functions carry the description of routes without a handler"
)]

mod engine_routes;
mod ollama;
mod parts;

use pool_registry_types::{ModelName, schema::EventStream};
use utoipa::{
    OpenApi as _,
    openapi::{OpenApi, PathItem},
};

use crate::{
    explain,
    models::{Model, ModelList},
    route::SHORT_FORMS,
    strategy_schema::StrategyName,
};

/// The descriptions of everything the gateway serves, and of
/// [`explain_routes`](crate::explain_routes).
#[must_use]
pub fn openapi() -> OpenApi {
    let mut document = Described::openapi();
    let paths = &mut document.paths.paths;
    paths.extend(engine_routes::engine_routes());
    paths.extend(ollama::ollama_routes());
    for (short, path) in SHORT_FORMS {
        if let Some(item) = paths.get(path) {
            paths.insert(short.to_owned(), short_form(item.clone(), path));
        }
    }
    document
}

/// The description of another path of a route.
fn short_form(mut item: PathItem, path: &str) -> PathItem {
    for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
        operation.summary = Some(format!("The same as `{path}`."));
    }
    item
}

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(models, model, explain::explain),
    components(schemas(EventStream, ModelName, StrategyName))
)]
struct Described;

/// The models that a node can serve now, and their aliases.
#[utoipa::path(get, path = "/v1/models", tag = "inference",
    responses((status = 200, description = "By name.", body = ModelList<'static>)))]
fn models() {}

/// One model.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "inference",
    params(
        ("model" = String, Path, description = "Its name; a `/` in it may be written as it is.")
    ),
    responses((status = 200, description = "A node serves it.", body = Model<'static>),
        (status = 404, description = "MODEL_NOT_AVAILABLE")))]
fn model() {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Target, target};

    // spec: WIRE-9
    #[test]
    fn every_described_path_is_served_and_every_short_form_is_described() {
        let document = openapi();
        for path in document.paths.paths.keys() {
            if path.starts_with("/v2/") {
                continue;
            }
            let path = path.replace("{model}", "m").replace("{response_id}", "r");
            assert_ne!(target(&path), Target::Unlisted, "{path}");
        }
        for (short, _) in SHORT_FORMS {
            assert!(document.paths.paths.contains_key(short), "{short}");
        }
        let stored = &document.paths.paths["/v1/responses/{response_id}"];
        assert!(stored.get.is_some() && stored.delete.is_some() && stored.post.is_none());
    }
}
