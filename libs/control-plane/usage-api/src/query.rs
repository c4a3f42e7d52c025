//! What a request asks for.

use http::{HeaderMap, header::ACCEPT};
use http_server::ApiError;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use pool_registry_types::limits::Limit;
use serde::Deserialize;
use usage_log::{Day, UsageCursor, UsageQuery};

/// The most rows of one answer, also without `limit`.
pub const MAX_PAGE_ROWS: usize = 10_000;

/// The most characters of a filter, which is a name.
const MAX_FILTER_CHARS: usize = 256;

/// All limits.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_PAGE_ROWS", MAX_PAGE_ROWS as u64, "rows")
        .because("The rows of one answer, also when no `limit` is given.")
        .enforced_by("GET /v2/usage")
        .beyond(
            "`next_after` names the last one, and `?after=` continues behind it; a larger `limit` \
             is 400 INVALID_REQUEST",
        ),
    Limit::new("MAX_FILTER_CHARS", MAX_FILTER_CHARS as u64, "characters")
        .because("The filters `key` and `model`, which are names.")
        .enforced_by("GET /v2/usage")
        .beyond("400 INVALID_REQUEST"),
];

/// The query as it is written.
#[derive(Debug, Deserialize)]
pub(crate) struct WrittenQuery {
    key: Option<String>,
    model: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
    after: Option<String>,
    format: Option<String>,
}

/// A valid query.
#[derive(Debug)]
pub(crate) struct ParsedQuery {
    pub(crate) rows: UsageQuery,
    pub(crate) after: Option<UsageCursor>,
    pub(crate) limit: usize,
    pub(crate) is_csv: bool,
}

impl WrittenQuery {
    /// An error names the parameter.
    pub(crate) fn parse(self, headers: &HeaderMap) -> Result<ParsedQuery, ApiError> {
        let rows = UsageQuery {
            key: filter("key", self.key)?,
            model: filter("model", self.model)?,
            from: day("from", self.from.as_deref())?,
            to: day("to", self.to.as_deref())?,
        };
        let limit = match self.limit {
            None => MAX_PAGE_ROWS,
            Some(limit) => limit
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_PAGE_ROWS).contains(limit))
                .ok_or_else(|| {
                    ApiError::invalid(format!("limit: must be a number from 1 to {MAX_PAGE_ROWS}"))
                })?,
        };
        let is_csv = match self.format.as_deref() {
            None => accepts_csv(headers),
            Some("csv") => true,
            Some("json") => false,
            Some(_) => return Err(ApiError::invalid("format: must be json or csv")),
        };
        Ok(ParsedQuery {
            rows,
            after: self.after.as_deref().map(cursor).transpose()?,
            limit,
            is_csv,
        })
    }
}

/// The text of a position: plain ASCII, for a header too.
pub(crate) fn cursor_text(cursor: &UsageCursor) -> String {
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let (key, model) = (encoded(&cursor.key_id), encoded(&cursor.model));
    format!("{}/{key}/{model}", cursor.day.number())
}

fn cursor(text: &str) -> Result<UsageCursor, ApiError> {
    let wrong = || ApiError::invalid("after: must be the `next_after` of an answer");
    let mut parts = text.splitn(3, '/');
    let (Some(day), Some(key_id), Some(model)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().as_ref().into();
    Ok(UsageCursor {
        day: Day::from_number(day.parse().map_err(|_| wrong())?),
        key_id: decoded(key_id),
        model: decoded(model),
    })
}

fn filter(name: &str, value: Option<String>) -> Result<Option<String>, ApiError> {
    match value {
        Some(value) if !(1..=MAX_FILTER_CHARS).contains(&value.chars().count()) => {
            Err(ApiError::invalid(format!(
                "{name}: must have 1 to {MAX_FILTER_CHARS} characters"
            )))
        }
        value => Ok(value),
    }
}

fn day(name: &str, value: Option<&str>) -> Result<Option<Day>, ApiError> {
    let day = value.map(str::parse).transpose();
    day.map_err(|error| ApiError::invalid(format!("{name}: {error}")))
}

/// Whether a client asks for CSV and not also for JSON.
fn accepts_csv(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/csv") && !accept.contains("json"))
}
