//! Slots, version and load from the answers of each kind of engine. No I/O.

// These numbers come from engines: arithmetic must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use pool_registry_types::EngineLoad;
use serde_json::Value;

use crate::prometheus::{samples, sum};

/// The answer of `llama-server` to `GET /props`, which costs it nothing and does not wake it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Props {
    /// `None` also for a model router, which has no slots of its own.
    pub(crate) slots: Option<u32>,
    pub(crate) version: Option<String>,
    pub(crate) sleeping: Option<bool>,
    /// It serves `/metrics`.
    pub(crate) has_metrics: bool,
}

/// Reads an answer to llama-server's `GET /props`.
pub(crate) fn props(body: &[u8]) -> Props {
    let Some(answer) = json(body) else {
        return Props::default();
    };
    Props {
        slots: count(answer.get("total_slots")),
        version: text(answer.get("build_info")),
        sleeping: answer.get("is_sleeping").and_then(Value::as_bool),
        // Older versions do not report it and may have it.
        has_metrics: answer.get("endpoint_metrics").and_then(Value::as_bool) != Some(false),
    }
}

/// Requests running and waiting, from llama-server's `GET /metrics`.
pub(crate) fn llama_metrics(body: &[u8]) -> EngineLoad {
    gauges(
        body,
        &["llamacpp:requests_processing"],
        &["llamacpp:requests_deferred"],
    )
}

/// The loaded models of a llama-server that loads them on demand, from `GET /models`.
pub(crate) fn llama_loaded(body: &[u8]) -> Option<Vec<String>> {
    let answer = json(body)?;
    let status = |entry: &Value| {
        let value = entry.pointer("/status/value").and_then(Value::as_str);
        value.map(str::to_owned)
    };
    let entries = answer.get("data")?.as_array()?;
    // A server with a single model reports no status, and has it loaded.
    entries.iter().find_map(status)?;
    let loaded = entries
        .iter()
        .filter(|entry| status(entry).as_deref() == Some("loaded"));
    Some(loaded.filter_map(|entry| text(entry.get("id"))).collect())
}

/// vLLM's `GET /metrics`, over all its data-parallel engines.
pub(crate) fn vllm_metrics(body: &[u8]) -> EngineLoad {
    let mut load = gauges(
        body,
        &["vllm:num_requests_running"],
        &["vllm:num_requests_waiting"],
    );
    let text = String::from_utf8_lossy(body);
    // Versions before 1.0 could swap a request out of the GPU's memory and continue it later.
    let swapped = sum(&text, &["vllm:num_requests_swapped"]).and_then(whole);
    load.waiting = load
        .waiting
        .map(|waiting| waiting.saturating_add(swapped.unwrap_or(0)));
    load.sleeping = samples(&text)
        .filter(|sample| {
            sample.name == "vllm:engine_sleep_state" && sample.label("sleep_state") == Some("awake")
        })
        // One rank that is awake is enough to serve requests.
        .map(|sample| sample.value <= 0.0)
        .reduce(|one, other| one && other);
    load
}

/// TGI's `GET /metrics`.
pub(crate) fn tgi_metrics(body: &[u8]) -> EngineLoad {
    gauges(body, &["tgi_batch_current_size"], &["tgi_queue_size"])
}

/// SGLang's `GET /metrics`, where the version is too old for `/v1/loads`.
pub(crate) fn sglang_metrics(body: &[u8]) -> EngineLoad {
    gauges(
        body,
        &["sglang:num_running_reqs", "sglang_num_running_reqs"],
        &["sglang:num_queue_reqs", "sglang_num_queue_reqs"],
    )
}

/// The answer of SGLang to `GET /v1/loads?include=core`, over all data-parallel ranks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Loads {
    pub(crate) slots: Option<u32>,
    pub(crate) version: Option<String>,
    pub(crate) load: EngineLoad,
}

/// Reads an answer of `/v1/loads`; `None` when it has another format.
pub(crate) fn sglang_loads(body: &[u8]) -> Option<Loads> {
    let answer = json(body)?;
    let ranks = answer.get("loads")?.as_array()?;
    // Without the value of every rank the sum is unknown.
    let sum = |field: &str| {
        let counts = ranks.iter().map(|rank| count(rank.get(field)));
        counts.reduce(|a, b| Some(a?.saturating_add(b?))).flatten()
    };
    Some(Loads {
        slots: sum("max_running_requests"),
        version: text(answer.get("version")),
        load: EngineLoad {
            running: sum("num_running_reqs"),
            waiting: sum("num_waiting_reqs"),
            ..EngineLoad::default()
        },
    })
}

/// Slots and version, from TGI's `GET /info`.
pub(crate) fn tgi_info(body: &[u8]) -> (Option<u32>, Option<String>) {
    let answer = json(body).unwrap_or_default();
    (
        count(answer.get("max_concurrent_requests")),
        text(answer.get("version")),
    )
}

/// The models that Ollama has in memory, from `GET /api/ps`.
pub(crate) fn ollama_loaded(body: &[u8]) -> Option<Vec<String>> {
    let answer = json(body)?;
    let entries = answer.get("models")?.as_array()?;
    Some(
        entries
            .iter()
            .filter_map(|entry| text(entry.get("name")))
            .collect(),
    )
}

/// The field `version` of an answer.
pub(crate) fn version(body: &[u8]) -> Option<String> {
    text(json(body)?.get("version"))
}

fn gauges(body: &[u8], running: &[&str], waiting: &[&str]) -> EngineLoad {
    let text = String::from_utf8_lossy(body);
    EngineLoad {
        running: sum(&text, running).and_then(whole),
        waiting: sum(&text, waiting).and_then(whole),
        ..EngineLoad::default()
    }
}

fn json(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().map(str::to_owned)
}

fn count(value: Option<&Value>) -> Option<u32> {
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
