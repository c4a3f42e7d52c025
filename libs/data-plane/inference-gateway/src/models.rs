//! `GET /v1/models` and `GET /v1/models/{id}`.

use admission::Admission;
use http::{Response, StatusCode};
use serde::Serialize;

use crate::{aliases::Aliases, body::GatewayBody, error::GatewayError, error_response::json};

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
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    owned_by: &'static str,
}

impl<'a> Model<'a> {
    fn new(id: &'a str, created: u64) -> Self {
        Self {
            id,
            object: "model",
            created,
            owned_by: "llorch",
        }
    }
}

/// The models that a node can serve now, and their aliases. `created` is a time in seconds since
/// 1970 that OpenAI's format requires.
pub(crate) fn list(
    admission: &Admission,
    aliases: &Aliases,
    created: u64,
) -> Response<GatewayBody> {
    let names = names(admission, aliases);
    let data = names.iter().map(|id| Model::new(id, created)).collect();
    json(
        StatusCode::OK,
        &ModelList {
            object: "list",
            data,
        },
    )
}

/// The names of all models that a node can serve now, and of their aliases, in order.
pub(crate) fn names(admission: &Admission, aliases: &Aliases) -> Vec<String> {
    let known = admission.models();
    let models = known.iter().filter(|model| model.endpoints_ready > 0);
    // An alias hides the model of the same name.
    let models = models
        .map(|summary| summary.model.as_str())
        .filter(|model| aliases.target(model).is_none());
    let aliased = aliases.iter().filter(|(_, model)| admission.serves(model));
    let mut names: Vec<String> = models
        .chain(aliased.map(|(alias, _)| alias))
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names
}

/// One model.
pub(crate) fn one(
    admission: &Admission,
    aliases: &Aliases,
    id: &str,
    created: u64,
) -> Result<Response<GatewayBody>, GatewayError> {
    if admission.serves(aliases.target(id).unwrap_or(id)) {
        return Ok(json(StatusCode::OK, &Model::new(id, created)));
    }
    Err(GatewayError::unknown_model(id, ""))
}
