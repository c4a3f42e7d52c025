//! One `[[pool]]` table of the pool file.

use std::{ops::RangeInclusive, time::Duration};

use pool_registry_types::{
    EngineKind, KeyFile, MAX_HANDOFF_BYTES, MAX_MODEL_NAME_BYTES, MAX_MODELS, MAX_PATH_BYTES,
    MAX_SLOTS, MAX_TEXT_BYTES, ModelName, PoolId, Text,
};
use toml::de::DeTable;

use super::{fields::Fields, problems::PoolFileProblems};
use crate::spec::{
    DEFAULT_DRAIN_TIMEOUT, DEFAULT_READY_TIMEOUT, DEFAULT_STOP_GRACE, Launch, LlamaCpp,
    OnAgentStop, PORT_PLACEHOLDER, PoolSpec, RestartPolicy,
};

/// The kind of engine whose command line can be built.
const LLAMACPP: &str = "llamacpp";

/// A longer time is a mistake.
pub(crate) const MAX_SECS: u32 = 86_400;
/// No model has a longer context.
pub(crate) const MAX_CONTEXT: u32 = 100_000_000;
/// More than any machine has cores.
pub(crate) const MAX_THREADS: u32 = 4096;
/// The most that a heartbeat can carry.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
pub(crate) const MAX_REPLICAS: u32 = pool_registry_types::MAX_REPLICAS as u32;
/// The size of a handoff without its models: three ids, a URL, a mask, numbers and field names.
const HANDOFF_BESIDE_MODELS_BYTES: usize = 4096;
/// The most that the models of a pool may take in its engines' handoffs, in bytes of JSON.
pub(crate) const MAX_MODELS_BYTES: usize = MAX_HANDOFF_BYTES - HANDOFF_BESIDE_MODELS_BYTES;

/// Reads a pool; `None` when there are problems.
pub(super) fn read(
    table: &DeTable<'_>,
    at: usize,
    problems: &mut PoolFileProblems,
) -> Option<PoolSpec> {
    let mut fields = Fields::new(table, at, problems);
    let pool = read_fields(&mut fields);
    fields.finish();
    pool
}

/// Reads every key before it returns, so that all problems are found.
fn read_fields(f: &mut Fields<'_, '_>) -> Option<PoolSpec> {
    let pool_id = f.parsed::<PoolId>("id");
    let pool_id = f.required("id", pool_id, "every pool has a unique name");
    let engine = f.parsed::<EngineKind>("engine");
    let engine = f.required(
        "engine",
        engine,
        "the kind of engine, for example \"llamacpp\" or \"vllm\"",
    );
    let slots = f.number("slots", &(1..=MAX_SLOTS));
    let slots = f.required(
        "slots",
        slots,
        "how many requests the engine serves at once",
    );
    let launch = launch(f, engine.as_ref());
    let replicas = f.number("replicas", &(1..=MAX_REPLICAS));
    let port = port(f, replicas.unwrap_or(1));
    let env = f.map("env").unwrap_or_default();
    if let Some(Launch::Command(argv)) = &launch
        && port.is_none()
        && !argv
            .iter()
            .chain(env.values())
            .any(|text| text.contains(PORT_PLACEHOLDER))
    {
        f.problem(
            "command",
            "a port is chosen for the engine, but nothing passes it on: put {port} into `command` \
             or `env`, or set `port`",
        );
    }
    let models = models(f);
    let device_mask = device_mask(f);
    let api_key_file = api_key_file(f);
    let restart = f.choice(
        "restart",
        &[
            ("always", RestartPolicy::Always),
            ("on-failure", RestartPolicy::OnFailure),
            ("never", RestartPolicy::Never),
        ],
    );
    let on_agent_stop = f.choice(
        "on_agent_stop",
        &[("stop", OnAgentStop::Stop), ("leave", OnAgentStop::Leave)],
    );
    let ready_timeout = seconds(f, "ready_timeout_secs", DEFAULT_READY_TIMEOUT, 1..=MAX_SECS);
    let drain_timeout = seconds(f, "drain_timeout_secs", DEFAULT_DRAIN_TIMEOUT, 0..=MAX_SECS);
    let sleep_after = f.number("sleep_after_secs", &(1..=MAX_SECS));
    let stop_grace = seconds(f, "stop_grace_secs", DEFAULT_STOP_GRACE, 0..=MAX_SECS);
    Some(PoolSpec {
        pool_id: pool_id?,
        engine: engine?,
        launch: launch?,
        slots: slots?,
        models,
        api_key_file,
        device_mask,
        replicas: replicas.unwrap_or(1),
        port,
        env,
        restart: restart.unwrap_or_default(),
        ready_timeout,
        drain_timeout,
        stop_grace,
        on_agent_stop: on_agent_stop.unwrap_or_default(),
        sleep_after: sleep_after.map(u64::from).map(Duration::from_secs),
    })
}

/// Either a command, or the settings of a `llama-server`.
fn launch(f: &mut Fields<'_, '_>, engine: Option<&EngineKind>) -> Option<Launch> {
    const ONLY_WITHOUT_COMMAND: [&str; 5] = ["binary", "model", "context", "threads", "args"];
    let command = f.strings("command");
    let binary = f.string("binary");
    let model = f.string("model");
    let context = f.number("context", &(1..=MAX_CONTEXT));
    let threads = f.number("threads", &(1..=MAX_THREADS));
    let args = f.strings("args").unwrap_or_default();
    if f.has("command") {
        for key in ONLY_WITHOUT_COMMAND {
            if f.has(key) {
                f.problem(key, format!("`{key}` and `command` exclude each other"));
            }
        }
        let command = command?;
        if command.first().is_none_or(String::is_empty) {
            f.problem("command", "`command` must begin with a program");
            return None;
        }
        return Some(Launch::Command(command));
    }
    if engine?.as_str() != LLAMACPP {
        f.problem(
            "command",
            "`command` is missing: only for \"llamacpp\" it is built from `binary` and `model`",
        );
        return None;
    }
    let binary = f.required(
        "binary",
        binary,
        "the llama-server to start, or give a `command`",
    );
    let model = f.required(
        "model",
        model,
        "the GGUF file to serve, or give a `command`",
    );
    let context = f.required("context", context, "how many tokens one request may use");
    Some(Launch::LlamaCpp(LlamaCpp {
        binary: binary?,
        model: model?.into(),
        context: context?,
        threads,
        args,
    }))
}

/// A fixed port; 0 or none chooses a free one.
fn port(f: &mut Fields<'_, '_>, replicas: u32) -> Option<u16> {
    let port = f.number("port", &(0..=u32::from(u16::MAX)))?;
    let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
    if replicas > 1 {
        f.problem(
            "port",
            format!(
                "{replicas} replicas cannot share port {port}: omit `port`, and one is chosen for \
                 each"
            ),
        );
    }
    Some(port)
}

fn models(f: &mut Fields<'_, '_>) -> Vec<ModelName> {
    let listed = f.strings("models").unwrap_or_default();
    let names = listed.iter().filter_map(|name| ModelName::new(name).ok());
    let models: Vec<ModelName> = names.collect();
    if listed.len() > MAX_MODELS || models.len() < listed.len() {
        f.problem(
            "models",
            format!(
                "`models` must be at most {MAX_MODELS} names of 1 to {MAX_MODEL_NAME_BYTES} bytes"
            ),
        );
    } else if models.iter().map(|name| bytes_of_json(name)).sum::<usize>() > MAX_MODELS_BYTES {
        f.problem(
            "models",
            format!(
                "`models` must be at most {MAX_MODELS_BYTES} bytes together, or an engine's \
                 handoff would be too large"
            ),
        );
    }
    models
}

/// The size of a name in JSON: with quotation marks, a comma and escapes.
fn bytes_of_json(name: &str) -> usize {
    name.len()
        + name
            .bytes()
            .filter(|byte| matches!(byte, b'"' | b'\\'))
            .count()
        + 3
}

fn device_mask(f: &mut Fields<'_, '_>) -> Option<Text> {
    let mask = f.string("device_mask")?;
    if mask.len() > MAX_TEXT_BYTES {
        f.problem("device_mask", "`device_mask` is too long");
    } else if let Err(name) = gpu_inventory::cuda_visible_devices(Some(&mask)) {
        f.problem(
            "device_mask",
            format!(
                "`device_mask`: {name:?} is no device; write for example \"GPU0,GPU1\" or \"none\""
            ),
        );
    }
    Text::new(&mask).ok()
}

/// An absolute path, because it stands in handoffs as well.
fn api_key_file(f: &mut Fields<'_, '_>) -> Option<KeyFile> {
    let path = KeyFile::new(&f.string("api_key_file")?).ok();
    if path.is_none() {
        f.problem(
            "api_key_file",
            format!(
                "`api_key_file` must be the absolute path of a file that holds the engine's key, \
                 of at most {MAX_PATH_BYTES} bytes"
            ),
        );
    }
    path
}

fn seconds(
    f: &mut Fields<'_, '_>,
    key: &'static str,
    default: Duration,
    range: RangeInclusive<u32>,
) -> Duration {
    let seconds = f.number(key, &range).map(u64::from);
    seconds.map_or(default, Duration::from_secs)
}
