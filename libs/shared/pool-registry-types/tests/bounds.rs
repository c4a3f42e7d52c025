//! The limits of messages, for the reader and the writer.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use pool_registry_types::{
    Capabilities, ErrorText, Gpu, GpuStatus, HeartbeatRequest, ModelName, PoolStatus,
    RegisterRequest, ReplicaStatus, Slots, Text,
    limits::{
        LIMITS, MAX_ERROR_BYTES, MAX_GPUS, MAX_ID_BYTES, MAX_MODEL_NAME_BYTES, MAX_MODELS,
        MAX_NODE_BODY_BYTES, MAX_POOLS, MAX_REPLICAS, MAX_SLOTS, MAX_TEXT_BYTES, MAX_URL_BYTES,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| error.to_string())
}

fn register(capabilities: &Value) -> Value {
    json!({
        "node_id": "n", "machine_id": "m", "address": "http://h:1",
        "capabilities": capabilities,
    })
}

fn gpu(name: &str) -> Value {
    json!({"device_id": 0, "name": name, "vram_total_bytes": 1})
}

fn pool(field: &str, value: &Value) -> Value {
    let mut pool = json!({
        "pool_id": "p", "ready": true, "draining": false, "slots_free": 0, "slots_total": 0,
    });
    pool[field] = value.clone();
    pool
}

fn heartbeat(pools: &Value) -> Value {
    json!({"timestamp": "t", "pools": pools})
}

// spec: WIRE-15
#[test]
fn an_error_about_a_long_list_names_it_and_its_limit() {
    let names = |count: usize| json!((0..count).map(|i| format!("m{i}")).collect::<Vec<_>>());
    let many = |entry: Value, count: usize| Value::from(vec![entry; count]);
    let as_register = |value: &Value| parse::<RegisterRequest>(value).map(|_| ());
    let as_heartbeat = |value: &Value| parse::<HeartbeatRequest>(value).map(|_| ());
    // Each entry has an id of its own.
    let numbered = |mut entry: Value, field: &str, id: Value| {
        entry[field] = id;
        entry
    };
    let gpus = |count: usize| {
        let gpu = |i| numbered(gpu("x"), "device_id", json!(i));
        register(&json!({"gpus": (0..count).map(gpu).collect::<Vec<_>>()}))
    };
    assert_eq!(as_register(&gpus(MAX_GPUS)), Ok(()));
    let replicas = |count: usize| {
        let replica = json!({"ready": true, "slots_free": 0, "slots_total": 0});
        let replica = |i| numbered(replica.clone(), "replica_id", json!(format!("r{i}")));
        let replicas: Vec<_> = (0..count).map(replica).collect();
        heartbeat(&json!([pool("replicas", &json!(replicas))]))
    };
    assert_eq!(as_heartbeat(&replicas(MAX_REPLICAS)), Ok(()));
    let models = |count| heartbeat(&json!([pool("models_available", &names(count))]));
    assert_eq!(as_heartbeat(&models(MAX_MODELS)), Ok(()));
    for (refused, expected) in [
        (
            as_register(&gpus(5000)),
            "gpus must have at most 64 entries, not 5000",
        ),
        (
            as_heartbeat(&replicas(300)),
            "replicas must have at most 256 entries, not 300",
        ),
        (
            as_heartbeat(&models(1025)),
            "models_available must name at most 1024 models, not 1025",
        ),
        (
            as_heartbeat(&heartbeat(&many(pool("ready", &json!(true)), 257))),
            "pools must have at most 256 entries, not 257",
        ),
    ] {
        let error = refused.unwrap_err();
        assert!(
            error.contains(expected),
            "expected {expected:?} in {error:?}"
        );
    }
}

// spec: WIRE-14
#[test]
fn a_text_for_people_is_cleaned() {
    let odd = format!("\u{1b}[31mRTX\n3090\u{9b}2J{}", "x".repeat(500));
    let request: RegisterRequest = parse(&register(&json!({"gpus": [gpu(&odd)]}))).unwrap();
    let name = &request.capabilities.gpus[0].name;
    assert!(name.starts_with("[31mRTX 3090 2Jx"), "{name:?}");
    assert!(name.len() <= MAX_TEXT_BYTES && !name.chars().any(char::is_control));
    let mut odd_pool = pool("engine_version", &json!(odd));
    odd_pool["device_mask"] = json!(odd);
    odd_pool["last_error"] = json!("first\u{1b}[2J\nsecond\u{7}");
    let mut beat = heartbeat(&json!([odd_pool]));
    beat["timestamp"] = json!(odd);
    beat["gpus"] = json!([{"device_id": 0, "name": odd, "uuid": odd, "driver_version": odd,
                           "compute_capability": odd, "problem": odd}]);
    let beat: HeartbeatRequest = parse(&beat).unwrap();
    assert_eq!(
        beat.pools[0].last_error.as_deref(),
        Some("first [2J\nsecond")
    );
    let gpu = &beat.gpus.as_ref().unwrap()[0];
    let (version, mask) = (&beat.pools[0].engine_version, &beat.pools[0].device_mask);
    for text in [
        version,
        mask,
        &gpu.uuid,
        &gpu.driver_version,
        &gpu.compute_capability,
    ] {
        assert_eq!(text.as_ref(), Some(name));
    }
    assert_eq!((&beat.timestamp, &gpu.name), (name, name));
    assert!(
        gpu.problem
            .as_ref()
            .unwrap()
            .chars()
            .all(|c| c == '\n' || !c.is_control())
    );
}

// spec: WIRE-16
#[test]
fn the_largest_registration_fits_the_body_of_one() {
    // A quotation mark takes the most JSON bytes of all characters that a clean text may hold.
    let text = Text::new(&"\"".repeat(MAX_TEXT_BYTES)).unwrap();
    let id = "i".repeat(MAX_ID_BYTES);
    let base = "http://h/";
    let url = format!("{base}{}", "u".repeat(MAX_URL_BYTES - base.len()));
    let mut request = RegisterRequest::new(
        id.parse().unwrap(),
        id.parse().unwrap(),
        url.parse().unwrap(),
    );
    request.pools = vec![id.parse().unwrap(); MAX_POOLS];
    let gpu = |device_id| {
        let mut gpu = Gpu::new(device_id, text.clone(), u64::MAX);
        gpu.compute_capability = Some(text.clone());
        gpu
    };
    let gpus = (0..=u32::MAX).rev().take(MAX_GPUS).map(gpu).collect();
    request.capabilities = Capabilities::new(gpus, u32::MAX, u64::MAX);
    request.version = Some(text);
    request.incarnation = Some(u64::MAX);
    request.metrics_address = Some(url.parse().unwrap());
    request.takes_replica_hint = true;
    let body = serde_json::to_vec(&request).unwrap();
    assert!(body.len() <= MAX_NODE_BODY_BYTES / 16, "{}", body.len());
    assert_eq!(
        serde_json::from_slice::<RegisterRequest>(&body).unwrap(),
        request
    );
}

/// Any text, sometimes too long or with forbidden characters.
fn wild() -> impl Strategy<Value = String> {
    prop_oneof![
        "(?s).{0,8}",
        "[\\x00-\\x20\\x7f-\\x9f\"]{0,8}",
        Just("ü\n".repeat(MAX_TEXT_BYTES)),
        Just("e\u{1b}".repeat(MAX_ERROR_BYTES)),
        Just("m".repeat(MAX_MODEL_NAME_BYTES + 1)),
    ]
}

fn wild_models() -> impl Strategy<Value = Option<Vec<ModelName>>> {
    let name = |i| format!("m{i}").parse().unwrap();
    let many = (0..3_usize).prop_map(move |i| (0..i * MAX_MODELS).map(name).collect());
    let few = prop::collection::vec(wild(), 0..4);
    let few = few.prop_map(|names| names.iter().filter_map(|name| name.parse().ok()).collect());
    prop::option::of(prop_oneof![few, many])
}

prop_compose! {
    fn wild_replica()(
        id in 0..3, slots in (any::<u32>(), any::<u32>()), models in wild_models(),
        loaded in wild_models(),
        last_error in prop::option::of(wild()),
    ) -> ReplicaStatus {
        let mut replica = ReplicaStatus::new(format!("r{id}").parse().unwrap())
            .with_slots(Slots::clamped(slots.0, slots.1));
        replica.models = models;
        replica.last_error = last_error.as_deref().map(ErrorText::cut);
        replica.load.models_loaded = loaded;
        replica
    }
}

/// The replica under another id.
fn numbered(replica: &ReplicaStatus, number: usize) -> ReplicaStatus {
    let mut replica = replica.clone();
    replica.replica_id = format!("r{number}").parse().unwrap();
    replica
}

prop_compose! {
    fn wild_pool()(
        id in 0..3, slots in (any::<u32>(), any::<u32>()),
        texts in prop::array::uniform3(prop::option::of(wild())),
        models_available in wild_models(),
        replicas in prop::option::of(prop::collection::vec(wild_replica(), 0..3)),
        copies in 1..300_usize,
    ) -> PoolStatus {
        let [engine_version, last_error, device_mask] = &texts;
        let mut status = PoolStatus::new(format!("p{id}").parse().unwrap())
            .with_slots(Slots::clamped(slots.0, slots.1));
        status.ready = true;
        status.vram_free_bytes = u64::MAX;
        status.engine_version = engine_version.as_deref().map(Text::cut);
        status.models_available = models_available;
        status.last_error = last_error.as_deref().map(ErrorText::cut);
        status.device_mask = device_mask.as_deref().map(Text::cut);
        status.replicas = replicas.map(|replicas| match replicas.first() {
            Some(one) if one.models.is_none() => (0..copies).map(|i| numbered(one, i)).collect(),
            _ => replicas,
        });
        status
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // spec: WIRE-17
    #[test]
    fn a_bounded_report_is_always_accepted(
        pools in prop::collection::vec(wild_pool(), 0..5), many in any::<bool>(),
        gpus in prop::option::of(prop::collection::vec(prop::array::uniform5(wild()), 0..70)),
        timestamp in wild(),
    ) {
        let mut pools = pools;
        if many {
            let more = (0..MAX_POOLS + 9)
                .map(|i| parse(&pool("pool_id", &json!(format!("more{i}")))).unwrap());
            pools.extend(more);
        }
        let gpu = |(id, [name, uuid, driver, compute, problem]): (u32, [String; 5])| {
            // The last ids repeat earlier ones.
            let text = |text: &String| Some(Text::cut(text));
            let mut gpu = GpuStatus::new(id % 66, Text::cut(&name));
            gpu.uuid = text(&uuid);
            gpu.driver_version = text(&driver);
            gpu.compute_capability = text(&compute);
            gpu.problem = Some(ErrorText::cut(&problem));
            gpu
        };
        let gpus = gpus.map(|gpus| (0..).zip(gpus).map(gpu).collect());
        let mut request = HeartbeatRequest::new(Text::cut(&timestamp), pools);
        request.incarnation = Some(1);
        request.seq = Some(1);
        request.gpus = gpus;
        request.bound();
        for pool in &request.pools {
            prop_assert!(pool.slots_free() <= pool.slots_total());
            prop_assert!(pool.slots_total() <= MAX_SLOTS);
        }
        let body = serde_json::to_vec(&request).unwrap();
        let read: HeartbeatRequest = serde_json::from_slice(&body)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(read, request);
    }
}

#[test]
fn the_table_holds_the_constants() {
    let value = |name: &str| {
        LIMITS
            .iter()
            .find(|limit| limit.name == name)
            .map(|limit| limit.value)
    };
    assert_eq!(value("MAX_GPUS"), Some(MAX_GPUS as u64));
    assert_eq!(
        value("MAX_NODE_BODY_BYTES"),
        Some(MAX_NODE_BODY_BYTES as u64)
    );
}
