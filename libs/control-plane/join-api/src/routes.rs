//! The routes and their handlers.

use std::{fmt::Display, sync::Arc, time::SystemTime};

use axum::{
    Extension, Json,
    extract::{FromRequestParts, State},
    http::request::Parts,
    response::{IntoResponse as _, Response},
};
use bearer_auth::AccessToken;
use http::{HeaderValue, header::CACHE_CONTROL};
use http_server::{Access, ApiError, ApiJson, ApiPath, PeerAddr, Principal, Routes, audit};
use join_tokens::Event;
use pool_registry_types::{CertificateRequest, ErrorCode, JoinRequest, NodeId, limits::Limit};

use crate::{
    api::JoinApi,
    errors::{internal, refused},
    view::{
        CertificateAnswer, CreatedJoinTokenAnswer, JoinTokenAnswer, JoinTokensAnswer,
        NewJoinTokenRequest, RevokedAnswer,
    },
};

/// The length of an id, which is a part of a digest.
const TOKEN_ID_DIGITS: usize = 12;

/// The path that is open to machines without a credential: the join token is in the body.
pub const JOIN_PATH: &str = "/v2/join";

/// The largest body of a request. A signing request, a token and an address fit into a fraction of
/// it.
pub const MAX_JOIN_BODY_BYTES: usize = 64 * 1024;

/// All limits.
pub const LIMITS: &[Limit] =
    &[
        Limit::new("MAX_JOIN_BODY_BYTES", MAX_JOIN_BODY_BYTES as u64, "bytes")
            .because("A signing request, a token and an address fit into a fraction of it.")
            .enforced_by("POST /v2/join, POST /v2/nodes/{node_id}/certificate")
            .beyond("413 PAYLOAD_TOO_LARGE"),
    ];

impl JoinApi {
    /// The routes. [`JOIN_PATH`] has to be open.
    #[must_use]
    pub fn routes(self) -> Routes {
        Routes::new()
            .post(JOIN_PATH, Access::Open, join)
            .post("/v2/join-tokens", Access::OPERATOR, create)
            .get("/v2/join-tokens", Access::OPERATOR, list)
            .delete("/v2/join-tokens/{token_id}", Access::OPERATOR, revoke)
            .post("/v2/nodes/{node_id}/certificate", Access::NODE, renew)
            .delete(
                "/v2/nodes/{node_id}/certificate",
                Access::OPERATOR,
                revoke_node,
            )
            .with_state(self)
    }
}

/// The caller of a change, for the audit log.
type Caller = (Extension<Principal>, Option<Extension<PeerAddr>>);

/// Rejects nodes in the HOME profile, before the rest of the request matters.
struct NodesMayJoin;

impl FromRequestParts<JoinApi> for NodesMayJoin {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, api: &JoinApi) -> Result<Self, ApiError> {
        if api.inner().config.takes_nodes {
            return Ok(Self);
        }
        Err(ApiError::new(
            ErrorCode::CloudProfileDisabled,
            "this control plane runs in the HOME profile, in which no other node can join; start \
             it with ORCHESTRATORD_CLOUD_PROFILE=true",
        ))
    }
}

/// Joins with a join token: the answer has the credential of the node.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/join", tag = "joining", security(()), request_body = JoinRequest,
    responses((status = 200, description = "The credential of the node.",
        body = pool_registry_types::JoinResponse),
        (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN"),
        (status = 409, description = "KEY_CONFLICT"),
        (status = 503, description = "CLOUD_PROFILE_DISABLED"))
))]
async fn join(
    _: NodesMayJoin,
    State(api): State<JoinApi>,
    peer: Option<Extension<PeerAddr>>,
    ApiJson(request): ApiJson<JoinRequest, MAX_JOIN_BODY_BYTES>,
) -> Result<Response, ApiError> {
    let what = format!("join as node {}", request.node_id);
    let who = match request.token.reveal().parse::<AccessToken>() {
        Ok(token) => format!("join token {}", token.digest().short()),
        Err(_) => "no join token".to_owned(),
    };
    let result = api.join(request).await;
    note(&who, peer, &what, result.as_ref().map(drop));
    Ok(not_cached(Json(result?)))
}

/// Creates a join token. The answer has it, and no other answer does.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/join-tokens", tag = "joining", request_body = Option<NewJoinTokenRequest>,
    responses((status = 200, description = "It is valid.", body = CreatedJoinTokenAnswer),
        (status = 409, description = "KEY_CONFLICT"))
))]
async fn create(
    State(api): State<JoinApi>,
    Extension(subject): Extension<audit::Subject>,
    request: Option<ApiJson<NewJoinTokenRequest>>,
) -> Result<Response, ApiError> {
    let token = AccessToken::generate().map_err(|_| internal())?;
    let request = request.map(|ApiJson(request)| request).unwrap_or_default();
    subject.say(|| format!("create join token {}", token.digest().short()));
    let event = Event::Create {
        digest: token.digest(),
        request: request.into(),
    };
    let changed = api.change(event).await.map_err(|error| refused(&error));
    let join_token = changed?.ok_or_else(internal)?;
    let ca = &api.inner().config.ca;
    let fingerprint = ca.as_ref().map(|ca| ca.fingerprint().to_string());
    let url = api.inner().config.url.clone();
    let now = SystemTime::now();
    let answer = CreatedJoinTokenAnswer::new(&join_token, token, fingerprint, url, now);
    Ok(not_cached(Json(answer)))
}

/// All join tokens, those included that have ended in the last 30 days.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/join-tokens", tag = "joining",
    responses((status = 200, description = "Sorted by id.", body = JoinTokensAnswer))
))]
async fn list(State(api): State<JoinApi>) -> Json<JoinTokensAnswer> {
    let now = SystemTime::now();
    let tokens = api.tokens().await;
    Json(JoinTokensAnswer {
        join_tokens: tokens
            .iter()
            .map(|token| JoinTokenAnswer::new(token, now))
            .collect(),
    })
}

/// Revokes a join token. Nodes that have joined with it stay.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete, path = "/v2/join-tokens/{token_id}", tag = "joining",
    params(("token_id" = String, Path, description = "The join token.")),
    responses((status = 200, description = "It is refused from now on.", body = JoinTokenAnswer),
        (status = 404, description = "NOT_FOUND"))
))]
async fn revoke(
    State(api): State<JoinApi>,
    ApiPath(token_id): ApiPath<String>,
    Extension(subject): Extension<audit::Subject>,
) -> Result<Json<JoinTokenAnswer>, ApiError> {
    let token_id = known_form(&token_id)?;
    subject.say(|| format!("revoke join token {token_id}"));
    let event = Event::Revoke { token_id };
    let changed = api.change(event).await.map_err(|error| refused(&error));
    let token = changed?.ok_or_else(internal)?;
    Ok(Json(JoinTokenAnswer::new(&token, SystemTime::now())))
}

/// Renews the certificate of the node that presents the present one.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/nodes/{node_id}/certificate", tag = "joining",
    params(("node_id" = NodeId, Path, description = "The node.")),
    request_body = CertificateRequest,
    responses((status = 200, description = "The next certificate.", body = CertificateAnswer),
        (status = 404, description = "NOT_FOUND"))
))]
async fn renew(
    State(api): State<JoinApi>,
    ApiPath(node_id): ApiPath<NodeId>,
    (Extension(who), peer): Caller,
    ApiJson(request): ApiJson<CertificateRequest, MAX_JOIN_BODY_BYTES>,
) -> Result<Json<CertificateAnswer>, ApiError> {
    // The route has checked the node. Another credential has no hosts that could be taken over.
    let Principal::Certificate(holder) = &who else {
        return Err(ApiError::new(
            ErrorCode::Forbidden,
            "a certificate is renewed by the node that presents it; without one, join again",
        ));
    };
    let result = api.renew(holder, request.csr).await;
    let what = format!("renew the certificate of node {node_id}");
    note(&who, peer, &what, result.as_ref().map(drop));
    result.map(|certificate| Json(CertificateAnswer { certificate }))
}

/// Revokes the certificates and keys of a node. It may join again.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete, path = "/v2/nodes/{node_id}/certificate", tag = "joining",
    params(("node_id" = NodeId, Path, description = "The node.")),
    responses((status = 200, description = "It is refused from now on.", body = RevokedAnswer))
))]
async fn revoke_node(
    State(api): State<JoinApi>,
    ApiPath(node_id): ApiPath<NodeId>,
    Extension(subject): Extension<audit::Subject>,
) -> Result<Json<RevokedAnswer>, ApiError> {
    subject.say(|| format!("revoke node {node_id}"));
    let node = node_id.clone();
    let changed = api.change(Event::RevokeNode { node }).await;
    changed.map_err(|error| refused(&error))?;
    api.inner().keys.revoke_node_keys(&node_id).await?;
    Ok(Json(RevokedAnswer {
        node_id,
        revoked: true,
    }))
}

/// An id that a token may have.
fn known_form(token_id: &str) -> Result<Arc<str>, ApiError> {
    let is_id =
        token_id.len() == TOKEN_ID_DIGITS && token_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        return Ok(token_id.into());
    }
    Err(ApiError::new(
        ErrorCode::NotFound,
        "there is no such join token: an id has 12 hexadecimal digits, and GET /v2/join-tokens \
         lists them",
    ))
}

fn note(
    who: &dyn Display,
    peer: Option<Extension<PeerAddr>>,
    what: &str,
    result: Result<(), &ApiError>,
) {
    let peer = peer.map(|Extension(peer)| peer.0.ip());
    audit::machine_changed(who, peer, what, result);
}

/// No cache keeps a credential.
fn not_cached(answer: impl axum::response::IntoResponse) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    ([(CACHE_CONTROL, no_store)], answer).into_response()
}

#[cfg(feature = "openapi")]
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    use utoipa::OpenApi as _;

    #[derive(utoipa::OpenApi)]
    #[openapi(paths(join, create, list, revoke, renew, revoke_node))]
    struct Joining;
    Joining::openapi()
}
