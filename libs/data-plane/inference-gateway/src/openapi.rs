//! The OpenAPI description of the gateway's routes. Engines define the requests that go to them, so
//! only the model in the body and the content type of the response are described.
#![expect(
    dead_code,
    reason = "these functions carry the description of routes without a handler"
)]

use pool_registry_types::{
    ErrorCode, ModelName,
    headers::{ATTEMPTS, NODE, POOL, QUEUE_MS, REPLICA},
    schema::EventStream,
};
use utoipa::{
    OpenApi as _, PartialSchema as _,
    openapi::{
        ContentBuilder, HeaderBuilder, HttpMethod, ObjectBuilder, OneOfBuilder, OpenApi, PathItem,
        Ref, RefOr, Required, Response, ResponseBuilder, Schema,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::{RequestBody, RequestBodyBuilder},
        schema::{AdditionalProperties, SchemaType, Type},
    },
};

use crate::{
    dialect::Dialect,
    explain,
    models::{Model, ModelList},
    options::{DEADLINE, MAX_DEADLINE_MS, PIN_NODE, PRIORITY, SESSION, STRATEGY},
    route::{EngineMethod, ROUTES, Route},
    strategy_schema::StrategyName,
};

/// The descriptions of everything the gateway serves, and of
/// [`explain_routes`](crate::explain_routes).
#[must_use]
pub fn openapi() -> OpenApi {
    let mut document = Described::openapi();
    for route in ROUTES {
        let item = match route.method {
            EngineMethod::Post => PathItem::new(HttpMethod::Post, forwarded(route)),
            EngineMethod::Get => PathItem::new(HttpMethod::Get, forwarded(route)),
        };
        document.paths.paths.insert(route.path.to_owned(), item);
    }
    document
}

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(models, model, explain::explain),
    components(schemas(EventStream, ModelName, StrategyName))
)]
struct Described;

/// The models that a node can serve now, and their aliases.
#[utoipa::path(get, path = "/v1/models", tag = "inference",
    responses((status = 200, description = "By name.", body = ModelList<'static>)))]
fn models() {}

/// One model.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "inference",
    params(
        ("model" = String, Path, description = "Its name; a `/` in it may be written as it is.")
    ),
    responses((status = 200, description = "A node serves it.", body = Model<'static>),
        (status = 404, description = "MODEL_NOT_AVAILABLE")))]
fn model() {}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// A request for `path` that goes to an engine.
fn forwarded(route: Route) -> Operation {
    let Route {
        path,
        dialect,
        method,
    } = route;
    let codes = [
        ErrorCode::ModelNotAvailable,
        ErrorCode::QueueFull,
        ErrorCode::WorkerReset,
        ErrorCode::PoolBusy,
        ErrorCode::PoolDraining,
        ErrorCode::PoolUnavailable,
        ErrorCode::NodeUnavailable,
        ErrorCode::DeadlineExceeded,
    ];
    let mut operation = OperationBuilder::new()
        .summary(Some(summary(path)))
        .description(Some(
            "Forwarded byte for byte to an engine that serves the model; see the engine's own \
             reference for all fields but `model`.",
        ))
        .tag("inference")
        .request_body((method == EngineMethod::Post).then(|| body(path)))
        .response("200", answer("The engine's response.", dialect))
        .response(
            "default",
            answer("The engine's own error, passed on.", dialect),
        );
    for parameter in parameters() {
        operation = operation.parameter(parameter);
    }
    let statuses: std::collections::BTreeSet<u16> =
        codes.iter().map(|code| code.status()).collect();
    for status in statuses {
        let of_status = codes.iter().filter(|code| code.status() == status);
        let names: Vec<&str> = of_status.map(|code| code.as_str()).collect();
        operation = operation.response(status.to_string(), Response::new(names.join(", ")));
    }
    operation.build()
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
fn body(path: &str) -> RequestBody {
    let open =
        || ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(true)));
    let model = || {
        OneOfBuilder::new()
            .item(Ref::from_schema_name("ModelName"))
            .item(ObjectBuilder::new().schema_type(Type::Null))
            .description(Some("Optional when there is exactly one model."))
    };
    let body = RequestBodyBuilder::new().required(Some(Required::True));
    if path == "/v1/audio/transcriptions" {
        let file = string().format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
            utoipa::openapi::KnownFormat::Binary,
        )));
        let form = open()
            .property("model", Ref::from_schema_name("ModelName"))
            .property("file", file)
            .required("file");
        return body
            .content(
                "multipart/form-data",
                ContentBuilder::new().schema(Some(form.build())).build(),
            )
            .build();
    }
    let or_null = SchemaType::from_iter([Type::Boolean, Type::Null]);
    let stream = ObjectBuilder::new().schema_type(or_null).description(Some(
        "The response arrives in pieces, as server-sent events.",
    ));
    let json = open().property("model", model()).property("stream", stream);
    body.content(
        "application/json",
        ContentBuilder::new().schema(Some(json.build())).build(),
    )
    .build()
}

fn answer(description: &str, dialect: Dialect) -> Response {
    let anything = || {
        ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .build()
    };
    let mut response = ResponseBuilder::new().description(description).content(
        "application/json",
        ContentBuilder::new().schema(Some(anything())).build(),
    );
    if dialect != Dialect::Plain {
        response = response.content(
            "text/event-stream",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("EventStream")))
                .build(),
        );
    }
    for (name, description) in [
        (NODE, "The node that served the request."),
        (POOL, "Its pool."),
        (REPLICA, "Its engine."),
        (ATTEMPTS, "How many endpoints got the request."),
        (QUEUE_MS, "How long the request waited, in milliseconds."),
    ] {
        let header = HeaderBuilder::new()
            .description(Some(description))
            .schema(string().build());
        response = response.header(name.as_str(), header.build());
    }
    response.build()
}

fn parameters() -> [Parameter; 5] {
    let header = |name: &http::HeaderName, description: &str, schema: RefOr<Schema>| {
        ParameterBuilder::new()
            .name(name.as_str())
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(schema))
            .build()
    };
    let above_zero = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(MAX_DEADLINE_MS));
    [
        header(
            &DEADLINE,
            "The client's deadline, in milliseconds from now.",
            above_zero.into(),
        ),
        header(
            &PRIORITY,
            "While both wait, most slots go to `interactive` requests.",
            string().enum_values(Some(["interactive", "batch"])).into(),
        ),
        header(
            &SESSION,
            "The conversation, for the strategy `session`.",
            string().into(),
        ),
        header(
            &STRATEGY,
            "How an endpoint is chosen, for this request.",
            Ref::from_schema_name("StrategyName").into(),
        ),
        header(
            &PIN_NODE,
            "The node that must serve the request.",
            pool_registry_types::NodeId::schema(),
        ),
    ]
}
