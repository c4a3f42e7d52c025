//! `POST /v2/placement/explain`: where a request would go, and why not elsewhere. Sends nothing.

use std::sync::Arc;

use admission::{Admission, ContextNeed, RoutingPreference};
use axum::{Extension, Json, extract::State};
use http_server::{Access, ApiError, ApiJson, Principal, Routes, Scope};
use placement::{Affinity, PlacementError, SkipReason, Strategy, prompt_blocks, session_key};
use pool_registry_types::{NodeId, PoolId, ReplicaId};
use serde::{Deserialize, Serialize};

#[cfg(feature = "openapi")]
use crate::strategy_schema::StrategyName;
use crate::{aliases::Aliases, config::GatewayConfig, key_use::check_model};

/// A request to explain.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainRequest {
    /// The model.
    pub model: String,
    /// The strategy; the configured one when absent.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<StrategyName>))]
    pub strategy: Option<String>,
    /// As the header `X-Session-Id`.
    #[serde(default)]
    pub session_id: Option<String>,
    /// As the header `X-Llorch-Pin-Node`.
    #[serde(default)]
    pub pin_node: Option<NodeId>,
    /// The prompt, for the strategy `prefix`.
    #[serde(default)]
    pub prompt: Option<String>,
}

/// Where the request would go.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainAnswer {
    /// The strategy that was applied.
    #[cfg_attr(feature = "openapi", schema(value_type = StrategyName))]
    pub strategy: &'static str,
    /// Why it would wait or fail; absent when it would be served at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_place: Option<String>,
    /// Requests that already wait for the model.
    pub waiting: usize,
    /// All endpoints that may serve the model.
    pub candidates: Vec<CandidateAnswer>,
}

/// One endpoint.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CandidateAnswer {
    /// Its node.
    pub node_id: NodeId,
    /// Its pool.
    pub pool_id: PoolId,
    /// Its replica; absent when the endpoint is a whole pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_id: Option<ReplicaId>,
    /// Whether it would be chosen.
    pub chosen: bool,
    /// Why it would not be considered; absent when it would.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub skipped: Option<&'static str>,
    /// Its score by the strategy, compared part by part. The lowest score is chosen; of equal ones,
    /// the first.
    pub score: [u32; 2],
    /// The score in words, with its parts in order of weight.
    pub score_in_words: String,
    /// Slots in use.
    pub slots_used: u32,
    /// All slots.
    pub slots_total: u32,
    /// Free memory of its devices in bytes; 0 when unknown.
    pub vram_free_bytes: u64,
}

#[derive(Clone)]
struct Explainer {
    admission: Admission,
    strategy: Strategy,
    aliases: Arc<Aliases>,
}

/// The route. The gateway's settings are the defaults of a question.
pub fn explain_routes(admission: Admission, config: &GatewayConfig) -> Routes {
    let explainer = Explainer {
        admission,
        strategy: config.strategy,
        aliases: Arc::new(config.aliases.clone()),
    };
    Routes::new()
        .post(
            "/v2/placement/explain",
            Access::CLIENT.or(Scope::Observer),
            explain,
        )
        .with_state(explainer)
}

/// Where a request would go, and why not elsewhere. Sends nothing.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/placement/explain", tag = "capacity", request_body = ExplainRequest,
    responses((status = 200, description = "Where the request would go.", body = ExplainAnswer))
))]
async fn explain(
    State(explainer): State<Explainer>,
    Extension(principal): Extension<Principal>,
    ApiJson(request): ApiJson<ExplainRequest>,
) -> Result<Json<ExplainAnswer>, ApiError> {
    let strategy = match &request.strategy {
        Some(name) => name
            .parse()
            .map_err(|error| ApiError::invalid(format!("strategy: {error}")))?,
        None => explainer.strategy,
    };
    let model = explainer
        .aliases
        .target(&request.model)
        .unwrap_or(&request.model);
    if let Some(key) = principal.identity() {
        check_model(key, model, Some(&request.model))
            .map_err(|error| ApiError::new(error.code, error.message))?;
    }
    let affinity = Affinity {
        session: request.session_id.as_deref().map(session_key),
        blocks: request
            .prompt
            .map_or_else(Vec::new, |prompt| prompt_blocks(model, prompt.as_bytes())),
    };
    let by_session = affinity.session.is_some();
    let preference = Arc::new(RoutingPreference {
        strategy,
        pin: request.pin_node,
        affinity,
        context: ContextNeed::default(),
    });
    let explained = explainer.admission.explain(model, &preference);
    let candidates = explained
        .candidates
        .into_iter()
        .map(|candidate| CandidateAnswer {
            node_id: candidate.key.node,
            pool_id: candidate.key.pool,
            replica_id: candidate.key.replica,
            chosen: candidate.chosen,
            skipped: candidate.skip.map(SkipReason::as_str),
            score: candidate.rank.parts(),
            score_in_words: candidate.rank.describe(strategy, by_session),
            slots_used: candidate.slots_used,
            slots_total: candidate.slots_total,
            vram_free_bytes: candidate.vram_free_bytes,
        });
    Ok(Json(ExplainAnswer {
        strategy: strategy.as_str(),
        no_place: explained.error.as_ref().map(PlacementError::to_string),
        waiting: explained.waiting,
        candidates: candidates.collect(),
    }))
}

#[cfg(test)]
mod tests {
    use admission::AdmissionConfig;
    use bearer_auth::{Identity, KeyLimits, UncheckedKeyLimits};

    use super::*;

    // spec: KEY-6
    #[tokio::test]
    async fn a_key_is_told_of_its_models_only() {
        let limits = UncheckedKeyLimits {
            models: Some(vec!["tiny".parse().unwrap(), "quick".parse().unwrap()]),
            ..UncheckedKeyLimits::default()
        };
        let key = Principal::Key(Arc::new(Identity {
            id: "k1".into(),
            name: "shop".into(),
            scopes: Scope::Client.into(),
            node: None,
            expires_at: None,
            limits: KeyLimits::try_from(limits).unwrap(),
        }));
        let aliases = "[aliases]\nfast = \"tiny\"\nquick = \"large\"\nother = \"large\"\n";
        let explainer = Explainer {
            admission: Admission::new(AdmissionConfig::default()),
            strategy: Strategy::default(),
            aliases: Arc::new(Aliases::parse(aliases).unwrap()),
        };
        for (model, is_allowed) in [
            ("tiny", true),
            ("fast", true),
            ("quick", true),
            ("large", false),
            ("other", false),
            ("none", false),
        ] {
            for caller in [key.clone(), Principal::ApiToken] {
                let is_allowed = is_allowed || caller == Principal::ApiToken;
                let request: ExplainRequest =
                    serde_json::from_value(serde_json::json!({"model": model})).unwrap();
                let state = State(explainer.clone());
                let answer = explain(state, Extension(caller), ApiJson(request)).await;
                let error = answer.err().map(|error| error.code.status());
                assert_eq!(error, (!is_allowed).then_some(403), "{model}");
            }
        }
    }
}
