//! Parts of answers that several kinds of engines share. No I/O.

// These numbers come from engines: arithmetic must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use pool_registry_types::EngineLoad;
use serde_json::Value;

use crate::prometheus::sum;

/// The field `version` of an answer.
pub(crate) fn version(body: &[u8]) -> Option<String> {
    text(json(body)?.get("version"))
}

/// Requests running and waiting, from the gauges of an answer in the format of Prometheus.
pub(crate) fn gauges(body: &[u8], running: &[&str], waiting: &[&str]) -> EngineLoad {
    let text = String::from_utf8_lossy(body);
    EngineLoad::of_requests(sum_whole(&text, running), sum_whole(&text, waiting))
}

/// The sum of a gauge over all its series; `None` when it is not a count.
pub(crate) fn sum_whole(text: &str, names: &[&str]) -> Option<u32> {
    sum(text, names).and_then(whole)
}

/// An answer that is JSON.
pub(crate) fn json(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// A field that is a text.
pub(crate) fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().map(str::to_owned)
}

/// A field that is a count.
pub(crate) fn count(value: Option<&Value>) -> Option<u32> {
    value?.as_u64().and_then(|count| u32::try_from(count).ok())
}

/// A gauge that counts requests; `None` when it is not a count.
fn whole(value: f64) -> Option<u32> {
    let is_count = value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number within the range"
    )]
    is_count.then_some(value as u32)
}
