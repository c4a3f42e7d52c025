//! The schema of a new task.

use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, OneOfBuilder, RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

use crate::request::TaskRequest;

/// A [`TaskRequest`] with the input of its workload: one of three alternatives that `workload`
/// distinguishes. No derive can express this.
#[derive(Debug)]
pub(crate) struct NewTask;

/// Each workload with the field of its input.
const INPUTS: [(&str, &str); 3] = [
    ("completion", "prompt"),
    ("chat", "messages"),
    ("embedding", "inputs"),
];

impl PartialSchema for NewTask {
    fn schema() -> RefOr<Schema> {
        INPUTS
            .iter()
            .fold(OneOfBuilder::new(), |all, (workload, input)| {
                all.item(of_workload(workload, input))
            })
            .description(Some(
                "What is to be done: each workload has its own kind of input.",
            ))
            .examples([json!({
                "workload": "completion", "model_ref": "llama-3.1-8b", "prompt": "Once upon",
            })])
            .into()
    }
}

/// A request of one workload: it has its own input and none of the others.
fn of_workload(workload: &str, input: &str) -> Schema {
    let RefOr::T(Schema::Object(mut request)) = TaskRequest::schema() else {
        // The schema of a struct with named fields is an object.
        return ObjectBuilder::new().into();
    };
    let only = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some([workload]));
    request
        .properties
        .insert("workload".to_owned(), only.into());
    for (_, other) in INPUTS.iter().filter(|(_, other)| *other != input) {
        let none = ObjectBuilder::new().schema_type(Type::Null);
        request.properties.insert((*other).to_owned(), none.into());
    }
    if let Some(property) = request.properties.get_mut(input) {
        not_null(property);
    }
    request.required.push(input.to_owned());
    request.description = Some(format!("A `{workload}`, whose input is `{input}`."));
    request.into()
}

/// Removes `null` from the schema of an optional field.
fn not_null(property: &mut RefOr<Schema>) {
    let is_null = |schema: &RefOr<Schema>| match schema {
        RefOr::T(Schema::Object(object)) => object.schema_type == SchemaType::Type(Type::Null),
        _ => false,
    };
    match property {
        RefOr::T(Schema::OneOf(one)) => one.items.retain(|item| !is_null(item)),
        RefOr::T(Schema::Object(object)) => object.schema_type = Type::String.into(),
        RefOr::T(Schema::Array(array)) => array.schema_type = Type::Array.into(),
        _ => {}
    }
}

impl ToSchema for NewTask {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        TaskRequest::schemas(schemas);
    }
}
