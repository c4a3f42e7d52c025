//! Routes whose requests go to an engine unchanged. Engines define them, so only the model in the
//! body and the content type of the response are described.

use utoipa::openapi::{
    HttpMethod, KnownFormat, ObjectBuilder, OneOfBuilder, PathItem, Ref, RefOr, Required, Schema,
    SchemaFormat,
    path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn},
    request_body::RequestBody,
    schema::Type,
};

use super::parts::{
    answer, anything, body, model_name, open_object, stream, string, with_errors, with_options,
};
use crate::{
    dialect::Dialect,
    route::{EngineMethod, RESPONSE, ROUTES, Route, STORED_RESPONSE_ENDS},
    stored_responses::MAX_RESPONSE_ID_BYTES,
};

/// Each path with its description.
pub(super) fn engine_routes() -> impl Iterator<Item = (String, PathItem)> {
    let listed = ROUTES.into_iter().map(|route| {
        let method = match route.method {
            EngineMethod::Post => HttpMethod::Post,
            EngineMethod::Get => HttpMethod::Get,
        };
        let item = PathItem::new(method, forwarded(route));
        (route.path.to_owned(), item)
    });
    let stored = STORED_RESPONSE_ENDS.into_iter().map(|(end, allowed)| {
        let mut item = PathItem::default();
        for method in allowed.split(", ") {
            match method {
                "GET" => item.get = Some(stored_response(end, method)),
                "DELETE" => item.delete = Some(stored_response(end, method)),
                _ => item.post = Some(stored_response(end, method)),
            }
        }
        (format!("{RESPONSE}{{response_id}}{end}"), item)
    });
    listed.chain(stored)
}

/// A request for `route`.
fn forwarded(route: Route) -> Operation {
    let Route {
        path,
        dialect,
        method,
    } = route;
    let operation = OperationBuilder::new()
        .summary(Some(summary(path)))
        .description(Some(
            "Forwarded byte for byte to an engine that serves the model; see the engine's own \
             reference for all fields but `model`.",
        ))
        .tag("inference")
        .request_body((method == EngineMethod::Post).then(|| request(path)));
    to_engine(operation, dialect)
}

/// A request for a response that an engine has stored.
fn stored_response(end: &str, method: &str) -> Operation {
    let summary = match (end, method) {
        ("/cancel", _) => "Cancel a response that is made in the background (OpenAI).",
        ("/input_items", _) => "The input of a stored response (OpenAI).",
        (_, "DELETE") => "Delete a stored response (OpenAI).",
        _ => "A stored response (OpenAI).",
    };
    let id = string()
        .pattern(Some("^[A-Za-z0-9_-]+$"))
        .min_length(Some(1))
        .max_length(Some(MAX_RESPONSE_ID_BYTES));
    let id = ParameterBuilder::new()
        .name("response_id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The `id` in the answer of `POST /v1/responses`."))
        .schema(Some(id));
    let operation = OperationBuilder::new()
        .summary(Some(summary))
        .description(Some(
            "Forwarded to the engine that made the response. 404 `NOT_FOUND` when this server does \
             not know it, or no longer, or the engine is gone.",
        ))
        .tag("inference")
        .parameter(id.build());
    to_engine(operation, Dialect::Responses)
}

fn to_engine(operation: OperationBuilder, dialect: Dialect) -> Operation {
    let response = |description| answer(description, types(dialect));
    let operation = operation
        .response("200", response("The engine's response."))
        .response("default", response("The engine's own error, passed on."));
    with_errors(with_options(operation)).build()
}

/// What engines answer with.
fn types(dialect: Dialect) -> Vec<(&'static str, RefOr<Schema>)> {
    let mut types = vec![("application/json", anything().into())];
    if dialect != Dialect::Plain {
        let stream = Ref::from_schema_name("EventStream");
        types.push(("text/event-stream", stream.into()));
    }
    types
}

fn summary(path: &str) -> &'static str {
    match path {
        "/v1/chat/completions" => "The next message of a chat (OpenAI).",
        "/v1/completions" => "The continuation of a text (OpenAI).",
        "/v1/embeddings" => "Embeddings of texts (OpenAI).",
        "/v1/responses" => "A response (OpenAI).",
        "/v1/messages" => "The next message of a chat (Anthropic).",
        "/v1/messages/count_tokens" => "How many tokens a chat has (Anthropic).",
        "/v1/rerank" | "/rerank" => "Documents in the order of their relevance.",
        "/v1/score" | "/score" => "How similar texts are (vLLM).",
        "/v1/audio/transcriptions" => "The text of a recording (OpenAI).",
        "/tokenize" => "A text as tokens.",
        "/detokenize" => "Tokens as a text.",
        "/apply-template" => "A chat as a prompt (llama.cpp).",
        "/completion" => "The continuation of a text (llama.cpp).",
        "/infill" => "The text between two others (llama.cpp).",
        "/embedding" => "Embeddings of texts (llama.cpp).",
        "/props" => "The properties of an engine (llama.cpp).",
        "/classify" => "The classes of texts (vLLM).",
        "/pooling" => "The pooled output of a model (vLLM).",
        _ => "Anything else.",
    }
}

/// JSON, or a form where it holds a file. Only the fields that routing needs are described.
fn request(path: &str) -> RequestBody {
    if path == "/v1/audio/transcriptions" {
        let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
        let form = open_object()
            .property("model", model_name())
            .property("file", string().format(Some(binary)))
            .required("file");
        return body("multipart/form-data", form);
    }
    let model = OneOfBuilder::new()
        .item(model_name())
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .description(Some("Optional when there is exactly one model."));
    let stream = stream("The response arrives in pieces, as server-sent events.");
    let json = open_object()
        .property("model", model)
        .property("stream", stream);
    body("application/json", json)
}
