//! The routes of Ollama's API, which the gateway answers or translates.

use ollama_api::Kind;
use pool_registry_types::ErrorCode;
use utoipa::openapi::{
    ArrayBuilder, ContentBuilder, HttpMethod, ObjectBuilder, PathItem, Ref, RefOr, Response,
    ResponseBuilder, Schema,
    path::{Operation, OperationBuilder},
    request_body::RequestBody,
    schema::{SchemaType, Type},
};

use super::parts::{
    answer, anything, body, model_name, open_object, stream, string, with_errors, with_options,
};
use crate::route::{EngineMethod, OLLAMA_ROUTES, OllamaRoute};

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

/// Each path with its description.
pub(super) fn ollama_routes() -> impl Iterator<Item = (String, PathItem)> {
    OLLAMA_ROUTES.into_iter().map(|(path, route)| {
        let method = match route.method() {
            EngineMethod::Post => HttpMethod::Post,
            EngineMethod::Get => HttpMethod::Get,
        };
        (path.to_owned(), PathItem::new(method, operation(route)))
    })
}

fn operation(route: OllamaRoute) -> Operation {
    let about = |summary: &str, schema: ObjectBuilder| {
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let known = ResponseBuilder::new().description("What is known.");
        OperationBuilder::new()
            .summary(Some(summary))
            .tag("inference")
            .response("200", known.content(JSON, content).build())
    };
    match route {
        OllamaRoute::Version => {
            let version = open_object()
                .property("version", string())
                .required("version");
            about(
                "The version of the API that is translated (Ollama).",
                version,
            )
            .build()
        }
        OllamaRoute::Tags => about("All models (Ollama).", models()).build(),
        OllamaRoute::Running => about("Models that are loaded: all (Ollama).", models()).build(),
        OllamaRoute::Show => {
            let capabilities = ArrayBuilder::new().items(string());
            let shown = open_object()
                .property("capabilities", capabilities)
                .required("capabilities");
            about("One model (Ollama).", shown)
                .request_body(Some(body(JSON, of_model())))
                .response("404", Response::new(ErrorCode::ModelNotAvailable.as_str()))
                .build()
        }
        OllamaRoute::Inference(kind) => inference(kind),
    }
}

/// The list of models in an answer.
fn models() -> ObjectBuilder {
    let model = open_object()
        .property("name", string())
        .required("name")
        .property("model", string())
        .required("model");
    let models = ArrayBuilder::new().items(model);
    open_object().property("models", models).required("models")
}

/// A request that names its model.
fn of_model() -> ObjectBuilder {
    open_object()
        .property("model", model_name())
        .required("model")
}

fn inference(kind: Kind) -> Operation {
    let (summary, request, types) = match kind {
        Kind::Chat => (
            "The next message of a chat (Ollama).",
            streamed(of_model().property("messages", messages())),
            vec![(JSON, anything().into()), (LINES, lines())],
        ),
        Kind::Generate | Kind::Raw => (
            "The continuation of a text (Ollama).",
            streamed(of_model().property("prompt", or_null(Type::String))),
            vec![(JSON, anything().into()), (LINES, lines())],
        ),
        Kind::Embed => (
            "Embeddings of texts (Ollama).",
            body(JSON, of_model().property("input", anything())),
            vec![(JSON, anything().into())],
        ),
        Kind::Embeddings => (
            "The embedding of one text (Ollama).",
            body(JSON, of_model().property("prompt", or_null(Type::String))),
            vec![(JSON, anything().into())],
        ),
    };
    let error = Ref::from_schema_name("OllamaError").into();
    let operation = OperationBuilder::new()
        .summary(Some(summary))
        .description(Some(
            "Translated to OpenAI's API, so any engine serves it. A name that ends with `:latest` \
             also means the model without it. See Ollama's reference for the other fields; \
             `template` and `suffix` are refused.",
        ))
        .tag("inference")
        .request_body(Some(request))
        .response("200", answer("The engine's answer, translated.", types))
        .response(
            "default",
            answer("The engine's own error, translated.", [(JSON, error)]),
        );
    with_errors(with_options(operation)).build()
}

/// The body of a request whose answer is a stream unless it says otherwise.
fn streamed(request: ObjectBuilder) -> RequestBody {
    let stream = stream("Whether the answer arrives line by line; true unless it is set.");
    let request = request
        .property("stream", stream)
        .property("options", or_null(Type::Object));
    body(JSON, request)
}

fn messages() -> ArrayBuilder {
    let message = open_object()
        .property("role", string())
        .required("role")
        .property("content", or_null(Type::String));
    ArrayBuilder::new().items(message)
}

fn or_null(of: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([of, Type::Null]))
}

fn lines() -> RefOr<Schema> {
    let lines = anything().description(Some("One JSON object on each line."));
    lines.into()
}
