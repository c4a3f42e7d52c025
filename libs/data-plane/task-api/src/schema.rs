//! Schemas of fields that no derive can express.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, OneOfBuilder, RefOr, Schema,
        schema::{Type, empty},
    },
};

use crate::event::Forecast;

/// A [`Forecast`] whose fields are all present or all absent.
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

/// A message of a chat. Its other fields are passed to the engine unchanged.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "messages are passed on, not read")]
pub(crate) struct Message {
    role: String,
    /// Absent in a message without any, such as a call of a tool.
    content: Option<Content>,
}

/// The content of a message: a text, or parts.
#[derive(Debug)]
pub(crate) struct Content;

impl PartialSchema for Content {
    fn schema() -> RefOr<Schema> {
        // Parts are objects. Only the engine checks them.
        let parts = utoipa::openapi::ArrayBuilder::new().items(RefOr::T(empty()));
        OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::String))
            .item(parts)
            .into()
    }
}

impl ToSchema for Content {}

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

/// Where a task may run. The modes `pin` and `prefer` need a node.
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
