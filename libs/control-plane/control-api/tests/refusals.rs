//! Every refusal has its code, names what is wrong, and leaves everything as it was.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::sync::Arc;

use axum::body::Body;
use common::{Api, code, heartbeat, message, pool, registration};
use http::Method;
use registry_store::{Change, RegistryStore, StoreError, StoredNode};
use serde_json::{Value, json};

fn edited(mut value: Value, edit: impl FnOnce(&mut Value)) -> String {
    edit(&mut value);
    value.to_string()
}

/// Path, body, status, code, and a piece of the message.
type Case = (&'static str, String, u16, &'static str, &'static str);

fn bad_registrations() -> Vec<Case> {
    let with = |field: &'static str, value: Value| {
        edited(registration("gpu-node-1"), |request| request[field] = value)
    };
    let without = |field: &str| {
        edited(registration("gpu-node-1"), |request| {
            request.as_object_mut().unwrap().remove(field);
        })
    };
    [
        (String::new(), "the body is empty"),
        ("{".to_owned(), "not valid JSON"),
        ("nonsense".to_owned(), "not valid JSON"),
        (format!("{} x", registration("n")), "not valid JSON"),
        ("null".to_owned(), "null"),
        ("{}".to_owned(), "node_id"),
        (without("node_id"), "node_id"),
        (without("machine_id"), "machine_id"),
        (without("address"), "address"),
        (with("node_id", json!("../etc")), "node_id must be"),
        (with("node_id", json!("")), "node_id must be"),
        (with("node_id", json!("a\u{0}b")), "node_id must be"),
        (with("node_id", json!("ünï")), "node_id must be"),
        (with("node_id", json!("x".repeat(129))), "node_id must be"),
        (with("node_id", json!(7)), "node_id"),
        (with("machine_id", json!("a b")), "machine_id must be"),
        (with("address", json!("192.168.1.1:9200")), "address"),
        (with("address", json!("ftp://h:1")), "scheme is not http"),
        (with("address", json!("http://h:0")), "port"),
        (
            with("address", json!(format!("http://h:1/{}", "x".repeat(1000)))),
            "too long",
        ),
        (with("pools", json!(["ok", "not ok"])), "pools[1]"),
        (with("pools", json!("pool-0")), "pools"),
        (with("incarnation", json!(-1)), "incarnation"),
        (with("incarnation", json!("1")), "incarnation"),
        (with("version", json!(["v1"])), "version"),
        (
            with(
                "capabilities",
                json!({"gpus": vec![registration("n")["capabilities"]["gpus"][0].clone(); 5000]}),
            ),
            "gpus must have at most 64 entries, not 5000",
        ),
        (
            with("capabilities", json!({"gpus": [{}]})),
            "capabilities.gpus[0]",
        ),
    ]
    .into_iter()
    .map(|(body, piece)| ("/v2/nodes/register", body, 400, "INVALID_REQUEST", piece))
    .collect()
}

fn bad_heartbeats() -> Vec<Case> {
    let with = |field: &'static str, value: Value| {
        edited(heartbeat(2), |beat| beat["pools"][0][field] = value)
    };
    [
        (String::new(), "the body is empty"),
        ("[".to_owned(), "the body is a list"),
        ("{}".to_owned(), "timestamp"),
        (
            edited(heartbeat(2), |beat| beat["pools"] = json!({})),
            "pools",
        ),
        (format!("{} x", heartbeat(2)), "not valid JSON"),
        (
            edited(heartbeat(2), |beat| beat["pools"] = json!([pool(), pool()])),
            "each pool once",
        ),
        (edited(heartbeat(2), |beat| beat["seq"] = json!(-1)), "seq"),
        (with("pool_id", json!("a/b")), "pool_id must be"),
        (with("ready", json!("yes")), "pools[0].ready"),
        (with("slots_free", json!(5)), "slots_free must be at most"),
        (with("slots_free", json!(-1)), "pools[0].slots_free"),
        (with("slots_total", json!(1e9)), "slots_total"),
        (with("engine", json!("a b")), "engine must be"),
        (with("models_available", json!([""])), "models_available"),
    ]
    .into_iter()
    .map(|(body, piece)| {
        (
            "/v2/nodes/gpu-node-1/heartbeat",
            body,
            400,
            "INVALID_REQUEST",
            piece,
        )
    })
    .collect()
}

fn refused_by_the_registry() -> Vec<Case> {
    let register = "/v2/nodes/register";
    let beat = "/v2/nodes/gpu-node-1/heartbeat";
    let older = |value: Value| edited(value, |value| value["incarnation"] = json!(1));
    let newer = |value: Value| edited(value, |value| value["incarnation"] = json!(u64::MAX));
    let other_machine = edited(registration("gpu-node-1"), |request| {
        request["machine_id"] = json!("machine-beta");
    });
    let empty = String::new;
    vec![
        (
            register,
            older(registration("gpu-node-1")),
            409,
            "STALE_INCARNATION",
            "1763884800123",
        ),
        (
            register,
            other_machine,
            409,
            "NODE_ID_CONFLICT",
            "machine-alpha",
        ),
        (
            beat,
            older(heartbeat(2)),
            409,
            "STALE_INCARNATION",
            "gpu-node-1",
        ),
        (beat, newer(heartbeat(2)), 404, "UNKNOWN_NODE", "gpu-node-1"),
        (
            "/v2/nodes/stranger/heartbeat",
            heartbeat(1).to_string(),
            404,
            "UNKNOWN_NODE",
            "stranger",
        ),
        (
            "/v2/nodes/stranger/drain",
            empty(),
            404,
            "UNKNOWN_NODE",
            "stranger",
        ),
        (
            "/v2/nodes/stranger/undrain",
            empty(),
            404,
            "UNKNOWN_NODE",
            "stranger",
        ),
        (
            "/v2/pools/stranger/pool-0/drain",
            empty(),
            404,
            "UNKNOWN_NODE",
            "stranger",
        ),
        (
            "/v2/pools/gpu-node-1/pool-9/drain",
            empty(),
            404,
            "NOT_FOUND",
            "pool-9",
        ),
        (
            "/v2/pools/gpu-node-1/pool-9/undrain",
            empty(),
            404,
            "NOT_FOUND",
            "pool-9",
        ),
    ]
}

fn bad_ids_and_drains() -> Vec<Case> {
    let beat = || heartbeat(2).to_string();
    let drain = "/v2/nodes/gpu-node-1/drain";
    [
        ("/v2/nodes/a%20b/heartbeat", beat(), "node_id must be"),
        ("/v2/nodes/..%2Fetc/heartbeat", beat(), "node_id must be"),
        ("/v2/nodes/%00/heartbeat", beat(), "node_id must be"),
        ("/v2/nodes/%FF/heartbeat", beat(), "node_id must be"),
        (
            "/v2/nodes/gpu%252dnode-1/drain",
            String::new(),
            "node_id must be",
        ),
        ("/v2/nodes/-a/undrain", String::new(), "node_id must be"),
        (
            "/v2/pools/gpu-node-1/p%20/drain",
            String::new(),
            "pool_id must be",
        ),
        (
            "/v2/pools/_/pool-0/undrain",
            String::new(),
            "node_id must be",
        ),
        (drain, "{".to_owned(), "not valid JSON"),
        (drain, r#"{"deadline_ms":-1}"#.to_owned(), "deadline_ms"),
        (drain, r#"{"deadline_ms":"soon"}"#.to_owned(), "deadline_ms"),
        (
            "/v2/pools/gpu-node-1/pool-0/drain",
            r#"{"deadline_ms":1.5}"#.to_owned(),
            "deadline_ms",
        ),
    ]
    .into_iter()
    .map(|(path, body, piece)| (path, body, 400, "INVALID_REQUEST", piece))
    .collect()
}

// spec: WIRE-5
#[tokio::test(start_paused = true)]
async fn what_is_refused_changes_nothing() {
    let api = Api::cloud();
    api.join("gpu-node-1").await;
    let before = api.state().await;
    let cases = [
        bad_registrations(),
        bad_heartbeats(),
        refused_by_the_registry(),
        bad_ids_and_drains(),
    ];
    for (path, body, status, expected, piece) in cases.concat() {
        let (found, answer) = api.call(Method::POST, path, body.clone()).await;
        assert_eq!(
            (found, code(&answer)),
            (status, expected),
            "{path} {body}: {answer}"
        );
        assert!(message(&answer).contains(piece), "{piece:?} in {answer}");
        assert!(message(&answer).len() < 700, "{answer}");
        assert_eq!(api.state().await, before, "{path} {body}");
    }
}

// spec: WIRE-5
#[tokio::test(start_paused = true)]
async fn a_late_heartbeat_is_answered_and_changes_nothing() {
    let api = Api::cloud();
    api.join("gpu-node-1").await;
    let before = api.state().await;
    let late = edited(heartbeat(1), |beat| beat["pools"] = json!([]));
    let (status, answer) = api
        .call(Method::POST, "/v2/nodes/gpu-node-1/heartbeat", late)
        .await;
    assert_eq!(
        (status, answer),
        (
            200,
            json!({"success": true, "next_heartbeat_ms": 10_000, "timeout_ms": 30_000})
        )
    );
    assert_eq!(api.state().await, before);
}

#[tokio::test(start_paused = true)]
async fn other_methods_refuse_bad_ids_too() {
    let api = Api::cloud();
    api.join("gpu-node-1").await;
    let before = api.state().await;
    for method in [Method::GET, Method::DELETE] {
        for (path, status, expected) in [
            ("/v2/nodes/a%2Fb", 400, "INVALID_REQUEST"),
            ("/v2/nodes/%C3%BC", 400, "INVALID_REQUEST"),
            ("/v2/nodes/stranger", 404, "UNKNOWN_NODE"),
        ] {
            let (found, answer) = api.call(method.clone(), path, Body::empty()).await;
            assert_eq!(
                (found, code(&answer)),
                (status, expected),
                "{method} {path}"
            );
        }
    }
    assert_eq!(api.state().await, before);
}

// spec: REG-10
#[tokio::test(start_paused = true)]
async fn only_the_registered_life_of_a_node_takes_it_back() {
    let api = Api::cloud();
    api.join("gpu-node-1").await;
    let before = api.state().await;
    let leave = |query: &'static str| {
        let api = &api;
        async move {
            let path = format!("/v2/nodes/gpu-node-1{query}");
            let (status, answer) = api.call(Method::DELETE, &path, "").await;
            (status, answer["error"]["code"].as_str().map(str::to_owned))
        }
    };
    for (query, status, expected) in [
        ("?incarnation=1763884800122", 409, "STALE_INCARNATION"),
        ("?x=y&incarnation=1763884800124", 404, "UNKNOWN_NODE"),
        ("?incarnation=-1", 400, "INVALID_REQUEST"),
        ("?incarnation=", 400, "INVALID_REQUEST"),
    ] {
        assert_eq!(
            leave(query).await,
            (status, Some(expected.to_owned())),
            "{query}"
        );
        assert_eq!(api.state().await, before, "{query}");
    }
    assert_eq!(leave("?incarnation=1763884800123").await, (200, None));
    // Operators, and agents of version 0.1.0, do not name one.
    api.join("gpu-node-1").await;
    assert_eq!(leave("?of_a_later_version=1").await, (200, None));
}

// spec: WIRE-14
#[tokio::test(start_paused = true)]
async fn texts_of_drivers_and_engines_are_escaped() {
    let api = Api::cloud();
    let odd = "\u{1b}[31mRTX\n3090\u{9b}2J";
    let mut request = registration("gpu-node-1");
    request["version"] = json!(odd);
    request["capabilities"]["gpus"][0]["name"] = json!(odd);
    assert_eq!(api.post("/v2/nodes/register", request).await.0, 200);
    let mut beat = heartbeat(1);
    for field in ["engine_version", "device_mask", "last_error"] {
        beat["pools"][0][field] = json!(odd);
    }
    beat["gpus"] = json!([{"device_id": 0, "name": odd, "problem": odd}]);
    assert_eq!(
        api.post("/v2/nodes/gpu-node-1/heartbeat", beat).await.0,
        200
    );
    let node = api.get("/v2/nodes/gpu-node-1").await.to_string();
    for control in ["\\u001b", "\u{1b}", "\u{9b}", "\\u009b"] {
        assert!(!node.contains(control), "{node}");
    }
    assert_eq!(node.matches("[31mRTX 3090 2J").count(), 5, "{node}");
}

// spec: DOOR-5
#[tokio::test(start_paused = true)]
async fn a_body_without_end_is_cut_off() {
    let api = Api::cloud();
    let (status, answer) = api
        .call(
            Method::POST,
            "/v2/nodes/register",
            vec![b' '; 5 * 1024 * 1024],
        )
        .await;
    assert_eq!((status, code(&answer)), (413, "PAYLOAD_TOO_LARGE"));
    let (status, answer) = api
        .call(Method::POST, "/v2/nodes/a/drain", vec![b' '; 100 * 1024])
        .await;
    assert_eq!((status, code(&answer)), (413, "PAYLOAD_TOO_LARGE"));
}

// spec: WIRE-7
#[tokio::test(start_paused = true)]
async fn a_node_in_trouble_is_still_heard() {
    let api = Api::cloud();
    api.join("gpu-node-1").await;
    let pools: Vec<Value> = (0..256)
        .map(|i| {
            json!({"pool_id": format!("pool-{i}"), "ready": false, "draining": false,
                "slots_free": 0, "slots_total": 0,
                   "last_error": "x".repeat(8000)})
        })
        .collect();
    let beat = edited(heartbeat(2), |beat| beat["pools"] = json!(pools));
    let (status, _) = api
        .call(Method::POST, "/v2/nodes/gpu-node-1/heartbeat", beat)
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        api.get("/v2/nodes/gpu-node-1").await["pools"]
            .as_array()
            .unwrap()
            .len(),
        256
    );
}

/// A store that fails every write.
#[derive(Debug)]
struct FullDisk;

impl RegistryStore for FullDisk {
    fn load(&self) -> Result<Vec<StoredNode>, StoreError> {
        Ok(Vec::new())
    }

    fn apply(&self, _: &[Change]) -> Result<(), StoreError> {
        Err(StoreError::Failed {
            store: "registry.redb".to_owned(),
            source: "no space left".into(),
        })
    }
}

// spec: KEEP-32
#[tokio::test(start_paused = true)]
async fn a_drain_that_cannot_be_saved_holds_and_is_an_error() {
    let api = Api::with_store(Arc::new(FullDisk), |api| api);
    // Nodes do not wait for the disk.
    api.join("a").await;
    for (path, draining) in [
        ("/v2/nodes/a/drain", true),
        ("/v2/nodes/a/undrain", false),
        ("/v2/pools/a/pool-0/drain", true),
        ("/v2/pools/a/pool-0/undrain", false),
    ] {
        let (status, answer) = api.post(path, json!({})).await;
        assert_eq!((status, code(&answer)), (500, "INTERNAL"), "{answer}");
        let message = message(&answer);
        for part in ["holds now", "registry.redb", "no space left"] {
            assert!(message.contains(part), "{part} is missing in {message}");
        }
        let node = api.get("/v2/nodes/a").await;
        assert_eq!(node["pools"][0]["draining"], draining, "{path}");
    }
}
