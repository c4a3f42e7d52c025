//! `GET /v1/models` and `GET /v1/models/{id}`: what can be asked for.

use http::{Response, StatusCode};
use pool_registry_types::ErrorCode;
use routing_table::{Availability, RoutingTable};
use serde::Serialize;

use crate::{
    answer::GatewayBody,
    reply::{Fault, json},
};

#[derive(Serialize)]
struct ModelList<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
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

fn is_ready(table: &RoutingTable, model: &str) -> bool {
    let endpoints = table
        .candidates(model)
        .iter()
        .filter_map(|&index| table.endpoints().get(index as usize));
    endpoints
        .into_iter()
        .any(|endpoint| endpoint.availability == Availability::Ready)
}

/// The models that somebody can serve now. `created` is a time in seconds since 1970 that OpenAI's shape asks for.
pub(crate) fn list(table: &RoutingTable, created: u64) -> Response<GatewayBody> {
    let mut names: Vec<&str> = table.models().filter(|model| is_ready(table, model)).collect();
    names.sort_unstable();
    let data = names.into_iter().map(|id| Model::new(id, created)).collect();
    json(StatusCode::OK, &ModelList { object: "list", data })
}

/// One of them.
pub(crate) fn one(table: &RoutingTable, id: &str, created: u64) -> Result<Response<GatewayBody>, Fault> {
    match table.models().find(|model| *model == id) {
        Some(id) if is_ready(table, id) => Ok(json(StatusCode::OK, &Model::new(id, created))),
        _ => {
            let message = format!("no node serves the model {id:?}; GET /v1/models lists those there are");
            Err(Fault {
                param: Some("model"),
                ..Fault::new(ErrorCode::ModelNotAvailable, message)
            })
        }
    }
}
