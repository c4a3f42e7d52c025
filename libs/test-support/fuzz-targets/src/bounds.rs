//! The bounds of what nodes say, as the wire contract has them, written down a second time; and
//! messages that are the same after they have been written and read.

use std::fmt::Debug;

use pool_registry_types::{
    Gpu, GpuStatus, HttpUrl, MAX_GPUS, MAX_MODEL_NAME_BYTES, MAX_MODELS, MAX_POOLS, MAX_SLOTS,
    ModelName, PoolStatus, RegisterRequest, ReplicaStatus,
};
use serde::{Serialize, de::DeserializeOwned};

/// The longest id.
const MAX_ID_BYTES: usize = 128;
/// The longest version, device mask or other short text.
const MAX_TEXT_BYTES: usize = 256;
/// The longest text of an error.
const MAX_ERROR_BYTES: usize = 8192;
/// The longest URL.
const MAX_URL_BYTES: usize = 1024;
/// The longest refusal that an answer or a log line repeats.
pub(crate) const MAX_REFUSAL_BYTES: usize = 1024;

/// What is written is read as the same value.
pub(crate) fn survives_writing<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let json = serde_json::to_vec(value).expect("a value that can be written");
    let read: T = serde_json::from_slice(&json).expect("a value that is read as it was written");
    assert_eq!(read, *value, "another value came back");
}

/// A refusal does not flood a log, and forges no line of it.
pub(crate) fn refusal(text: &str) {
    assert!(
        text.len() <= MAX_REFUSAL_BYTES,
        "a refusal of {} bytes",
        text.len()
    );
    assert!(
        !text.chars().any(char::is_control),
        "a refusal breaks its line: {text:?}"
    );
}

pub(crate) fn id(id: &str) {
    assert!((1..=MAX_ID_BYTES).contains(&id.len()));
    assert!(id.starts_with(|first: char| first.is_ascii_alphanumeric()));
    assert!(
        id.chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    );
}

pub(crate) fn text(text: Option<&str>) {
    let Some(text) = text else { return };
    assert!(
        text.len() <= MAX_TEXT_BYTES,
        "a text of {} bytes",
        text.len()
    );
    assert!(
        !text.chars().any(char::is_control),
        "a text breaks its line: {text:?}"
    );
}

pub(crate) fn models(models: Option<&Vec<ModelName>>) {
    let Some(models) = models else { return };
    assert!(models.len() <= MAX_MODELS);
    for name in models {
        assert!((1..=MAX_MODEL_NAME_BYTES).contains(&name.len()));
        assert!(!name.chars().any(char::is_control));
    }
}

/// An address is the same when it is read again, and all of its parts are.
pub(crate) fn url(url: &HttpUrl) {
    let text = url.to_string();
    assert!(text.len() <= MAX_URL_BYTES, "a URL of {} bytes", text.len());
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    assert!(!text.contains(['?', '#']), "{text}");
    assert!(!url.authority().as_str().contains('@'), "{text}");
    assert!(!url.host().is_empty() && url.port() != 0, "{text}");
    assert!(url.base_path().is_empty() || url.base_path().starts_with('/'));
    assert!(!url.base_path().ends_with('/'));
    assert_eq!(
        HttpUrl::new(&text).as_ref(),
        Ok(url),
        "another address came back"
    );
}

fn slots(free: u32, total: u32) {
    assert!(free <= total && total <= MAX_SLOTS);
}

fn error(text: Option<&str>) {
    let Some(text) = text else { return };
    assert!(
        text.len() <= MAX_ERROR_BYTES,
        "an error of {} bytes",
        text.len()
    );
    let commands = |c: char| c.is_control() && c != '\n';
    assert!(
        !text.chars().any(commands),
        "an error commands a terminal: {text:?}"
    );
}

fn replica(replica: &ReplicaStatus) {
    id(replica.replica_id.as_str());
    slots(replica.slots_free(), replica.slots_total());
    models(replica.models.as_ref());
    models(replica.load.models_loaded.as_ref());
    error(replica.last_error.as_deref());
}

pub(crate) fn pool(pool: &PoolStatus) {
    id(pool.pool_id.as_str());
    slots(pool.slots_free(), pool.slots_total());
    if let Some(engine) = &pool.engine {
        id(engine.as_str());
    }
    text(pool.engine_version.as_deref());
    text(pool.device_mask.as_deref());
    models(pool.models_available.as_ref());
    error(pool.last_error.as_deref());
    let replicas = pool.replicas.as_deref().unwrap_or_default();
    assert!(replicas.len() <= MAX_POOLS);
    for one in replicas {
        replica(one);
    }
}

pub(crate) fn gpu_status(gpu: &GpuStatus) {
    text(Some(&gpu.name));
    text(gpu.uuid.as_deref());
    text(gpu.driver_version.as_deref());
    text(gpu.compute_capability.as_deref());
    error(gpu.problem.as_deref());
}

fn gpu(gpu: &Gpu) {
    text(Some(&gpu.name));
    text(gpu.compute_capability.as_deref());
}

pub(crate) fn registration(request: &RegisterRequest) {
    id(request.node_id.as_str());
    id(request.machine_id.as_str());
    url(&request.address);
    request.metrics_address.iter().for_each(url);
    assert!(request.pools.len() <= MAX_POOLS);
    request.pools.iter().for_each(|pool| id(pool.as_str()));
    text(request.version.as_deref());
    assert!(request.capabilities.gpus.len() <= MAX_GPUS);
    request.capabilities.gpus.iter().for_each(gpu);
}
