//! A change of limits, as a merge patch (RFC 7396): what is absent stays, and `null` removes.

use pool_registry_types::ModelName;
use serde::{Deserialize, Deserializer, Serialize};

use crate::key_limits::{HighestPriority, KeyLimitError, KeyLimits, UncheckedKeyLimits};

/// A new value of a field: `None` leaves it as it is, `Some(None)` removes it.
pub type Change<T> = Option<Option<T>>;

/// A change of limits. The values are checked when it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyLimitsChange {
    /// The only models that it may use.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub models: Change<Vec<ModelName>>,
    /// Requests in any minute.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub requests_per_minute: Change<u64>,
    /// Tokens in any minute.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub tokens_per_minute: Change<u64>,
    /// Tokens in a day of UTC.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub tokens_per_day: Change<u64>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub concurrent_requests: Change<u64>,
    /// The highest priority.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub highest_priority: Change<HighestPriority>,
    /// Its share of slots beside other keys.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub weight: Change<u32>,
}

impl KeyLimitsChange {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn apply_to(&self, limits: &mut UncheckedKeyLimits) {
        set(&mut limits.models, &self.models);
        set(&mut limits.requests_per_minute, &self.requests_per_minute);
        set(&mut limits.tokens_per_minute, &self.tokens_per_minute);
        set(&mut limits.tokens_per_day, &self.tokens_per_day);
        set(&mut limits.concurrent_requests, &self.concurrent_requests);
        set(&mut limits.highest_priority, &self.highest_priority);
        set(&mut limits.weight, &self.weight);
    }
}

impl KeyLimits {
    /// These limits after a change.
    ///
    /// # Errors
    /// When a new value is out of its bounds.
    pub fn changed(&self, change: &KeyLimitsChange) -> Result<Self, KeyLimitError> {
        let mut limits = UncheckedKeyLimits::from(self.clone());
        change.apply_to(&mut limits);
        limits.try_into()
    }
}

fn set<T: Clone>(field: &mut Option<T>, change: &Change<T>) {
    if let Some(value) = change {
        field.clone_from(value);
    }
}

/// A field that is there, and may be `null`.
fn present<'de, T, D>(deserializer: D) -> Result<Change<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: KEY-30
    #[test]
    fn what_is_absent_stays_and_null_removes() {
        let limits: KeyLimits =
            serde_json::from_str(r#"{"requests_per_minute":60,"weight":3,"models":["a"]}"#)
                .unwrap();
        let change = |json: &str| serde_json::from_str::<KeyLimitsChange>(json).unwrap();
        assert!(change("{}").is_empty() && !change(r#"{"weight":null}"#).is_empty());
        let changed = |json: &str| limits.changed(&change(json));
        assert_eq!(changed("{}").unwrap(), limits);
        let text = |limits: &KeyLimits| serde_json::to_string(limits).unwrap();
        assert_eq!(
            text(&changed(r#"{"weight":null,"tokens_per_day":5,"models":["b"]}"#).unwrap()),
            r#"{"models":["b"],"requests_per_minute":60,"tokens_per_day":5}"#
        );
        let all = r#"{"models":null,"requests_per_minute":null,"weight":null}"#;
        assert!(changed(all).unwrap().is_default());
        assert_eq!(serde_json::to_string(&change(all)).unwrap(), all);
        for (json, says) in [
            (
                r#"{"tokens_per_minute":0}"#,
                "tokens_per_minute: must be from 1 to",
            ),
            (r#"{"models":[]}"#, "models: must list 1 to 64"),
        ] {
            let error = changed(json).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
