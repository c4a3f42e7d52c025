//! The tables of who may use which route.

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// Everyone, without a token too.
    Everyone,
    /// Every valid token.
    Anyone,
    /// Keys with one of these scopes, and the API token.
    Only(&'static [&'static str]),
    /// The node itself, and the API token.
    Itself,
    /// The node itself, operators, and the API token.
    ItselfOrOperators,
    /// The node itself, observers, operators, and the API token.
    ItselfOrReaders,
}

const CLIENTS: May = May::Only(&["client", "operator"]);
const READERS: May = May::Only(&["observer", "operator"]);
const BOTH: May = May::Only(&["client", "observer", "operator"]);
const OPERATORS: May = May::Only(&["operator"]);

/// The routes of the control plane by the beginning of method and path; the first row counts.
pub(super) const CONTROL: &[(&str, May)] = &[
    ("get /v2/catalog/availability", BOTH),
    ("post /v2/placement/explain", BOTH),
    ("post /v2/nodes/register", May::Itself),
    ("post /v2/nodes/{node_id}/heartbeat", May::Itself),
    ("post /v2/nodes/{node_id}/certificate", May::Itself),
    ("delete /v2/nodes/{node_id}/certificate", OPERATORS),
    ("delete /v2/nodes/{node_id}", May::ItselfOrOperators),
    ("get /v2/nodes/{node_id}", May::ItselfOrReaders),
    ("post /v2/join-tokens", OPERATORS),
    ("get /v2/join-tokens", OPERATORS),
    ("delete /v2/join-tokens/", OPERATORS),
    ("post /v2/join", May::Everyone),
    ("post /v2/nodes/{node_id}/drain", OPERATORS),
    ("post /v2/nodes/{node_id}/undrain", OPERATORS),
    ("post /v2/pools/{node_id}/", OPERATORS),
    ("get /v2/nodes", READERS),
    ("get /v2/pools", READERS),
    ("get /v2/gpus", READERS),
    ("get /v2/status", READERS),
    ("get /v2/events", READERS),
    ("get /v2/live", READERS),
    ("get /v2/session", May::Anyone),
    ("post /v2/session", May::Anyone),
    ("delete /v2/session", May::Anyone),
    ("get /v2/sd/prometheus", READERS),
    ("get /metrics", READERS),
    ("get /ready", May::Anyone),
    ("get /health", May::Everyone),
    ("get /openapi.json", May::Everyone),
    ("get /docs/api", May::Everyone),
    ("get /assets/", May::Everyone),
    ("get /v2/tasks", CLIENTS),
    ("post /v2/tasks", CLIENTS),
    ("get /v2/usage", READERS),
    ("post /v2/store/export", OPERATORS),
    ("get /v2/keys", OPERATORS),
    ("post /v2/keys", OPERATORS),
    ("patch /v2/keys/{key_id}", OPERATORS),
    ("delete /v2/keys/{key_id}", OPERATORS),
    ("get /v1/", CLIENTS),
    ("post /v1/", CLIENTS),
    ("delete /v1/responses/{response_id}", CLIENTS),
    ("get /api/", CLIENTS),
    ("post /api/", CLIENTS),
    ("get /models", CLIENTS),
    ("post /audio/", CLIENTS),
    ("post /chat/completions", CLIENTS),
    ("post /messages", CLIENTS),
    ("post /responses", CLIENTS),
    ("post /apply-template", CLIENTS),
    ("post /classify", CLIENTS),
    ("post /completion", CLIENTS),
    ("post /detokenize", CLIENTS),
    ("post /embedding", CLIENTS),
    ("post /infill", CLIENTS),
    ("post /pooling", CLIENTS),
    ("get /props", CLIENTS),
    ("post /rerank", CLIENTS),
    ("post /score", CLIENTS),
    ("post /tokenize", CLIENTS),
];

/// The routes of the agent.
pub(super) const AGENT: &[(&str, May)] = &[
    ("get /v2/pools/{pool_id}/engine/", CLIENTS),
    ("post /v2/pools/{pool_id}/engine/", CLIENTS),
    ("post /v2/pools/{pool_id}/", OPERATORS),
    ("get /v2/pools", READERS),
    ("get /v2/gpus", READERS),
    ("get /metrics", READERS),
    ("get /ready", May::Anyone),
    ("get /health", May::Everyone),
    ("get /openapi.json", May::Everyone),
    ("get /docs/api", May::Everyone),
];

/// The row of a route. `GET /` is the page and no prefix of others.
pub(super) fn row(rows: &[(&str, May)], route: &str) -> Option<May> {
    if route == "get /" {
        return Some(May::Everyone);
    }
    let found = rows.iter().find(|(begins, _)| route.starts_with(begins));
    found.map(|(_, may)| *may)
}
