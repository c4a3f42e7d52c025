//! What the API shows.

use std::sync::Arc;

use serde::Serialize;
use usage_log::{UsagePage, UsageRow};

use crate::query::cursor_text;

/// The usage of one key and model on one day.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageRowAnswer {
    /// The day, in UTC.
    #[cfg_attr(feature = "openapi", schema(format = Date))]
    pub(crate) date: String,
    /// The id of the key.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub(crate) key_id: Arc<str>,
    /// The name of the key, as it was last used.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub(crate) key_name: Arc<str>,
    /// The model; `other` where engines do not name theirs.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub(crate) model: Arc<str>,
    /// Requests that an engine has got.
    pub(crate) requests: u64,
    /// Tokens of prompts, as engines report them.
    pub(crate) input_tokens: u64,
    /// Generated tokens.
    pub(crate) output_tokens: u64,
    /// How long requests held slots.
    pub(crate) slot_ms: u64,
}

impl From<UsageRow> for UsageRowAnswer {
    fn from(row: UsageRow) -> Self {
        Self {
            date: row.day.to_string(),
            key_id: row.key_id,
            key_name: row.key_name,
            model: row.model,
            requests: row.usage.requests,
            input_tokens: row.usage.input_tokens,
            output_tokens: row.usage.output_tokens,
            slot_ms: row.usage.slot_ms,
        }
    }
}

/// Usage, by day, key and model.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageAnswer {
    /// The rows of this page.
    usage: Vec<UsageRowAnswer>,
    /// The last one of this page, when there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<String>,
}

impl From<UsagePage> for UsageAnswer {
    fn from(page: UsagePage) -> Self {
        Self {
            next_after: page.next.as_ref().map(cursor_text),
            usage: page.rows.into_iter().map(UsageRowAnswer::from).collect(),
        }
    }
}
