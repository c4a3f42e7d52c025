//! What a message may hold at most, on the side that reads it and on the side that writes it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use pool_registry_types::{
    Capabilities, EngineLoad, Gpu, GpuStatus, HeartbeatRequest, PoolStatus, RegisterRequest,
    ReplicaStatus,
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
    json!({"node_id": "n", "machine_id": "m", "address": "http://h:1", "capabilities": capabilities})
}

fn gpu(name: &str) -> Value {
    json!({"device_id": 0, "name": name, "vram_total_bytes": 1})
}

fn pool(field: &str, value: &Value) -> Value {
    let mut pool = json!({"pool_id": "p", "ready": true, "draining": false, "slots_free": 0, "slots_total": 0});
    pool[field] = value.clone();
    pool
}

fn heartbeat(pools: &Value) -> Value {
    json!({"timestamp": "t", "pools": pools})
}

// spec: WIRE-15
#[test]
fn a_list_beyond_its_bound_is_refused_with_its_name_the_bound_and_what_came() {
    let replica = json!({"replica_id": "r", "ready": true, "slots_free": 0, "slots_total": 0});
    let names = |count: usize| json!((0..count).map(|i| format!("m{i}")).collect::<Vec<_>>());
    let many = |entry: Value, count: usize| Value::from(vec![entry; count]);
    let as_register = |value: &Value| parse::<RegisterRequest>(value).map(|_| ());
    let as_heartbeat = |value: &Value| parse::<HeartbeatRequest>(value).map(|_| ());
    let gpus = |count| register(&json!({"gpus": many(gpu("x"), count)}));
    assert_eq!(as_register(&gpus(MAX_GPUS)), Ok(()));
    let replicas = |count| heartbeat(&json!([pool("replicas", &many(replica.clone(), count))]));
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
fn a_text_for_people_is_cleaned_and_not_refused() {
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
    // A quotation mark is the longest that a clean text can be in JSON, for its bytes.
    let text = "\"".repeat(MAX_TEXT_BYTES);
    let id = "i".repeat(MAX_ID_BYTES);
    let base = "http://h/";
    let url = format!("{base}{}", "u".repeat(MAX_URL_BYTES - base.len()));
    let request = RegisterRequest {
        node_id: id.parse().unwrap(),
        machine_id: id.parse().unwrap(),
        address: url.parse().unwrap(),
        pools: vec![id.parse().unwrap(); MAX_POOLS],
        capabilities: Capabilities {
            gpus: vec![
                Gpu {
                    device_id: u32::MAX,
                    name: text.clone(),
                    vram_total_bytes: u64::MAX,
                    compute_capability: Some(text.clone()),
                };
                MAX_GPUS
            ],
            cpu_cores: u32::MAX,
            ram_total_bytes: u64::MAX,
        },
        version: Some(text),
        incarnation: Some(u64::MAX),
        metrics_address: Some(url.parse().unwrap()),
        takes_replica_hint: true,
    };
    let body = serde_json::to_vec(&request).unwrap();
    assert!(body.len() <= MAX_NODE_BODY_BYTES / 16, "{}", body.len());
    assert_eq!(
        serde_json::from_slice::<RegisterRequest>(&body).unwrap(),
        request
    );
}

/// Any text, some of them too long and with characters that have no place in it.
fn wild() -> impl Strategy<Value = String> {
    prop_oneof![
        "(?s).{0,8}",
        "[\\x00-\\x20\\x7f-\\x9f\"]{0,8}",
        Just("ü\n".repeat(MAX_TEXT_BYTES)),
        Just("e\u{1b}".repeat(MAX_ERROR_BYTES)),
        Just("m".repeat(MAX_MODEL_NAME_BYTES + 1)),
    ]
}

fn wild_models() -> impl Strategy<Value = Option<Vec<String>>> {
    let many = (0..3_usize).prop_map(|i| (0..i * MAX_MODELS).map(|i| format!("m{i}")).collect());
    prop::option::of(prop_oneof![prop::collection::vec(wild(), 0..4), many])
}

prop_compose! {
    fn wild_replica()(
        slots in (any::<u32>(), any::<u32>()), models in wild_models(), loaded in wild_models(),
        last_error in prop::option::of(wild()),
    ) -> ReplicaStatus {
        ReplicaStatus {
            slots_free: slots.0, slots_total: slots.1, models, last_error,
            load: EngineLoad { models_loaded: loaded, ..EngineLoad::default() },
            ..ReplicaStatus::new("r".parse().unwrap())
        }
    }
}

prop_compose! {
    fn wild_pool()(
        id in 0..3, slots in (any::<u32>(), any::<u32>()), texts in prop::array::uniform3(prop::option::of(wild())),
        models_available in wild_models(),
        replicas in prop::option::of(prop::collection::vec(wild_replica(), 0..3)), copies in 1..300_usize,
    ) -> PoolStatus {
        let [engine_version, last_error, device_mask] = texts;
        PoolStatus {
            pool_id: format!("p{id}").parse().unwrap(), ready: true, draining: false,
            slots_free: slots.0, slots_total: slots.1, vram_free_bytes: u64::MAX, engine: None,
            engine_version, models_available, last_error, device_mask, sleeping: false,
            replicas: replicas.map(|replicas| match replicas.first() {
                Some(one) if one.models.is_none() => vec![one.clone(); copies],
                _ => replicas,
            }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // spec: WIRE-17
    #[test]
    fn whatever_a_node_reports_is_taken_once_it_is_bounded(
        pools in prop::collection::vec(wild_pool(), 0..5), many in any::<bool>(),
        gpus in prop::option::of(prop::collection::vec(prop::array::uniform5(wild()), 0..70)), timestamp in wild(),
    ) {
        let mut pools = pools;
        if many {
            let more = (0..MAX_POOLS + 9).map(|i| parse(&pool("pool_id", &json!(format!("more{i}")))).unwrap());
            pools.extend(more);
        }
        let gpus = gpus.map(|gpus| gpus.into_iter().map(|[name, uuid, driver, compute, problem]| GpuStatus {
            name, uuid: Some(uuid), driver_version: Some(driver), compute_capability: Some(compute),
            problem: Some(problem), ..GpuStatus::default()
        }).collect());
        let mut request = HeartbeatRequest { timestamp, pools, incarnation: Some(1), seq: Some(1), gpus };
        request.bound();
        for pool in &request.pools {
            prop_assert!(pool.slots_free <= pool.slots_total && pool.slots_total <= MAX_SLOTS);
        }
        let body = serde_json::to_vec(&request).unwrap();
        let read: HeartbeatRequest = serde_json::from_slice(&body).map_err(|error| TestCaseError::fail(error.to_string()))?;
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
