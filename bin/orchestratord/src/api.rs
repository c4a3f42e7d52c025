//! All routes beside `/v1`, and the OpenAPI document of everything that is served.

use api_reference::{About, Part, Reference};
use control_api::ControlApi;
use http_server::Routes;

const ABOUT: About = About {
    title: "orchestratord",
    version: env!("CARGO_PKG_VERSION"),
    description: "The control plane of llorch: it tracks nodes, routes requests, and serves one \
                  URL for all engines.\n\nUnknown fields are ignored, and later versions add \
                  optional ones. Any other POST below /v1 whose body names a model is \
                  forwarded as well. Errors below /v2 have one shape and those below /v1 \
                  OpenAI's, with the same codes. All times are in milliseconds \
                  where a name ends in _ms.",
};

/// The OpenAPI document of everything that is served.
pub(crate) fn reference() -> Reference {
    let parts: [Part; 9] = [
        control_api::openapi,
        dashboard::openapi,
        inference_gateway::openapi,
        task_api::openapi,
        key_api::openapi,
        usage_api::openapi,
        state_api::openapi,
        join_api::openapi,
        http_server::openapi,
    ];
    Reference::new(ABOUT, parts)
}

/// All routes beside `/v1` and the dashboard.
pub(crate) fn routes(control: ControlApi, others: [Routes; 3]) -> Routes {
    let all = control.routes().merge(reference().routes());
    others.into_iter().fold(all, Routes::merge)
}

#[cfg(test)]
mod tests;
