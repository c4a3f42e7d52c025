//! Parts of descriptions that several routes share.

use pool_registry_types::{
    ErrorCode, ModelName,
    headers::{ATTEMPTS, NODE, POOL, QUEUE_MS, REPLICA},
};
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Required, Response,
        ResponseBuilder, Schema,
        path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::{RequestBody, RequestBodyBuilder},
        schema::{AdditionalProperties, SchemaType, Type},
    },
};

use crate::options::{DEADLINE, MAX_DEADLINE_MS, PIN_NODE, PRIORITY, SESSION, STRATEGY};

pub(super) fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// An object of which only some fields are described.
pub(super) fn open_object() -> ObjectBuilder {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(true)))
}

/// Any JSON.
pub(super) fn anything() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue)
}

pub(super) fn model_name() -> Ref {
    Ref::from_schema_name(ModelName::name())
}

/// A `stream` that the client may set.
pub(super) fn stream(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Boolean, Type::Null]))
        .description(Some(description))
}

/// A mandatory body of one type.
pub(super) fn body(content_type: &str, schema: impl Into<RefOr<Schema>>) -> RequestBody {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let body = RequestBodyBuilder::new().required(Some(Required::True));
    body.content(content_type, content).build()
}

/// Adds the headers with which a client steers a request.
pub(super) fn with_options(operation: OperationBuilder) -> OperationBuilder {
    options()
        .into_iter()
        .fold(operation, |operation, option| operation.parameter(option))
}

/// Adds what may become of any request that goes to an engine.
pub(super) fn with_errors(operation: OperationBuilder) -> OperationBuilder {
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
    let statuses: std::collections::BTreeSet<u16> =
        codes.iter().map(|code| code.status()).collect();
    statuses.into_iter().fold(operation, |operation, status| {
        let of_status = codes.iter().filter(|code| code.status() == status);
        let names: Vec<&str> = of_status.map(|code| code.as_str()).collect();
        operation.response(status.to_string(), Response::new(names.join(", ")))
    })
}

/// An engine's response in one or more types.
pub(super) fn answer(
    description: &str,
    types: impl IntoIterator<Item = (&'static str, RefOr<Schema>)>,
) -> Response {
    let mut response = ResponseBuilder::new().description(description);
    for (content_type, schema) in types {
        let content = ContentBuilder::new().schema(Some(schema)).build();
        response = response.content(content_type, content);
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

fn options() -> [Parameter; 5] {
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
