//! What keys have used.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use crate::{client::Client, error::ClientError, pagination::percent_encoded, response::Response};

const PATH: &str = "/v2/usage";
/// The field with the last row of a page, when there may be more.
const NEXT_AFTER: &str = "next_after";

/// `GET /v2/usage`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct UsageList {
    /// Sorted by day, key and model.
    pub usage: Vec<UsageRow>,
}

/// The usage of one key and model on one day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct UsageRow {
    /// The day, in UTC.
    pub date: String,
    /// The id of the key.
    pub key_id: String,
    /// The name of the key, as it was last used.
    pub key_name: String,
    /// The model.
    pub model: String,
    /// Requests that an engine has got.
    pub requests: u64,
    /// Tokens of prompts, as engines report them.
    pub input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// How long requests held slots, in milliseconds.
    pub slot_ms: u64,
}

/// Which usage to list. The default lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// Only this key, by its id or its name.
    pub key: Option<String>,
    /// Only this model.
    pub model: Option<String>,
    /// From this day on, such as `2027-01-31`.
    pub from: Option<String>,
    /// Up to this day, which is included.
    pub to: Option<String>,
}

impl UsageFilter {
    fn query(&self) -> String {
        let mut query = String::new();
        let filters = [
            ("key", &self.key),
            ("model", &self.model),
            ("from", &self.from),
            ("to", &self.to),
        ];
        for (name, value) in filters {
            if let Some(value) = value {
                let _ = write!(query, "&{name}={}", percent_encoded(value));
            }
        }
        query
    }
}

impl Client {
    /// `GET /v2/usage`, with all pages.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn usage(&self, filter: &UsageFilter) -> Result<Response<UsageList>, ClientError> {
        let query = filter.query();
        let path = |after: &str| format!("{PATH}?format=json{query}{after}");
        let mut all: Response<UsageList> = self.transport().get(&path(""))?;
        let mut after = None;
        loop {
            let next = all.raw.get(NEXT_AFTER).and_then(Value::as_str);
            let next = next.map(str::to_owned);
            // Stop as well at a server whose pages do not advance.
            let Some(cursor) = next.as_deref().filter(|_| next != after) else {
                return Ok(all);
            };
            let after_it = format!("&after={}", percent_encoded(cursor));
            let mut page: Response<UsageList> = self.transport().get(&path(&after_it))?;
            let rows = page.raw.get_mut("usage").and_then(Value::as_array_mut);
            let rows = rows.map(std::mem::take).unwrap_or_default();
            if let Some(list) = all.raw.get_mut("usage").and_then(Value::as_array_mut) {
                list.extend(rows);
            }
            if let Some(fields) = all.raw.as_object_mut() {
                fields.remove(NEXT_AFTER);
                let next = page.raw.get(NEXT_AFTER).cloned();
                fields.extend(next.map(|next| (NEXT_AFTER.to_owned(), next)));
            }
            after = next;
        }
    }
}
