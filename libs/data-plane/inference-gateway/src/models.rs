//! `GET /v1/models` and `GET /v1/models/{id}`.

use admission::{Admission, ModelSummary};
use bearer_auth::Identity;
use http::{Response, StatusCode};
use serde::Serialize;

use crate::{
    aliases::Aliases, body::GatewayBody, error::GatewayError, error_response::json,
    key_use::check_model,
};

/// The owner of a model whose engines name none, or several.
const OWNER: &str = "llorch";

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct ModelList<'a> {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct Model<'a> {
    id: &'a str,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    object: &'static str,
    created: u64,
    /// As its engines say, if they agree.
    owned_by: &'a str,
    /// The most tokens of one request, of the endpoint with the largest context. Absent: no engine
    /// reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_model_len: Option<u32>,
    /// The same where clients of llama.cpp look for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct Meta {
    n_ctx: u32,
}

impl<'a> Model<'a> {
    fn new(id: &'a str, created: u64, of: &'a ModelSummary) -> Self {
        Self {
            id,
            object: "model",
            created,
            owned_by: of.owned_by.as_deref().unwrap_or(OWNER),
            max_model_len: of.context_length,
            meta: of.context_length.map(|n_ctx| Meta { n_ctx }),
        }
    }
}

/// The models that a node can serve now, and their aliases. `created` is a time in seconds since
/// 1970 that OpenAI's format requires.
pub(crate) fn list(
    admission: &Admission,
    aliases: &Aliases,
    key: Option<&Identity>,
    created: u64,
) -> Response<GatewayBody> {
    let known = served(admission);
    let data = named(&known, aliases, key)
        .into_iter()
        .map(|(id, model)| Model::new(id, created, model))
        .collect();
    json(
        StatusCode::OK,
        &ModelList {
            object: "list",
            data,
        },
    )
}

/// The names of the models that a node can serve now and the client may use, and of their aliases,
/// in order.
pub(crate) fn names(
    admission: &Admission,
    aliases: &Aliases,
    key: Option<&Identity>,
) -> Vec<String> {
    let known = served(admission);
    let names = named(&known, aliases, key).into_iter();
    names.map(|(name, _)| name.to_owned()).collect()
}

/// The models that a node can serve now, in order.
fn served(admission: &Admission) -> Vec<ModelSummary> {
    let mut known = admission.models();
    known.retain(|model| model.endpoints_ready > 0);
    known.sort_unstable_by(|a, b| a.model.cmp(&b.model));
    known
}

/// Each name that a client may use, with its model, in order. `known` is in order.
fn named<'a>(
    known: &'a [ModelSummary],
    aliases: &'a Aliases,
    key: Option<&Identity>,
) -> Vec<(&'a str, &'a ModelSummary)> {
    let find = |name: &str| {
        let place = known.binary_search_by(|model| model.model.as_str().cmp(name));
        place.ok().and_then(|place| known.get(place))
    };
    // An alias hides the model of the same name.
    let models = known
        .iter()
        .filter(|model| aliases.target(&model.model).is_none())
        .map(|model| (model.model.as_str(), model));
    let aliased = aliases
        .iter()
        .filter_map(|(alias, model)| Some((alias, find(model)?)));
    let is_allowed = |(name, model): &(&str, &ModelSummary)| {
        key.is_none_or(|key| check_model(key, &model.model, Some(name)).is_ok())
    };
    let mut named: Vec<_> = models.chain(aliased).filter(is_allowed).collect();
    named.sort_unstable_by_key(|(name, _)| *name);
    named
}

/// One model.
pub(crate) fn one(
    admission: &Admission,
    aliases: &Aliases,
    key: Option<&Identity>,
    id: &str,
    created: u64,
) -> Result<Response<GatewayBody>, GatewayError> {
    let model = aliases.target(id).unwrap_or(id);
    if let Some(key) = key {
        check_model(key, model, Some(id))?;
    }
    match admission.model(model) {
        Some(model) => Ok(json(StatusCode::OK, &Model::new(id, created, &model))),
        None => Err(GatewayError::unknown_model(id, "")),
    }
}
