//! How these routes describe themselves.

use serde_json::json;
use utoipa::{
    OpenApi as _, PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, OneOfBuilder, OpenApi, RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

use crate::{event::Forecast, request::TaskRequest, routes};

/// The descriptions of all [`TaskApi::routes`](crate::TaskApi::routes).
#[must_use]
pub fn openapi() -> OpenApi {
    Tasks::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(routes::submit, routes::show, routes::events, routes::cancel))]
struct Tasks;

/// A [`TaskRequest`] whose input is that of its workload, which no derive can say: one of three,
/// told apart by `workload`.
#[derive(Debug)]
pub(crate) struct NewTask;

/// Each workload and the field that has its input.
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
            .examples([json!({"workload": "completion", "model_ref": "llama-3.1-8b", "prompt": "Once upon"})])
            .into()
    }
}

/// A request of one workload: its input is there, and none of the others.
fn of_workload(workload: &str, input: &str) -> Schema {
    let RefOr::T(Schema::Object(mut request)) = TaskRequest::schema() else {
        // A struct with named fields is an object.
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

/// Takes the null from what may be left out.
fn not_null(property: &mut RefOr<Schema>) {
    let is_null = |schema: &RefOr<Schema>| matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null));
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

/// A [`Forecast`] that is there, or none of it is.
#[derive(Debug)]
pub(crate) struct WhileItWaits;

impl PartialSchema for WhileItWaits {
    fn schema() -> RefOr<Schema> {
        let mut forecast = Forecast::schema();
        if let RefOr::T(Schema::Object(object)) = &mut forecast {
            object.required.clear();
            object.description = Some("When it begins; only while it waits.".to_owned());
        }
        forecast
    }
}

impl ToSchema for WhileItWaits {}

/// A message of a chat; what else is in it goes to the engine as it is.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "messages are passed on, not read")]
pub(crate) struct Message {
    role: String,
}

/// One text or several.
#[derive(Debug)]
pub(crate) struct Texts;

impl PartialSchema for Texts {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let several = utoipa::openapi::ArrayBuilder::new()
            .items(text())
            .min_items(Some(1));
        OneOfBuilder::new().item(text()).item(several).into()
    }
}

impl ToSchema for Texts {}

/// Where a task may run: the modes `pin` and `prefer` need a node.
#[derive(Debug)]
pub(crate) struct Where;

impl PartialSchema for Where {
    fn schema() -> RefOr<Schema> {
        let mode = |modes: &[&str]| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some(modes.to_vec()))
        };
        let node = || pool_registry_types::NodeId::schema();
        let or_null = |schema: RefOr<Schema>| {
            let null = ObjectBuilder::new().schema_type(Type::Null);
            OneOfBuilder::new().item(schema).item(null)
        };
        OneOfBuilder::new()
            .item(
                ObjectBuilder::new()
                    .property("mode", mode(&["pin", "prefer"]))
                    .required("mode")
                    .property("node_id", node())
                    .required("node_id"),
            )
            .item(
                ObjectBuilder::new()
                    .property("mode", or_null(mode(&["auto"]).into()))
                    .property("node_id", or_null(node())),
            )
            .into()
    }
}

impl ToSchema for Where {}
