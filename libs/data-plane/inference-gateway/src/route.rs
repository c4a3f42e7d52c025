//! The paths that the gateway serves, and what each one is for.

use pool_registry_types::{
    client_api::{ClientApi, ENGINE_ROUTES},
    engine_path::{AmbiguousPath, EnginePath, classify},
};

use crate::dialect::Dialect;

/// A path that goes to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// The path, and its label in metrics.
    pub(crate) path: &'static str,
    pub(crate) dialect: Dialect,
    pub(crate) method: EngineMethod,
}

/// The method of a route that goes to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineMethod {
    /// Its body names the model.
    Post,
    /// Its query may name the model.
    Get,
}

impl EngineMethod {
    /// Its name, as in `Allow`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Get => "GET",
        }
    }
}

const fn post(path: &'static str, dialect: Dialect) -> Route {
    Route {
        path,
        dialect,
        method: EngineMethod::Post,
    }
}

pub(crate) const ROUTES: [Route; 20] = [
    post("/v1/chat/completions", Dialect::Completions),
    post("/v1/completions", Dialect::Completions),
    post("/v1/embeddings", Dialect::Plain),
    post("/v1/responses", Dialect::Responses),
    post("/v1/messages", Dialect::Messages),
    post("/v1/messages/count_tokens", Dialect::Messages),
    post("/v1/rerank", Dialect::Plain),
    post("/v1/score", Dialect::Plain),
    post("/v1/audio/transcriptions", Dialect::Plain),
    post("/tokenize", Dialect::Plain),
    post("/detokenize", Dialect::Plain),
    post("/apply-template", Dialect::Plain),
    post("/completion", Dialect::Plain),
    post("/infill", Dialect::Plain),
    post("/embedding", Dialect::Plain),
    post("/rerank", Dialect::Plain),
    post("/score", Dialect::Plain),
    post("/classify", Dialect::Plain),
    post("/pooling", Dialect::Plain),
    // Without a body it changes nothing; `POST` would.
    Route {
        path: "/props",
        dialect: Dialect::Plain,
        method: EngineMethod::Get,
    },
];

/// Other paths of routes. Engines know the second ones.
pub(crate) const SHORT_FORMS: [(&str, &str); 9] = [
    ("/chat/completions", "/v1/chat/completions"),
    ("/completions", "/v1/completions"),
    ("/embeddings", "/v1/embeddings"),
    ("/responses", "/v1/responses"),
    ("/messages", "/v1/messages"),
    ("/audio/transcriptions", "/v1/audio/transcriptions"),
    ("/models", MODELS),
    ("/reranking", "/rerank"),
    ("/v1/reranking", "/v1/rerank"),
];

/// Any other path below `/v1`. It is forwarded when the body names a model.
const OTHER: &str = "other";

/// Requests for a stored response of `/v1/responses`.
const STORED_RESPONSE: Route = Route {
    path: "/v1/responses/{id}",
    dialect: Dialect::Plain,
    method: EngineMethod::Get,
};

/// What may follow the id of a stored response, and the methods that it has. The shortest is last.
pub(crate) const STORED_RESPONSE_ENDS: [(&str, &str); 3] = [
    ("/cancel", "POST"),
    ("/input_items", "GET"),
    ("", "GET, DELETE"),
];

const MODELS: &str = "/v1/models";
const MODEL: &str = "/v1/models/";
pub(crate) const RESPONSE: &str = "/v1/responses/";
const REALTIME: &str = "/v1/realtime";

impl Route {
    /// Whether the path is not listed.
    pub(crate) fn is_other(self) -> bool {
        self.path == OTHER
    }

    /// The path for the engine, where it differs from the client's.
    pub(crate) fn engine_path(self, client_path: &str) -> Option<&'static str> {
        let is_listed = !self.is_other() && self != STORED_RESPONSE;
        (is_listed && self.path != client_path).then_some(self.path)
    }
}

/// What a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'p> {
    /// The list of models.
    Models,
    /// One model, by its percent-encoded name.
    Model(&'p str),
    /// A listed path that goes to an engine.
    Engine(Route),
    /// A response that an engine has stored.
    StoredResponse {
        route: Route,
        /// Percent-encoded.
        id: &'p str,
        /// The methods, as in `Allow`.
        allowed: &'static str,
    },
    /// The realtime API, which has no engine.
    Realtime,
    /// Ollama's API.
    Ollama(OllamaRoute),
    /// Ollama's management of models.
    OllamaManagement,
    /// Nothing that is listed.
    Unlisted,
}

/// A route of Ollama's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OllamaRoute {
    Version,
    Tags,
    Running,
    Show,
    Inference(ollama_api::Kind),
}

impl OllamaRoute {
    /// Its method.
    pub(crate) fn method(self) -> EngineMethod {
        match self {
            Self::Version | Self::Tags | Self::Running => EngineMethod::Get,
            Self::Show | Self::Inference(_) => EngineMethod::Post,
        }
    }
}

/// The routes of Ollama's API.
pub(crate) const OLLAMA_ROUTES: [(&str, OllamaRoute); 8] = [
    ("/api/chat", OllamaRoute::Inference(ollama_api::Kind::Chat)),
    (
        "/api/generate",
        OllamaRoute::Inference(ollama_api::Kind::Generate),
    ),
    (
        "/api/embed",
        OllamaRoute::Inference(ollama_api::Kind::Embed),
    ),
    (
        "/api/embeddings",
        OllamaRoute::Inference(ollama_api::Kind::Embeddings),
    ),
    ("/api/tags", OllamaRoute::Tags),
    ("/api/ps", OllamaRoute::Running),
    ("/api/show", OllamaRoute::Show),
    ("/api/version", OllamaRoute::Version),
];

/// What a path of Ollama's API is for.
fn ollama(path: &str) -> Target<'_> {
    if let Some((_, route)) = OLLAMA_ROUTES.iter().find(|(listed, _)| *listed == path) {
        return Target::Ollama(*route);
    }
    match path.strip_prefix("/api/").unwrap_or_default() {
        "pull" | "push" | "create" | "delete" | "copy" => Target::OllamaManagement,
        blobs if blobs.starts_with("blobs/") => Target::OllamaManagement,
        _ => Target::Unlisted,
    }
}

/// Whether the gateway serves a path.
pub(crate) fn is_ours(path: &str) -> bool {
    ClientApi::of(path) != ClientApi::Own
}

/// What a path without its final slash is for.
pub(crate) fn target(path: &str) -> Target<'_> {
    let short = SHORT_FORMS.iter().find(|(short, _)| *short == path);
    let path = short.map_or(path, |(_, path)| path);
    if let Some(route) = ROUTES.iter().find(|route| route.path == path) {
        return Target::Engine(*route);
    }
    if path.starts_with("/api/") {
        return ollama(path);
    }
    if path == MODELS {
        return Target::Models;
    }
    if let Some(name) = path.strip_prefix(MODEL) {
        return Target::Model(name);
    }
    if let Some(rest) = path.strip_prefix(RESPONSE) {
        let mut ends = STORED_RESPONSE_ENDS.iter();
        let found = ends.find_map(|(end, allowed)| Some((rest.strip_suffix(end)?, *allowed)));
        if let Some((id, allowed)) = found.filter(|(id, _)| !id.is_empty() && !id.contains('/')) {
            return Target::StoredResponse {
                route: STORED_RESPONSE,
                id,
                allowed,
            };
        }
    }
    if path
        .strip_prefix(REALTIME)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    {
        return Target::Realtime;
    }
    Target::Unlisted
}

/// The dialect of all responses for a path.
pub(crate) fn dialect(path: &str) -> Dialect {
    match target(path) {
        Target::Engine(route) => route.dialect,
        _ => match ClientApi::of(path) {
            ClientApi::Anthropic => Dialect::Messages,
            ClientApi::Ollama => Dialect::Ollama,
            ClientApi::OpenAi | ClientApi::Own => Dialect::Plain,
        },
    }
}

/// The route of a path that is not listed; `None` when clients may not use it.
///
/// # Errors
/// When engines could interpret the path in different ways.
pub(crate) fn other(path: &str) -> Result<Option<Route>, AmbiguousPath> {
    let is_for_clients = classify(path)? == EnginePath::Inference;
    let api = ClientApi::of(path);
    let is_forwarded = is_for_clients && !matches!(api, ClientApi::Own | ClientApi::Ollama);
    Ok(is_forwarded.then(|| post(OTHER, dialect(path))))
}

/// The listed path that is most like `path`, if one is.
pub(crate) fn nearest(path: &str) -> Option<&'static str> {
    // The longest listed path has fewer characters.
    if path.len() > MAX_COMPARED_BYTES {
        return None;
    }
    let path = path.to_ascii_lowercase();
    let listed = ROUTES.iter().map(|route| route.path);
    let listed = listed.chain(ENGINE_ROUTES.iter().copied()).chain([MODELS]);
    let closest = listed
        .clone()
        .map(|listed| (strsim::damerau_levenshtein(&path, listed), listed))
        .min()
        .filter(|(differences, _)| *differences <= MAX_DIFFERENCES);
    // A base URL with too much at its end, such as `/v1/v1`, leaves the route at the end.
    let at_its_end = || {
        let at_its_end = listed.filter(|listed| path.ends_with(listed));
        at_its_end.max_by_key(|listed| listed.len())
    };
    closest.map(|(_, listed)| listed).or_else(at_its_end)
}

/// Whether a base URL has put too much before a listed path. No engine has such a path.
pub(crate) fn has_too_much_before(path: &str) -> bool {
    let rest = path.strip_prefix("/v1").or(path.strip_prefix("/api"));
    rest.is_some_and(|rest| rest.starts_with("/v1/") && target(rest) != Target::Unlisted)
}

/// Longer paths are like none that is listed.
const MAX_COMPARED_BYTES: usize = 64;

/// More differences make another word.
const MAX_DIFFERENCES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-101
    #[test]
    fn every_short_form_leads_to_a_route() {
        for (short, path) in SHORT_FORMS {
            assert_eq!(target(short), target(path), "{short}");
            assert_ne!(target(short), Target::Unlisted, "{short}");
            assert!(is_ours(short), "{short}");
        }
    }

    // spec: PATH-101
    #[test]
    fn every_path_outside_v1_is_a_route() {
        for path in ENGINE_ROUTES {
            assert_ne!(target(path), Target::Unlisted, "{path}");
        }
        for route in ROUTES {
            assert!(is_ours(route.path), "{}", route.path);
        }
    }

    // spec: PATH-101
    #[test]
    fn a_path_close_to_a_route_names_it() {
        for (path, expected) in [
            ("/v1/chat/completion", Some("/v1/chat/completions")),
            ("/v1/chat/Completions", Some("/v1/chat/completions")),
            ("/v1/embedding", Some("/v1/embeddings")),
            ("/v1/model", Some("/v1/models")),
            ("/v1/reponses", Some("/v1/responses")),
            ("/v1/message", Some("/v1/messages")),
            ("/v1/v1/chat/completions", Some("/v1/chat/completions")),
            ("/openai/v1/embeddings", Some("/v1/embeddings")),
            ("/v1/files", None),
            ("/v1/fine_tuning/jobs", None),
        ] {
            assert_eq!(nearest(path), expected, "{path}");
        }
        assert_eq!(nearest(&"/v1/chat/completions".repeat(100)), None);
    }

    // spec: PATH-104
    #[test]
    fn a_stored_response_is_named_by_its_id() {
        let stored = |path| match target(path) {
            Target::StoredResponse { id, allowed, .. } => Some((id, allowed)),
            _ => None,
        };
        assert_eq!(
            stored("/v1/responses/resp_1"),
            Some(("resp_1", "GET, DELETE"))
        );
        assert_eq!(
            stored("/v1/responses/resp_1/cancel"),
            Some(("resp_1", "POST"))
        );
        assert_eq!(
            stored("/v1/responses/resp_1/input_items"),
            Some(("resp_1", "GET"))
        );
        for path in [
            "/v1/responses",
            "/v1/responses/a/b",
            "/v1/responses//cancel",
        ] {
            assert_eq!(stored(path), None, "{path}");
        }
    }
}
