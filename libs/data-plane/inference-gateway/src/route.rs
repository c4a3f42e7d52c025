//! The paths that go to an engine, and the dialect of each.

use pool_registry_types::engine_path::{AmbiguousPath, EnginePath, classify};

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

/// Any other path below `/v1`. It is forwarded when the body names a model.
pub(crate) const OTHER: Route = Route {
    path: "other",
    dialect: Dialect::Plain,
};

/// Whether the gateway serves a path.
pub(crate) fn is_ours(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/") || ROUTES.iter().any(|route| route.path == path)
}

/// The listed route of a path.
pub(crate) fn find(path: &str) -> Option<Route> {
    ROUTES.into_iter().find(|route| route.path == path)
}

/// The route of a path that is not listed; `None` when clients may not use it.
///
/// # Errors
/// When engines could interpret the path in different ways.
pub(crate) fn other(path: &str) -> Result<Option<Route>, AmbiguousPath> {
    Ok((classify(path)? == EnginePath::Inference).then_some(OTHER))
}
