//! How these routes describe themselves.

use serde_json::json;
use utoipa::{
    OpenApi as _, PartialSchema, ToSchema,
    openapi::{AllOfBuilder, ObjectBuilder, OneOfBuilder, OpenApi, Ref, RefOr, Schema, schema::Type},
};

use crate::{request::TaskRequest, routes};

/// The descriptions of all [`TaskApi::routes`](crate::TaskApi::routes).
#[must_use]
pub fn openapi() -> OpenApi {
    Tasks::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(routes::submit, routes::show, routes::events, routes::cancel),
    components(schemas(TaskRequest))
)]
struct Tasks;

/// A [`TaskRequest`] whose input is that of its workload, which no derive can say.
#[derive(Debug)]
pub(crate) struct NewTask;

impl PartialSchema for NewTask {
    fn schema() -> RefOr<Schema> {
        let inputs = [
            ("completion", "prompt"),
            ("chat", "messages"),
            ("embedding", "inputs"),
        ];
        let of_workload = inputs.iter().fold(OneOfBuilder::new(), |all, (workload, input)| {
            let workload = ObjectBuilder::new().enum_values(Some([*workload]));
            let others = inputs.iter().filter(|(_, other)| other != input);
            let one = ObjectBuilder::new()
                .property("workload", workload)
                .required(*input);
            all.item(others.fold(one, |one, (_, other)| {
                one.property(*other, ObjectBuilder::new().schema_type(Type::Null))
            }))
        });
        AllOfBuilder::new()
            .item(Ref::from_schema_name("TaskRequest"))
            .item(of_workload)
            .description(Some(
                "What is to be done: each workload has its own kind of input.",
            ))
            .examples([json!({"workload": "completion", "model_ref": "llama-3.1-8b", "prompt": "Once upon"})])
            .into()
    }
}

impl ToSchema for NewTask {}

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
                    .property("mode", mode(&["auto"]))
                    .required("mode")
                    .property("node_id", node()),
            )
            .into()
    }
}

impl ToSchema for Where {}
