//! All routes beside those to engines, and the OpenAPI document of all routes.

use api_reference::{About, Part, Reference};
use http_server::Routes;

const ABOUT: About = About {
    title: "pool-managerd",
    version: env!("CARGO_PKG_VERSION"),
    description: "The agent of a GPU node: its pools, its GPUs, and the guarded way to its \
                  engines.\n\nUnknown fields are ignored, and later versions add optional ones. \
                  All times are in milliseconds where a name ends in _ms.",
};

/// The OpenAPI document of everything that is served.
pub(crate) fn reference() -> Reference {
    Reference::new(ABOUT, [node_api::openapi as Part, http_server::openapi])
}

/// All routes beside those to engines.
pub(crate) fn routes(node: Routes, service: Routes) -> Routes {
    node.merge(service).merge(reference().routes())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use http_server::service_routes;
    use node_api::Drains;
    use pool_registry::PoolRegistry;
    use service_runtime::Readiness;

    use super::*;

    // spec: WIRE-9
    #[test]
    fn the_document_has_every_route_and_no_other() {
        let gpus = tokio::sync::watch::channel(Arc::default()).1;
        let node = node_api::routes(
            PoolRegistry::new(vec![]),
            gpus,
            Arc::new(Drains::in_memory()),
            None,
        );
        let service = service_routes(Readiness::new(), Arc::new(String::new));
        let mounted: BTreeSet<(String, String)> = routes(node, service)
            .mounted()
            .iter()
            .map(|(method, path)| (method.as_str().to_lowercase(), (*path).to_owned()))
            .collect();
        let document: serde_json::Value = serde_json::from_str(reference().json()).unwrap();
        let paths = document["paths"].as_object().unwrap().iter();
        let described = paths
            .filter(|(path, _)| !path.contains("/engine/"))
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(|method| (method.clone(), path.clone()))
            })
            .collect();
        assert_eq!(mounted, described);
    }
}
