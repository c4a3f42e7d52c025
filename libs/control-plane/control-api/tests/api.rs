//! What the API answers, in both profiles.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use common::{Api, FakeDataPath, JOIN_HINT, call, code, heartbeat, message, pool, registration};
use control_api::QuarantineView;
use http::Method;
use serde_json::{Value, json};

fn filled(path: &str) -> String {
    path.replace("{node_id}", "gpu-node-1")
        .replace("{pool_id}", "pool-0")
        .replace("{replica_id}", "r0")
}

// spec: CLOUD-3012
#[tokio::test(start_paused = true)]
async fn the_documented_exchange() {
    let api = Api::cloud();
    let (status, answer) = api
        .post("/v2/nodes/register", registration("gpu-node-1"))
        .await;
    assert_eq!(
        (status, answer),
        (
            200,
            json!({"success": true, "message": "node gpu-node-1 registered",
                "node_id": "gpu-node-1",
                   "next_heartbeat_ms": 10_000, "timeout_ms": 30_000})
        )
    );
    let (status, answer) = api
        .post("/v2/nodes/gpu-node-1/heartbeat", heartbeat(42))
        .await;
    assert_eq!(
        (status, answer),
        (
            200,
            json!({"success": true, "next_heartbeat_ms": 10_000, "timeout_ms": 30_000})
        )
    );
    tokio::time::advance(Duration::from_millis(1500)).await;
    let mut expected_pool = pool();
    expected_pool["quarantine"] = Value::Null;
    let node = json!({
        "node_id": "gpu-node-1", "machine_id": "machine-alpha",
            "address": "http://192.168.1.100:9200",
        "status": "online", "last_heartbeat_age_ms": 1500, "incarnation": 1_763_884_800_123_u64,
            "version": "0.1.0",
        "capabilities": registration("gpu-node-1")["capabilities"], "pools": [expected_pool],
    });
    assert_eq!(api.get("/v2/nodes").await, json!({"nodes": [node]}));
    assert_eq!(api.get("/v2/nodes/gpu-node-1").await, node);
    let (status, answer) = api
        .call(Method::DELETE, "/v2/nodes/gpu-node-1", Body::empty())
        .await;
    assert_eq!((status, answer), (200, json!({"success": true})));
    assert_eq!(api.get("/v2/nodes").await, json!({"nodes": []}));
}

// spec: WIRE-2
#[tokio::test(start_paused = true)]
async fn the_short_form_works() {
    let api = Api::cloud();
    let short = json!({"node_id": "a", "machine_id": "m", "address": "http://h:1"});
    assert_eq!(api.post("/v2/nodes/register", short).await.0, 200);
    let beat = json!({"timestamp": "t", "pools": []});
    assert_eq!(api.post("/v2/nodes/a/heartbeat", beat).await.0, 200);
    let node = api.get("/v2/nodes/a").await;
    assert_eq!(
        (&node["incarnation"], &node["version"]),
        (&Value::Null, &Value::Null)
    );
}

// spec: GPU-7
#[tokio::test(start_paused = true)]
async fn gpus_of_all_nodes() {
    let api = Api::cloud();
    api.join("b").await;
    api.join("a").await;
    assert_eq!(api.get("/v2/gpus").await, json!({"gpus": []}));
    let gpus = json!([
        {"device_id": 0, "name": "RTX 3090", "vram_free_bytes": 18_000_000_000_u64,
            "power_watts": 250},
        {"device_id": 1, "name": "RTX 3090", "problem": "it needs a reset"},
    ]);
    let beat = json!({"timestamp": "t", "pools": [], "gpus": gpus});
    assert_eq!(api.post("/v2/nodes/b/heartbeat", beat).await.0, 200);
    assert_eq!(api.get("/v2/nodes/b").await["gpus"], gpus);
    let mut listed = gpus.clone();
    for index in [0, 1] {
        listed[index]["node_id"] = json!("b");
    }
    assert_eq!(api.get("/v2/gpus").await, json!({"gpus": listed}));
}

#[tokio::test(start_paused = true)]
async fn pools_and_the_catalog() {
    let api = Api::cloud();
    assert_eq!(
        api.get("/v2/catalog/availability").await,
        json!({"models": []})
    );
    api.join("b").await;
    api.join("a").await;
    let two = json!({"timestamp": "t", "pools": [
        pool(), {"pool_id": "pool-1", "ready": false, "draining": false, "slots_free": 0,
            "slots_total": 0,
                 "models_available": ["tiny", "large"], "last_error": "r0: connection refused"},
    ]});
    assert_eq!(api.post("/v2/nodes/a/heartbeat", two).await.0, 200);
    assert_eq!(
        api.get("/v2/catalog/availability").await,
        json!({"models": [
            {"model": "large", "available": false, "endpoints": 1, "endpoints_ready": 0,
             "slots_free": 0, "slots_total": 0, "nodes": ["a"]},
            {"model": "tiny", "available": true, "endpoints": 3, "endpoints_ready": 2,
             "slots_free": 6, "slots_total": 8, "nodes": ["a", "b"]},
        ]})
    );
    let pools = api.get("/v2/pools").await;
    assert_eq!(
        pools["pools"][1],
        json!({"node_id": "a", "pool_id": "pool-1", "ready": false, "draining": false,
               "unavailable": "no replica ready: r0: connection refused", "slots_free": 0,
                   "slots_total": 0,
               "vram_free_bytes": 0, "models_available": ["large", "tiny"], "quarantine": null})
    );
    assert_eq!(pools["pools"][2]["node_id"], "b");
    assert_eq!(pools["pools"][2]["ready"], true);
}

// spec: LIVE-9
#[tokio::test(start_paused = true)]
async fn drains_with_progress_and_undo() {
    let api = Api::cloud();
    api.join("a").await;
    for (path, body) in [
        ("/v2/nodes/a/drain", r#"{"deadline_ms":60000}"#),
        ("/v2/pools/a/pool-0/drain", " \n"),
    ] {
        let (status, _) = api.call(Method::POST, path, body).await;
        assert_eq!(status, 200, "{path}");
    }
    // Each drain was answered when it was saved, so some time has passed already.
    let before = api.get("/v2/nodes/a").await;
    let for_ms = |drain: &serde_json::Value| drain["for_ms"].as_u64().unwrap();
    let (node_for, pool_for) = (
        for_ms(&before["drain"]) + 1000,
        for_ms(&before["pools"][0]["drain"]) + 1000,
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    let node = api.get("/v2/nodes/a").await;
    assert_eq!(node["status"], "draining");
    assert_eq!(
        node["drain"],
        json!({"for_ms": node_for, "deadline_ms": 60_000 - node_for, "slots_busy": 1})
    );
    let pool = &node["pools"][0];
    assert_eq!(pool["draining"], true);
    assert_eq!(
        pool["drain"],
        json!({"for_ms": pool_for, "deadline_ms": null, "slots_busy": 1})
    );
    assert_eq!(api.get("/v2/pools").await["pools"][0]["draining"], true);
    for path in ["/v2/nodes/a/undrain", "/v2/pools/a/pool-0/undrain"] {
        assert_eq!(api.call(Method::POST, path, Body::empty()).await.0, 200);
    }
    let node = api.get("/v2/nodes/a").await;
    assert_eq!(
        (&node["status"], &node["pools"][0]["draining"]),
        (&json!("online"), &json!(false))
    );
    assert_eq!(api.get("/v2/pools").await["pools"][0]["ready"], true);
}

// spec: LIVE-13
#[tokio::test(start_paused = true)]
async fn requests_that_run_are_counted_as_they_are_asked_for() {
    let api = Api::cloud();
    api.join("a").await;
    let two = json!({"timestamp": "t", "pools": [pool(), {"pool_id": "pool-1", "ready": true,
        "draining": false,
        "slots_free": 4, "slots_total": 4}]});
    assert_eq!(api.post("/v2/nodes/a/heartbeat", two).await.0, 200);
    // Without a data path there is no number.
    assert_eq!(
        api.get("/v2/pools").await["pools"][0].get("requests_running"),
        None
    );
    let count = Arc::new(AtomicU64::new(2));
    let counted = count.clone();
    let data_path = FakeDataPath::default().with_running(move |key| {
        (key.pool.as_str() == "pool-0").then(|| counted.load(Ordering::Relaxed))
    });
    let router = api.rewired(|api| api.with_data_path(Arc::new(data_path)));
    let ask = async |method: Method, path: &str| call(&router, method, path, Body::empty()).await.1;
    assert_eq!(
        ask(Method::POST, "/v2/pools/a/pool-0/drain").await,
        json!({"success": true, "requests_running": 2})
    );
    // The sum is unknown when one part is.
    assert_eq!(
        ask(Method::POST, "/v2/nodes/a/drain").await,
        json!({"success": true})
    );
    for left in [1_u64, 0] {
        count.store(left, Ordering::Relaxed);
        let node = ask(Method::GET, "/v2/nodes/a").await;
        assert_eq!(node["pools"][0]["requests_running"], left);
        assert_eq!(node["pools"][0]["drain"]["requests_running"], left);
        assert_eq!(node["pools"][1].get("requests_running"), None);
        assert_eq!(node["drain"].get("requests_running"), None);
        assert_eq!(
            ask(Method::GET, "/v2/nodes").await["nodes"][0]["pools"],
            node["pools"]
        );
        assert_eq!(
            ask(Method::GET, "/v2/pools").await["pools"][0]["requests_running"],
            left
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_falls_silent() {
    let api = Api::cloud();
    api.join("a").await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    let node = api.get("/v2/nodes/a").await;
    assert_eq!(
        (&node["status"], &node["status_reason"]),
        (&json!("offline"), &json!("node offline for 30 s"))
    );
    assert_eq!(node["pools"][0]["unavailable"], "node offline for 30 s");
    assert_eq!(
        api.get("/v2/catalog/availability").await["models"][0]["available"],
        false
    );
}

#[tokio::test(start_paused = true)]
async fn quarantines_are_shown_where_they_are() {
    let api = Api::cloud();
    api.join("a").await;
    api.join("b").await;
    let data_path = FakeDataPath::default().with_quarantine(|key| {
        (key.node.as_str() == "b").then(|| QuarantineView {
            reason: "connection refused".to_owned(),
            retry_in_ms: 1000,
        })
    });
    let router = api.rewired(|api| api.with_data_path(Arc::new(data_path)));
    let expected = json!({"reason": "connection refused", "retry_in_ms": 1000});
    for (path, a, b) in [
        ("/v2/nodes", "/nodes/0/pools/0", "/nodes/1/pools/0"),
        ("/v2/pools", "/pools/0", "/pools/1"),
    ] {
        let (_, answer) = call(&router, Method::GET, path, Body::empty()).await;
        let quarantine = |place: &str| answer.pointer(place).unwrap()["quarantine"].clone();
        assert_eq!(
            (quarantine(a), quarantine(b)),
            (Value::Null, expected.clone())
        );
    }
}

// spec: CLOUD-12002, SEE-34
#[tokio::test(start_paused = true)]
async fn at_home_everything_works_but_to_join_over_http() {
    let api = Api::home();
    for (method, path) in Api::mounted() {
        let joins = path == "/v2/nodes/register"
            || path.ends_with("/heartbeat")
            || method == Method::DELETE;
        let path = filled(path).replace("gpu-node-1", "home");
        let body = if joins { "not json" } else { "" };
        let (status, answer) = api.call(method.clone(), &path, body).await;
        if joins {
            assert_eq!(
                (status, code(&answer)),
                (503, "CLOUD_PROFILE_DISABLED"),
                "{path}"
            );
            assert!(message(&answer).ends_with(JOIN_HINT));
        } else if path.contains("/replicas/")
            || path.ends_with("/restart")
            || path.ends_with("/reload")
        {
            // This API has no way to nodes.
            assert_eq!((status, code(&answer)), (503, "NODE_UNAVAILABLE"), "{path}");
        } else {
            assert_eq!(status, 200, "{method} {path}: {answer}");
        }
    }
}

// spec: SEE-34
#[tokio::test(start_paused = true)]
async fn at_home_a_node_is_shown_and_drained_as_in_the_cloud() {
    let (home, cloud) = (Api::home(), Api::cloud());
    cloud.join("home").await;
    for path in [
        "/v2/nodes",
        "/v2/nodes/home",
        "/v2/pools",
        "/v2/gpus",
        "/v2/catalog/availability",
    ] {
        assert_eq!(home.get(path).await, cloud.get(path).await, "{path}");
    }
    for api in [&home, &cloud] {
        for path in ["/v2/nodes/home/drain", "/v2/pools/home/pool-0/drain"] {
            assert_eq!(
                api.post(path, json!({"deadline_ms": 1000})).await.0,
                200,
                "{path}"
            );
        }
        assert_eq!(api.get("/v2/nodes/home").await["status"], "draining");
    }
    // The two drains began one after the other: each answer waits until the drain is saved.
    let [home, cloud] = [home.get("/v2/nodes").await, cloud.get("/v2/nodes").await];
    let [home, cloud] = [home, cloud].map(|mut nodes| {
        let node = &mut nodes["nodes"][0];
        for drain in ["/drain", "/pools/0/drain"] {
            let drain = node.pointer_mut(drain).unwrap().as_object_mut().unwrap();
            assert!(drain.remove("for_ms").is_some() && drain.remove("deadline_ms").is_some());
        }
        nodes
    });
    assert_eq!(home, cloud);
}

// spec: WIRE-8
#[tokio::test(start_paused = true)]
async fn every_listed_route_exists_and_takes_no_other_method() {
    let api = Api::cloud();
    api.join("gpu-node-1").await;
    for (method, path) in Api::mounted() {
        let path = filled(path);
        let (_, answer) = api.call(method.clone(), &path, "").await;
        if answer.get("error").is_some() {
            assert!(
                !message(&answer).contains("no such route"),
                "{method} {path}"
            );
            assert_ne!(code(&answer), "METHOD_NOT_ALLOWED", "{method} {path}");
        }
        for other in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
        ] {
            let listed = Api::mounted()
                .into_iter()
                .any(|(method, listed)| method == other && filled(listed) == path);
            // POST /v2/nodes/register also matches /v2/nodes/{node_id}, whose methods are others.
            if listed || path == "/v2/nodes/register" {
                continue;
            }
            let response = api.raw(other.clone(), &path, "").await;
            assert_eq!(response.status(), 405, "{other} {path}");
            assert!(response.headers().contains_key(http::header::ALLOW));
        }
    }
    for path in [
        "/v2",
        "/v2/node",
        "/v2/nodes/a/b",
        "/v2/nodes/",
        "/v2/pools/a",
        "/",
    ] {
        let (status, answer) = api.call(Method::GET, path, "").await;
        assert_eq!((status, code(&answer)), (404, "NOT_FOUND"), "{path}");
    }
}
