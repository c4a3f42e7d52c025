//! The schema of a strategy's name.

use placement::Strategy;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

/// How an endpoint is chosen.
#[derive(Debug)]
pub(crate) struct StrategyName;

impl PartialSchema for StrategyName {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(Strategy::ALL.map(Strategy::as_str)))
            .description(Some("How an endpoint is chosen."))
            .into()
    }
}

impl ToSchema for StrategyName {}
