//! Heartbeats that are answered before the router.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{Api, heartbeat};
use control_api::ControlApi;
use http::{Method, Request, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use http_server::{HttpService, RequestBody};
use serde_json::{Value, json};

async fn ask(
    service: impl HttpService,
    method: Method,
    path: &str,
    body: String,
) -> (u16, String, Value) {
    let request = Request::builder().method(method).uri(path);
    let request = request
        .body(RequestBody::from(bytes::Bytes::from(body)))
        .unwrap();
    let response = service.respond(request).await;
    let status = response.status().as_u16();
    let kind = response.headers()[CONTENT_TYPE]
        .to_str()
        .unwrap()
        .to_owned();
    let body = response.into_body().collect().await.map_err(drop).unwrap();
    (
        status,
        kind,
        serde_json::from_slice(&body.to_bytes()).unwrap(),
    )
}

/// Bodies, methods and paths, whatever becomes of them.
fn requests() -> Vec<(Method, &'static str, String)> {
    let beat = |seq: u64| heartbeat(seq).to_string();
    let mut old = heartbeat(9);
    old["incarnation"] = json!(1);
    let mut fractions = heartbeat(11);
    fractions["seq"] = json!(11.0);
    vec![
        (Method::POST, "/v2/nodes/a/heartbeat", beat(2)),
        (Method::POST, "/v2/nodes/a/heartbeat", beat(3)),
        (Method::POST, "/v2/nodes/a/heartbeat", beat(3)),
        (Method::POST, "/v2/nodes/a/heartbeat?later=1", beat(4)),
        (Method::POST, "/v2/nodes/%61/heartbeat", beat(5)),
        (Method::POST, "/v2/nodes/a/heartbeat", fractions.to_string()),
        (Method::POST, "/v2/nodes/a/heartbeat", old.to_string()),
        (Method::POST, "/v2/nodes/b/heartbeat", beat(1)),
        (Method::POST, "/v2/nodes/a/heartbeat", String::new()),
        (Method::POST, "/v2/nodes/a/heartbeat", "{}".to_owned()),
        (
            Method::POST,
            "/v2/nodes/a/heartbeat",
            format!("{} x", beat(6)),
        ),
        (
            Method::POST,
            "/v2/nodes/a/heartbeat",
            " ".repeat(5 * 1024 * 1024),
        ),
        (Method::POST, "/v2/nodes//heartbeat", beat(7)),
        (Method::POST, "/v2/nodes/a/b/heartbeat", beat(7)),
        (Method::GET, "/v2/nodes/a/heartbeat", String::new()),
        (Method::GET, "/v2/nodes/a", String::new()),
        (Method::POST, "/v2/nodes/a/drain", String::new()),
    ]
}

// spec: WIRE-41
#[tokio::test(start_paused = true)]
async fn they_are_answered_as_the_router_answers_them() {
    for home in [false, true] {
        let wire = |api: ControlApi| api.with_registrations(!home);
        let (direct, routed) = (Api::cloud(), Api::cloud());
        for api in [&direct, &routed] {
            api.join("a").await;
        }
        let front = wire(ControlApi::new(direct.registry.clone()));
        let front = front.heartbeats_before(direct.rewired(wire));
        for (method, path, body) in requests() {
            let expected = ask(routed.rewired(wire), method.clone(), path, body.clone()).await;
            let answer = ask(front.clone(), method, path, body.clone()).await;
            assert_eq!(answer, expected, "{path} {}", &body[..body.len().min(300)]);
        }
        assert_eq!(direct.get("/v2/nodes").await, routed.get("/v2/nodes").await);
    }
}

// spec: WIRE-40
#[tokio::test(start_paused = true)]
async fn the_answer_says_when_the_next_is_due_and_when_silence_is_an_end() {
    let api = Api::cloud();
    api.join("a").await;
    let front = ControlApi::new(api.registry.clone()).heartbeats_before(api.router.clone());
    let answer = ask(
        front,
        Method::POST,
        "/v2/nodes/a/heartbeat",
        heartbeat(2).to_string(),
    )
    .await;
    let expected = json!({"success": true, "next_heartbeat_ms": 10_000, "timeout_ms": 30_000});
    assert_eq!(answer, (200, "application/json".to_owned(), expected));
}
