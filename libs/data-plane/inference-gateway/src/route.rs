//! Which paths go to an engine, and how each is spoken.

use crate::dialect::Dialect;

/// A path that goes to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// The path, and its label in metrics.
    pub(crate) path: &'static str,
    pub(crate) dialect: Dialect,
}

pub(crate) const ROUTES: [Route; 9] = [
    Route {
        path: "/v1/chat/completions",
        dialect: Dialect::Completions,
    },
    Route {
        path: "/v1/completions",
        dialect: Dialect::Completions,
    },
    Route {
        path: "/v1/embeddings",
        dialect: Dialect::Plain,
    },
    Route {
        path: "/v1/responses",
        dialect: Dialect::Responses,
    },
    Route {
        path: "/v1/messages",
        dialect: Dialect::Messages,
    },
    Route {
        path: "/v1/rerank",
        dialect: Dialect::Plain,
    },
    Route {
        path: "/v1/audio/transcriptions",
        dialect: Dialect::Plain,
    },
    Route {
        path: "/tokenize",
        dialect: Dialect::Plain,
    },
    Route {
        path: "/detokenize",
        dialect: Dialect::Plain,
    },
];

/// Any other path below `/v1`: forwarded when its body names a model.
pub(crate) const OTHER: Route = Route {
    path: "other",
    dialect: Dialect::Plain,
};

/// Routes by which engines are administered, and which are no client's business.
const ADMINISTRATION: [&str; 3] = [
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/chat/completions/control",
];

/// Whether a path may be forwarded though nobody has written it down: no administration, and nothing an engine
/// could read as another path.
pub(crate) fn may_be_forwarded(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let is_dotted = lower.split('/').any(|part| part == "." || part == "..");
    let is_encoded = ["%2e", "%2f", "%5c", "\\"]
        .iter()
        .any(|hidden| lower.contains(hidden));
    !is_dotted
        && !is_encoded
        && !ADMINISTRATION
            .iter()
            .any(|route| lower.trim_end_matches('/') == *route)
}

/// Whether the gateway answers for a path at all.
pub(crate) fn is_ours(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/") || ROUTES.iter().any(|route| route.path == path)
}

/// The route of a path that is known to go to an engine.
pub(crate) fn find(path: &str) -> Option<Route> {
    ROUTES.into_iter().find(|route| route.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn administration_and_disguised_paths_are_not_forwarded() {
        for path in [
            "/v1/load_lora_adapter",
            "/V1/Load_Lora_Adapter/",
            "/v1/chat/completions/control",
            "/v1/../slots",
            "/v1/./x",
            "/v1/%2e%2e/slots",
            "/v1/x%2Fy",
            "/v1/x\\y",
        ] {
            assert!(!may_be_forwarded(path), "{path}");
        }
        for path in ["/v1/images/generations", "/v1/a.b/c..d"] {
            assert!(may_be_forwarded(path), "{path}");
        }
    }
}
