//! Schemas that no derive can describe: values that check themselves, and the table of error codes.

use std::fmt::Write as _;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Schema,
        schema::{AnyOfBuilder, SchemaType, Type},
    },
};

use crate::{
    BootId, EngineKind, ErrorCode, ErrorText, HttpUrl, MAX_MODEL_NAME_BYTES, MachineId, ModelName,
    NodeId, PoolId, ReplicaId, SessionId, TaskId, Text,
};

/// The pattern that [`NodeId::new`] accepts.
const ID: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$";
/// What [`HttpUrl::new`] accepts, as far as a pattern can say.
const URL: &str = concat!(
    r"^[Hh][Tt][Tt][Pp][Ss]?://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[(",
    r"([0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|([0-9A-Fa-f]{1,4}:){1,6}:[0-9A-Fa-f]{1,4}|",
    r"([0-9A-Fa-f]{1,4}:){1,4}(:[0-9A-Fa-f]{1,4}){1,3}|[0-9A-Fa-f]{1,4}:(:[0-9A-Fa-f]{1,4}){1,6}|",
    r":(:[0-9A-Fa-f]{1,4}){1,7})\])",
    r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?",
    r"(/[A-Za-z0-9_~-]+)*/?$",
);
/// The paths of a node's pools are below its address, so it must leave room for their names.
const MAX_URL_CHARS: usize = 512;
/// Nothing that could break a line or a terminal.
const PRINTABLE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

fn text(pattern: &str, description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .description(Some(description))
}

/// Server-sent events. Tools read the description either as the whole stream or as each event in
/// it; both are described.
#[derive(Debug)]
pub struct EventStream;

/// An error of an engine, unchanged.
#[derive(Debug)]
pub struct EngineError;

macro_rules! schemas {
    ($($name:ty => $schema:expr;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.build().into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

schemas! {
    NodeId => text(ID, "The name of a node.");
    MachineId => text(ID, "The name of a machine.");
    BootId => text(ID, "One start of a machine, as its kernel names it.");
    PoolId => text(ID, "The name of a pool on its node.");
    ReplicaId => text(ID, "The name of an engine in its pool.");
    EngineKind => text(ID, "A kind of engine such as `llamacpp`, or any other name.");
    TaskId => text(ID, "The name of a task.");
    SessionId => text(ID, "The name of a conversation.");
    HttpUrl => text(URL, "`http(s)://host[:port][/base]`, without user, query or fragment.")
        .max_length(Some(MAX_URL_CHARS));
    Text => ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("One line for people. It is cut at 256 bytes, and its control \
            characters become spaces."));
    ErrorText => ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("Lines for people. They are cut at 8192 bytes, and their control \
            characters except line breaks become spaces."));
    ModelName => text(PRINTABLE, "1 to 256 bytes without control characters.")
        .min_length(Some(1))
        .max_length(Some(MAX_MODEL_NAME_BYTES));
    EngineError => ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .description(Some("What an engine says of an error, as it says it."));
    ErrorCode => ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
        .description(Some(code_table()));
}

impl PartialSchema for EventStream {
    fn schema() -> RefOr<Schema> {
        let whole = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("All of it."));
        let either = AnyOfBuilder::new()
            .item(whole)
            .item(event())
            .description(Some(
                "Server-sent events: a text, and what each event of it is.",
            ));
        Schema::AnyOf(either.build()).into()
    }
}

impl ToSchema for EventStream {}

fn event() -> ObjectBuilder {
    let field = |description| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(description))
    };
    ObjectBuilder::new()
        .property("id", field("Where to go on from, as `Last-Event-ID`."))
        .property(
            "event",
            field("What it is about; `message` where there is none."),
        )
        .property("data", field("JSON, in most of them."))
        .required("data")
        .description(Some("One of them."))
}

/// Every code with its status, as Markdown.
fn code_table() -> String {
    let mut table = "What went wrong. A later version may add codes: branch on those you know, \
                     and on the status otherwise.\n\n| code | status | may succeed later \
                     |\n|---|---|---|\n"
        .to_owned();
    for code in ErrorCode::ALL {
        let later = if code.retriable() { "yes" } else { "no" };
        let _ = writeln!(
            table,
            "| `{}` | {} | {later} |",
            code.as_str(),
            code.status()
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: WIRE-11
    #[test]
    fn every_code_is_in_the_schema_and_in_its_table() {
        let schema = serde_json::to_value(ErrorCode::schema()).unwrap();
        let values = schema["enum"].as_array().unwrap();
        assert_eq!(values.len(), ErrorCode::ALL.len());
        let table = schema["description"].as_str().unwrap();
        for code in ErrorCode::ALL {
            assert!(values.contains(&code.as_str().into()));
            let row = format!("| `{}` | {} |", code.as_str(), code.status());
            assert!(table.contains(&row), "{row}");
        }
    }
}
