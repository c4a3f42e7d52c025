//! Completes the document with what is the same for every route.

use std::collections::BTreeSet;

use pool_registry_types::{
    ErrorCode, ErrorEnvelope, OpenAiError,
    client_api::{AnthropicError, ClientApi, OllamaError},
    headers,
    schema::EngineError,
};
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema as _, ToSchema,
    openapi::{Components, InfoBuilder, License, OpenApi, OpenApiBuilder, Paths},
};

use crate::flatten::flatten;

/// The daemon that a document describes.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Its name.
    pub title: &'static str,
    /// The version of the daemon.
    pub version: &'static str,
    /// Its purpose, as Markdown.
    pub description: &'static str,
}

/// Errors of every route: the request is malformed, the server has a bug, is at its limit, or is
/// stopping.
const ANY: [ErrorCode; 4] = [
    ErrorCode::InvalidRequest,
    ErrorCode::Internal,
    ErrorCode::TooManyConnections,
    ErrorCode::ShuttingDown,
];
/// Further errors of routes that are not open: the request presents no token, or comes from a page
/// of another origin.
const GUARDED: [ErrorCode; 2] = [ErrorCode::Unauthorized, ErrorCode::Forbidden];
/// Further errors of routes with a body.
const WITH_BODY: [ErrorCode; 2] = [ErrorCode::RequestTimeout, ErrorCode::PayloadTooLarge];

/// Merges the parts into one document.
pub(crate) fn complete(about: &About, parts: impl IntoIterator<Item = OpenApi>) -> Value {
    let info = InfoBuilder::new()
        .title(about.title)
        .version(about.version)
        .description(Some(about.description))
        .license(Some(
            License::builder()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ));
    let mut whole = OpenApiBuilder::new()
        .info(info)
        .paths(Paths::new())
        .components(Some(shapes_of_errors()))
        .build();
    for part in parts {
        whole.merge(part);
    }
    // All of it can be serialised as JSON.
    let mut document = serde_json::to_value(&whole).unwrap_or_default();
    let scheme = json!({"type": "http", "scheme": "bearer", "description":
        "The API token, as `Authorization: Bearer …`, `x-api-key` or `api-key`. A server without \
            one serves peers on its own machine only."});
    document["components"]["securitySchemes"] = json!({"token": scheme});
    document["security"] = json!([{"token": []}]);
    for (path, method, operation) in operations(&mut document) {
        complete_operation(path, method, operation);
    }
    bound_integers(&mut document);
    flatten(&mut document);
    document
}

fn shapes_of_errors() -> Components {
    let mut schemas = Vec::new();
    ErrorEnvelope::schemas(&mut schemas);
    OpenAiError::schemas(&mut schemas);
    AnthropicError::schemas(&mut schemas);
    schemas.push((EngineError::name().into_owned(), EngineError::schema()));
    schemas.push((ErrorEnvelope::name().into_owned(), ErrorEnvelope::schema()));
    schemas.push((OpenAiError::name().into_owned(), OpenAiError::schema()));
    schemas.push((
        AnthropicError::name().into_owned(),
        AnthropicError::schema(),
    ));
    schemas.push((OllamaError::name().into_owned(), OllamaError::schema()));
    let mut components = Components::new();
    components.schemas.extend(schemas);
    components
}

/// Every operation with its path and method.
fn operations(document: &mut Value) -> impl Iterator<Item = (&str, &str, &mut Map<String, Value>)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let operations = item.as_object_mut().into_iter().flatten();
        operations.filter_map(|(method, operation)| {
            Some((path.as_str(), method.as_str(), operation.as_object_mut()?))
        })
    })
}

fn complete_operation(path: &str, method: &str, operation: &mut Map<String, Value>) {
    operation.insert("operationId".to_owned(), operation_id(method, path).into());
    let has_body = operation.contains_key("requestBody");
    // A part gives a security of its own to open routes only. All other routes use the one scheme.
    let is_open = operation.contains_key("security");
    if is_open {
        operation.insert("security".to_owned(), json!([]));
    }
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        // A path, a query or a header has no null.
        if let Some(types) = parameter
            .pointer_mut("/schema/type")
            .and_then(Value::as_array_mut)
        {
            types.retain(|kind| kind != "null");
        }
    }
    let Some(responses) = operation
        .get_mut("responses")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    // A route that may return any status forwards responses of an engine, whose errors may have
    // these statuses too. Those for Ollama's clients are translated.
    let is_translated = ClientApi::of(path) == ClientApi::Ollama;
    let passes_on = responses.contains_key("default") && !is_translated;
    let common = ANY.iter().chain(GUARDED.iter().filter(|_| !is_open));
    let common = common.chain(WITH_BODY.iter().filter(|_| has_body));
    for code in common {
        let response = responses
            .entry(code.status().to_string())
            .or_insert_with(|| json!({"description": ""}));
        name_code(response, *code);
    }
    for (status, response) in responses {
        if status
            .as_bytes()
            .first()
            .is_some_and(|class| *class >= b'4')
        {
            complete_error(path, status, response, passes_on);
        }
        response["headers"][headers::REQUEST_ID.as_str()] = json!({"description": "The name of \
            the request, as in the log.", "schema": {"type": "string"}});
    }
}

/// Derived from the route alone, so it is as stable as the route.
fn operation_id(method: &str, path: &str) -> String {
    let words = path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    std::iter::once(method)
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

/// Adds a code to the list in a response's description.
fn name_code(response: &mut Value, code: ErrorCode) {
    let mut codes: BTreeSet<&str> = response["description"]
        .as_str()
        .into_iter()
        .flat_map(|codes| codes.split(", "))
        .filter(|code| !code.is_empty())
        .collect();
    codes.insert(code.as_str());
    let codes = codes.into_iter().collect::<Vec<_>>().join(", ");
    response["description"] = codes.into();
}

/// Gives an error without content the shape of its route, and the headers of its status.
fn complete_error(path: &str, status: &str, response: &mut Value, passes_on: bool) {
    if response.get("content").is_none() {
        let shape = match ClientApi::of(path) {
            ClientApi::Own => "ErrorEnvelope",
            ClientApi::OpenAi => "OpenAiError",
            ClientApi::Anthropic => "AnthropicError",
            ClientApi::Ollama => "OllamaError",
        };
        let named = |shape: &str| json!({"$ref": format!("#/components/schemas/{shape}")});
        let schema = if passes_on {
            json!({"anyOf": [named(shape), named("EngineError")]})
        } else {
            named(shape)
        };
        response["content"] = json!({"application/json": {"schema": schema}});
    }
    let said = match status {
        "401" => {
            json!({"WWW-Authenticate": {"description": "The way \
                in.", "schema": {"type": "string"}}})
        }
        "429" | "503" => json!({"Retry-After": {
            "description": "When to retry, in seconds.",
            "schema": {"type": "integer", "minimum": 0}}}),
        _ => return,
    };
    response["headers"] = said;
}

/// States the bounds of integers, which `format` alone does not.
fn bound_integers(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let format = object.get("format").and_then(Value::as_str);
            // utoipa writes a dash in names of the OpenAPI format registry.
            let bounds = match format {
                Some("u-int32") => Some(("uint32", json!(0), json!(u32::MAX))),
                Some("u-int64") => Some(("uint64", json!(0), json!(u64::MAX))),
                Some("int64") => Some(("int64", json!(i64::MIN), json!(i64::MAX))),
                _ => None,
            };
            if let Some((format, minimum, maximum)) = bounds {
                object.insert("format".to_owned(), format.into());
                object.entry("minimum").or_insert(minimum);
                object.entry("maximum").or_insert(maximum);
            }
            object.values_mut().for_each(bound_integers);
        }
        Value::Array(values) => values.iter_mut().for_each(bound_integers),
        _ => {}
    }
}
