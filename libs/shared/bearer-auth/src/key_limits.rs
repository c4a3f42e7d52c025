//! What the holder of a key may use: models, rates, concurrent requests, priority and weight.
//!
//! A value that exists is within its bounds. The gateway counts what is used.

use std::{fmt, str::FromStr};

use pool_registry_types::{ModelName, limits::Limit};
use serde::{Deserialize, Serialize};

/// The most models of one key.
pub const MAX_KEY_MODELS: usize = 64;
/// The most requests a minute.
pub const MAX_REQUESTS_PER_MINUTE: u64 = 1_000_000;
/// The most tokens a minute.
pub const MAX_TOKENS_PER_MINUTE: u64 = 1_000_000_000;
/// The most tokens a day.
pub const MAX_TOKENS_PER_DAY: u64 = 1_000_000_000_000;
/// The most requests at once.
pub const MAX_CONCURRENT_REQUESTS: u64 = 100_000;
/// The largest weight.
pub const MAX_KEY_WEIGHT: u32 = 100;

/// All limits.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_KEY_MODELS", MAX_KEY_MODELS as u64, "models")
        .because("The list is searched for each request.")
        .enforced_by("POST /v2/keys, PATCH /v2/keys/{key_id}, files of keys")
        .beyond("400 INVALID_REQUEST"),
    Limit::new(
        "MAX_REQUESTS_PER_MINUTE",
        MAX_REQUESTS_PER_MINUTE,
        "requests a minute",
    )
    .because("More is no limit: leave it out instead.")
    .enforced_by("POST /v2/keys, PATCH /v2/keys/{key_id}, files of keys")
    .beyond("400 INVALID_REQUEST"),
    Limit::new(
        "MAX_TOKENS_PER_MINUTE",
        MAX_TOKENS_PER_MINUTE,
        "tokens a minute",
    )
    .because("More is no limit: leave it out instead.")
    .enforced_by("POST /v2/keys, PATCH /v2/keys/{key_id}, files of keys")
    .beyond("400 INVALID_REQUEST"),
    Limit::new("MAX_TOKENS_PER_DAY", MAX_TOKENS_PER_DAY, "tokens a day")
        .because("More is no limit: leave it out instead.")
        .enforced_by("POST /v2/keys, PATCH /v2/keys/{key_id}, files of keys")
        .beyond("400 INVALID_REQUEST"),
    Limit::new(
        "MAX_CONCURRENT_REQUESTS",
        MAX_CONCURRENT_REQUESTS,
        "requests",
    )
    .because("More is no limit: leave it out instead.")
    .enforced_by("POST /v2/keys, PATCH /v2/keys/{key_id}, files of keys")
    .beyond("400 INVALID_REQUEST"),
    Limit::new("MAX_KEY_WEIGHT", MAX_KEY_WEIGHT as u64, "requests a turn")
        .because("A key of this weight makes others wait for this many of its requests.")
        .enforced_by("POST /v2/keys, PATCH /v2/keys/{key_id}, files of keys")
        .beyond("400 INVALID_REQUEST"),
];

/// The highest priority that a key may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HighestPriority {
    /// Every priority.
    #[default]
    Interactive,
    /// Batch only. Its other requests count as batch requests.
    Batch,
}

/// A name that is no priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be interactive or batch")]
pub struct UnknownHighestPriority;

impl FromStr for HighestPriority {
    type Err = UnknownHighestPriority;

    fn from_str(name: &str) -> Result<Self, UnknownHighestPriority> {
        match name {
            "interactive" => Ok(Self::Interactive),
            "batch" => Ok(Self::Batch),
            _ => Err(UnknownHighestPriority),
        }
    }
}

/// Limits as they are written, before their bounds are checked.
///
/// Unknown fields are ignored, so that an earlier version can read what a later one has stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UncheckedKeyLimits {
    /// The only models that it may use, by their names or by aliases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelName>>,
    /// Requests in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens, read and generated, in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// The same in a day of UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u64>,
    /// The highest priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_priority: Option<HighestPriority>,
    /// Its share of slots beside other keys: 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// A limit out of its bounds. The message names the field and what would be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyLimitError {
    /// A number is too small or too large.
    #[error("{field}: must be from 1 to {most}; without a value there is no limit")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The largest value.
        most: u64,
    },
    /// The list of models is empty or too long.
    #[error("models: must list 1 to {MAX_KEY_MODELS} names; without a list it may use every model")]
    Models,
}

/// What the holder of a key may use. The default has no limit.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "UncheckedKeyLimits", into = "UncheckedKeyLimits")]
pub struct KeyLimits(UncheckedKeyLimits);

impl TryFrom<UncheckedKeyLimits> for KeyLimits {
    type Error = KeyLimitError;

    fn try_from(limits: UncheckedKeyLimits) -> Result<Self, KeyLimitError> {
        let numbers = [
            (
                "requests_per_minute",
                limits.requests_per_minute,
                MAX_REQUESTS_PER_MINUTE,
            ),
            (
                "tokens_per_minute",
                limits.tokens_per_minute,
                MAX_TOKENS_PER_MINUTE,
            ),
            ("tokens_per_day", limits.tokens_per_day, MAX_TOKENS_PER_DAY),
            (
                "concurrent_requests",
                limits.concurrent_requests,
                MAX_CONCURRENT_REQUESTS,
            ),
            (
                "weight",
                limits.weight.map(u64::from),
                u64::from(MAX_KEY_WEIGHT),
            ),
        ];
        for (field, value, most) in numbers {
            if value.is_some_and(|value| !(1..=most).contains(&value)) {
                return Err(KeyLimitError::OutOfRange { field, most });
            }
        }
        let count = limits.models.as_ref().map(Vec::len);
        if count.is_some_and(|count| !(1..=MAX_KEY_MODELS).contains(&count)) {
            return Err(KeyLimitError::Models);
        }
        Ok(Self(limits))
    }
}

impl From<KeyLimits> for UncheckedKeyLimits {
    fn from(limits: KeyLimits) -> Self {
        limits.0
    }
}

impl KeyLimits {
    /// Whether nothing is limited, and the weight is that of any key.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether requests or tokens must be counted to enforce them.
    #[must_use]
    pub fn has_counted(&self) -> bool {
        let limits = &self.0;
        let all = [
            limits.requests_per_minute,
            limits.tokens_per_minute,
            limits.tokens_per_day,
            limits.concurrent_requests,
        ];
        all.iter().any(Option::is_some)
    }

    /// Whether a list of models restricts it.
    #[must_use]
    pub fn has_models(&self) -> bool {
        self.0.models.is_some()
    }

    /// Whether it may use a model under this name.
    #[must_use]
    pub fn allows_model(&self, name: &str) -> bool {
        let models = self.0.models.as_ref();
        models.is_none_or(|models| models.iter().any(|model| model.as_str() == name))
    }

    /// Requests in any minute.
    #[must_use]
    pub fn requests_per_minute(&self) -> Option<u64> {
        self.0.requests_per_minute
    }

    /// Tokens in any minute.
    #[must_use]
    pub fn tokens_per_minute(&self) -> Option<u64> {
        self.0.tokens_per_minute
    }

    /// Tokens in a day of UTC.
    #[must_use]
    pub fn tokens_per_day(&self) -> Option<u64> {
        self.0.tokens_per_day
    }

    /// Requests at once.
    #[must_use]
    pub fn concurrent_requests(&self) -> Option<u64> {
        self.0.concurrent_requests
    }

    /// The highest priority.
    #[must_use]
    pub fn highest_priority(&self) -> HighestPriority {
        self.0.highest_priority.unwrap_or_default()
    }

    /// How many of its requests are served in one turn.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.0.weight.unwrap_or(1)
    }
}

impl fmt::Debug for KeyLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<KeyLimits, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    // spec: KEY-1
    #[test]
    fn limits_are_within_their_bounds() {
        let all = r#"{"models":["a","b"],"requests_per_minute":60,"tokens_per_minute":1000,
            "tokens_per_day":100000,"concurrent_requests":4,"highest_priority":"batch",
            "weight":3,"later":true}"#;
        let limits = read(all).unwrap();
        assert!(limits.allows_model("a") && !limits.allows_model("c") && limits.has_counted());
        assert_eq!(
            (limits.weight(), limits.highest_priority()),
            (3, HighestPriority::Batch)
        );
        let stored = serde_json::to_string(&limits).unwrap();
        assert_eq!(read(&stored).unwrap(), limits);
        let none = read("{}").unwrap();
        assert!(none.is_default() && !none.has_counted() && none.allows_model("any"));
        assert_eq!(serde_json::to_string(&none).unwrap(), "{}");

        for (json, problem) in [
            (
                r#"{"requests_per_minute":0}"#,
                "requests_per_minute: must be from 1 to 1000000",
            ),
            (
                r#"{"requests_per_minute":1000001}"#,
                "requests_per_minute: must be",
            ),
            (r#"{"tokens_per_minute":0}"#, "tokens_per_minute: must be"),
            (
                r#"{"tokens_per_day":1000000000001}"#,
                "tokens_per_day: must be",
            ),
            (
                r#"{"concurrent_requests":100001}"#,
                "concurrent_requests: must be",
            ),
            (r#"{"weight":101}"#, "weight: must be from 1 to 100"),
            (r#"{"models":[]}"#, "models: must list 1 to 64"),
            (r#"{"models":[""]}"#, ""),
            (r#"{"highest_priority":"high"}"#, "high"),
            (r#"{"requests_per_minute":-1}"#, "-1"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(problem), "{json}: {error}");
        }
    }
}
