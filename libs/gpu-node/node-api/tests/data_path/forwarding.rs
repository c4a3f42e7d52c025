//! Requests that are forwarded to an engine, and refusals without one.

use fake_engine::{FakeEngine, Fault, Script};
use http::Method;
use http_body_util::BodyExt as _;

use crate::support::{CHAT, Node, header, json, slots};

// spec: SLOT-4
#[tokio::test]
async fn a_request_is_forwarded_and_the_response_reports_the_slots() {
    let engine = FakeEngine::start(Script {
        slots: 3,
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&engine]);
    let headers = [
        ("authorization", "Bearer node-token"),
        ("x-llorch-model", "tiny"),
        ("x-request-id", "r-1"),
    ];
    let path = format!("{CHAT}?a=/engine/b");
    let answer = node
        .send(
            Method::POST,
            &path,
            &headers,
            r#"{"model":"tiny","messages":[]}"#,
        )
        .await;
    assert_eq!(answer.status(), 200);
    assert_eq!(slots(&answer), ("2", "3"));
    assert_eq!(header(&answer, "x-llorch-replica"), "r0");
    assert_eq!(json(answer).await["object"], "chat.completion");
    let seen = engine.records().pop().unwrap();
    assert_eq!(seen.path, "/v1/chat/completions?a=/engine/b");
    assert_eq!(
        (seen.header("authorization"), seen.header("x-llorch-model")),
        (None, None)
    );
    assert_eq!(seen.header("x-request-id"), Some("r-1"));
    node.registry.idle().await;
}

// spec: SLOT-3
#[tokio::test]
async fn a_request_is_refused_at_once_when_every_slot_is_taken() {
    let engine = FakeEngine::start(Script {
        slots: 1,
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&engine]);
    let held = node.chat("tokens=100000,token_ms=1").await;
    assert_eq!((held.status().as_u16(), slots(&held)), (200, ("0", "1")));
    let refused = node.chat("").await;
    assert_eq!(
        (
            refused.status().as_u16(),
            header(&refused, "x-llorch-refusal")
        ),
        (503, "POOL_BUSY")
    );
    assert_eq!(slots(&refused), ("0", "1"));
    assert_eq!(json(refused).await["error"]["code"], "POOL_BUSY");
    assert_eq!(engine.stats().requests, 1, "the engine never saw it");
    // Leaving frees the slot and stops the engine.
    drop(held);
    node.registry.idle().await;
    engine.until(|stats| stats.cancelled == 1).await;
    assert_eq!(node.chat("").await.status(), 200);
}

// spec: SLOT-3
#[tokio::test]
async fn a_drain_finishes_running_requests_and_accepts_no_new_ones() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&engine]);
    let running = node.chat("tokens=50,token_ms=2").await;
    node.registry.drain_all();
    let refused = node.chat("").await;
    assert_eq!(
        (
            refused.status().as_u16(),
            header(&refused, "x-llorch-refusal")
        ),
        (503, "POOL_DRAINING")
    );
    let text = running.into_body().collect().await.unwrap().to_bytes();
    assert!(text.ends_with(b"data: [DONE]\n\n"));
    node.registry.idle().await;
}

#[tokio::test]
async fn an_unreachable_engine_is_reported_and_taken_out() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&engine]);
    engine.stop();
    for _ in 0..3 {
        let answer = node.chat("").await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-refusal")
            ),
            (503, "POOL_UNAVAILABLE")
        );
    }
    let status = &node.registry.statuses()[0];
    assert!(!status.ready, "{status:?}");
    assert!(
        status
            .last_error
            .as_ref()
            .unwrap()
            .contains("refuses connections"),
        "{status:?}"
    );
}

#[tokio::test]
async fn a_response_that_breaks_off_closes_the_connection() {
    let engine = FakeEngine::start(Script {
        fault: Some(Fault::Cut(3)),
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&engine]);
    assert!(
        node.chat("token_ms=5")
            .await
            .into_body()
            .collect()
            .await
            .is_err()
    );
    node.registry.idle().await;
}

#[tokio::test]
async fn the_pools_are_shown() {
    let engine = FakeEngine::start(Script {
        slots: 2,
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&engine, &FakeEngine::start(Script::default()).unwrap()]);
    let pools = json(node.send(Method::GET, "/v2/pools", &[], "").await).await;
    assert_eq!(pools["pools"][0]["slots_total"], 6);
    assert_eq!(pools["pools"][0]["replicas"].as_array().unwrap().len(), 2);
    let pool = json(node.send(Method::GET, "/v2/pools/pool-0", &[], "").await).await;
    assert_eq!(pool, pools["pools"][0]);
}

#[tokio::test]
async fn invalid_requests_get_an_error() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&engine]);
    let large = "x".repeat(20_000);
    type Case<'a> = (
        Method,
        &'a str,
        &'a [(&'a str, &'a str)],
        &'a str,
        u16,
        &'a str,
    );
    let cases: &[Case<'_>] = &[
        (Method::GET, "/v2/pools/nope", &[], "", 404, "NOT_FOUND"),
        (
            Method::GET,
            "/v2/pools/a%20b",
            &[],
            "",
            400,
            "INVALID_REQUEST",
        ),
        (
            Method::POST,
            "/v2/pools/a%20b/engine/v1/x",
            &[],
            "",
            400,
            "INVALID_REQUEST",
        ),
        (
            Method::POST,
            "/v2/pools/nope/engine/v1/x",
            &[],
            "",
            404,
            "NOT_FOUND",
        ),
        (
            Method::POST,
            CHAT,
            &[("x-llorch-model", "unheard-of")],
            "{}",
            404,
            "MODEL_NOT_AVAILABLE",
        ),
        (Method::POST, CHAT, &[], &large, 413, "PAYLOAD_TOO_LARGE"),
        (
            Method::DELETE,
            "/v2/pools",
            &[],
            "",
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (Method::GET, "/v2/nothing", &[], "", 404, "NOT_FOUND"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = node.send(method.clone(), path, headers, body).await;
        assert_eq!(answer.status().as_u16(), *status, "{method} {path}");
        assert_eq!(
            json(answer).await["error"]["code"],
            *code,
            "{method} {path}"
        );
    }
    assert_eq!(engine.stats().requests, 0);
    node.registry.idle().await;
}
