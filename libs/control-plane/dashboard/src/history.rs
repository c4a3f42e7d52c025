//! What the last half hour was like, so that a page that is opened now has charts to show.

use std::collections::VecDeque;

use serde_json::{Value, json};

/// How many samples are kept: half an hour of one every five seconds. More would be a metrics
/// server's business.
pub(crate) const SAMPLES: usize = 360;

/// What of a status is kept, by where it is. The first is when.
const COLUMNS: [(&str, &str); 13] = [
    ("at", "/now"),
    ("requests_per_s", "/traffic/requests_per_s"),
    ("errors_per_s", "/traffic/errors_per_s"),
    ("tokens_per_s", "/traffic/tokens_per_s"),
    ("first_token_p50", "/traffic/first_token_ms/p50"),
    ("first_token_p90", "/traffic/first_token_ms/p90"),
    ("first_token_p99", "/traffic/first_token_ms/p99"),
    ("inter_token_p50", "/traffic/inter_token_ms/p50"),
    ("inter_token_p90", "/traffic/inter_token_ms/p90"),
    ("inter_token_p99", "/traffic/inter_token_ms/p99"),
    ("queue_p50", "/traffic/queue_ms/p50"),
    ("queue_p99", "/traffic/queue_ms/p99"),
    ("slots_free", "/slots/free"),
];

/// The latest samples, oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    rows: VecDeque<Value>,
}

impl History {
    /// Keeps the numbers of a status; what is missing is null.
    pub(crate) fn keep(&mut self, status: &Value) {
        let row = COLUMNS.map(|(_, place)| status.pointer(place).cloned().unwrap_or_default());
        if self.rows.len() == SAMPLES {
            self.rows.pop_front();
        }
        self.rows.push_back(Value::from(row.to_vec()));
    }

    /// `{"columns":[name…],"rows":[[number or null…]…]}`.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "columns": COLUMNS.map(|(name, _)| name),
            "rows": self.rows,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: DASH-7
    #[test]
    fn keeps_half_an_hour_and_no_more() {
        let mut history = History::default();
        for at in 0..=SAMPLES {
            history.keep(&json!({"now": at, "traffic": {"tokens_per_s": 1.5,
                    "first_token_ms": {"p50": null}}}));
        }
        let kept = history.to_json();
        let rows = kept["rows"].as_array().unwrap();
        assert_eq!(rows.len(), SAMPLES);
        assert_eq!(
            (&rows[0][0], &rows[SAMPLES - 1][0]),
            (&json!(1), &json!(SAMPLES))
        );
        assert_eq!(kept["columns"][3], "tokens_per_s");
        assert_eq!((&rows[0][3], &rows[0][4]), (&json!(1.5), &Value::Null));
        assert_eq!(
            kept["columns"].as_array().unwrap().len(),
            rows[0].as_array().unwrap().len()
        );
    }
}
