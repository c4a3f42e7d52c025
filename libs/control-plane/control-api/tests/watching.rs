//! What people who watch see: the status and the events.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, body::Body};
use common::{Api, FakeDataPath, code, message, registration};
use control_api::{
    DataPathView, ModelLoad, PercentilesAnswer, RecentErrorAnswer, SlotCounts, TrafficAnswer,
};
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

// spec: SEE-1
#[tokio::test(start_paused = true)]
async fn the_status_shows_what_the_data_path_tells() {
    let api = Api::cloud();
    api.join("gpu-node-1").await;
    let view = DataPathView {
        slots: SlotCounts { total: 4, free: 1 },
        models: BTreeMap::from([
            (
                "tiny".to_owned(),
                ModelLoad {
                    endpoints: 1,
                    slots_total: 4,
                    slots_free: 1,
                    running: 3,
                    queued_interactive: 2,
                    queued_batch: 1,
                },
            ),
            (
                "awaited".to_owned(),
                ModelLoad {
                    queued_interactive: 1,
                    ..ModelLoad::default()
                },
            ),
        ]),
        traffic: TrafficAnswer {
            window_ms: 10_000,
            requests_per_s: 1.5,
            first_token_ms: PercentilesAnswer {
                p50: Some(20.0),
                p90: Some(30.0),
                p99: Some(40.0),
            },
            ..TrafficAnswer::default()
        },
        recent_errors: vec![RecentErrorAnswer {
            at: "2026-01-02T03:04:05.006Z".to_owned(),
            request_id: "r1".to_owned(),
            code: "WORKER_RESET",
            message: "broke off".to_owned(),
            model: Some("tiny".to_owned()),
            node_id: None,
        }],
    };
    let router = api.rewired(|api| {
        api.with_version("9.9.9")
            .with_data_path(Arc::new(FakeDataPath::default().with_view(view)))
    });
    let request = Request::get("/v2/status").body(Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let mut status: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(status["uptime_ms"].is_u64());
    assert!(status["now"].as_str().unwrap().ends_with('Z'));
    let status = status.as_object_mut().unwrap();
    status.remove("uptime_ms");
    status.remove("now");
    let nothing = json!({"p50": null, "p90": null, "p99": null});
    assert_eq!(
        json!(status),
        json!({
            "version": "9.9.9", "profile": "cloud",
            "nodes": {"online": 1, "draining": 0, "unreachable": 0, "offline": 0},
            "slots": {"total": 4, "free": 1},
            "models": [
                {"model": "awaited", "endpoints": 0, "slots_total": 0, "slots_free": 0,
                 "running": 0, "queued_interactive": 1, "queued_batch": 0},
                {"model": "tiny", "endpoints": 1, "slots_total": 4, "slots_free": 1,
                 "running": 3, "queued_interactive": 2, "queued_batch": 1},
            ],
            "traffic": {"window_ms": 10000, "requests_per_s": 1.5, "errors_per_s": 0.0,
                "tokens_per_s": 0.0,
                "first_token_ms": {"p50": 20.0, "p90": 30.0, "p99": 40.0},
                    "inter_token_ms": nothing, "queue_ms": nothing},
            "recent_errors": [{"at": "2026-01-02T03:04:05.006Z", "request_id": "r1",
                "code": "WORKER_RESET",
                "message": "broke off", "model": "tiny", "node_id": null}],
        })
    );
}

// spec: SEE-1
#[tokio::test(start_paused = true)]
async fn at_home_this_machine_is_the_one_node() {
    let status = Api::home().get("/v2/status").await;
    assert_eq!(
        (&status["profile"], &status["nodes"]["online"]),
        (&json!("home"), &json!(1))
    );
}

// spec: SEE-5
#[tokio::test(start_paused = true)]
async fn what_happens_to_a_node_is_told() {
    let api = Api::cloud();
    api.join("gpu-node-1").await;
    api.post("/v2/nodes/gpu-node-1/drain", json!({})).await;
    api.post("/v2/pools/gpu-node-1/pool-0/drain", json!({}))
        .await;
    api.post("/v2/nodes/gpu-node-1/undrain", json!({})).await;
    api.call(Method::DELETE, "/v2/nodes/gpu-node-1", "").await;
    let all = api.get("/v2/events").await;
    let events = all["events"].as_array().unwrap();
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "node_joined",
            "pool_ready",
            "node_drained",
            "pool_drained",
            "node_undrained",
            "node_left"
        ]
    );
    assert!(events.iter().all(|event| event["node_id"] == "gpu-node-1"));
    assert_eq!(
        (&events[1]["pool_id"], &events[1]["message"]),
        (&json!("pool-0"), &json!("4 slots for tiny"))
    );

    let last_two = api.get("/v2/events?limit=2").await;
    assert_eq!(last_two["events"].as_array().unwrap()[..], events[4..]);
    let after = events[1]["id"].as_u64().unwrap();
    let next_two = api.get(&format!("/v2/events?after={after}&limit=2")).await;
    assert_eq!(next_two["events"].as_array().unwrap()[..], events[2..4]);
}

async fn follow(api: &Api, path: &str, last: &str) -> axum::http::Response<Body> {
    let request = Request::get(path)
        .header(header::ACCEPT, "text/event-stream")
        .header("last-event-id", last)
        .body(Body::empty())
        .unwrap();
    api.router.clone().oneshot(request).await.unwrap()
}

// spec: SEE-3
#[tokio::test(start_paused = true)]
async fn events_are_followed_and_resumed() {
    let api = Api::cloud();
    api.join("gpu-node-1").await;
    let first = api.get("/v2/events").await["events"][0]["id"].to_string();
    let mut stream = follow(&api, "/v2/events", &first).await;
    assert_eq!(stream.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut next = async || {
        let frame = stream.body_mut().frame().await?;
        Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
    };
    let event = next().await.unwrap();
    assert!(
        event.contains("\nevent: pool_ready\ndata: {\"id\":"),
        "{event}"
    );
    assert_eq!(
        next().await.unwrap(),
        ":\n\n",
        "nothing happens for a while"
    );
    api.post("/v2/nodes/gpu-node-1/drain", json!({})).await;
    assert!(next().await.unwrap().contains("node_drained"));
    api.events.close();
    assert_eq!(next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_question_is_named() {
    let api = Api::cloud();
    for (path, field) in [
        ("/v2/events?limit=0", "limit"),
        ("/v2/events?after=x", "after"),
    ] {
        let (status, answer) = api.call(Method::GET, path, "").await;
        assert_eq!((status, code(&answer)), (400, "INVALID_REQUEST"));
        assert!(message(&answer).starts_with(field), "{answer}");
    }
    assert_eq!(follow(&api, "/v2/events", "x").await.status(), 400);
}

// spec: SEE-13
#[tokio::test(start_paused = true)]
async fn prometheus_is_told_whom_to_ask() {
    let api = Api::cloud();
    api.join("gpu-node-1").await;
    assert_eq!(
        targets(api.router.clone(), "control:8080").await,
        json!([
            {"targets": ["control:8080"], "labels": {"component": "orchestratord"}},
            {"targets": ["192.168.1.100:9200"], "labels": {"component": "pool-managerd",
                "node": "gpu-node-1",
                "machine": "machine-alpha", "__metrics_path__": "/metrics"}},
        ])
    );
}

// spec: SEE-16
#[tokio::test(start_paused = true)]
async fn prometheus_is_told_of_addresses_that_want_no_token() {
    let api = Api::cloud();
    let mut registration = registration("gpu-node-1");
    registration["metrics_address"] = json!("http://192.168.1.100:9201");
    api.post("/v2/nodes/register", registration).await;
    let at = |bound: &str| api.rewired(|api| api.with_metrics_at(Some(bound.parse().unwrap())));
    let all = targets(at("0.0.0.0:9090"), "control:8080").await;
    assert_eq!(all[0]["targets"], json!(["control:9090"]));
    assert_eq!(all[1]["targets"], json!(["192.168.1.100:9201"]));
    assert_eq!(all[1]["labels"]["__metrics_path__"], "/metrics");
    // Another machine does not reach loopback.
    let away = targets(at("127.0.0.1:9090"), "control:8080").await;
    assert_eq!(away[0]["targets"], json!(["control:8080"]));
    let here = targets(at("127.0.0.1:9090"), "localhost:8080").await;
    assert_eq!(here[0]["targets"], json!(["127.0.0.1:9090"]));
}

// spec: SEE-13
#[tokio::test(start_paused = true)]
async fn at_home_prometheus_has_one_process_to_ask() {
    let api = Api::home();
    let found = targets(api.router.clone(), "control:8080").await;
    assert_eq!(
        found,
        json!([{"targets": ["control:8080"], "labels": {"component": "orchestratord"}}])
    );
}

/// What Prometheus is told when it asks `host`.
async fn targets(router: Router, host: &str) -> Value {
    let request = Request::get("/v2/sd/prometheus")
        .header(header::HOST, host)
        .body(Body::empty())
        .unwrap();
    let answer = router.oneshot(request).await.unwrap();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}
