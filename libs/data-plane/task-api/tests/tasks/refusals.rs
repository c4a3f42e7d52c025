//! Refused submissions and their errors.

use std::time::Duration;

use admission::AdmissionConfig;
use axum::body::Body;
use fake_engine::Script;
use http::{Method, Request};
use serde_json::{Value, json};
use task_api::{TASK_BODY_BYTES, TaskConfig};
use tower::ServiceExt as _;

use crate::harness::{Service, Settings, chat, endless, engines, with};

// spec: TASK-8
#[tokio::test]
async fn every_invalid_field_is_named() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    for (body, named) in [
        (String::new(), "the body is empty"),
        ("{".to_owned(), "not valid JSON"),
        ("[]".to_owned(), "a JSON object is needed"),
        ("{}".to_owned(), "workload"),
        (
            with(chat("t"), "task_id", json!("a b")).to_string(),
            "task_id: ",
        ),
        (
            with(chat("t"), "session_id", json!(7)).to_string(),
            "session_id: ",
        ),
        (
            with(chat("t"), "workload", json!("painting")).to_string(),
            "workload: ",
        ),
        (
            with(chat("t"), "model_ref", json!(7)).to_string(),
            "model_ref: ",
        ),
        (
            with(chat("t"), "messages", json!("hi")).to_string(),
            "messages: ",
        ),
        (
            with(chat("t"), "messages", json!([7])).to_string(),
            "messages[0]: ",
        ),
        (
            with(chat("t"), "inputs", json!(["a", 7])).to_string(),
            "inputs[1]: ",
        ),
        (
            with(chat("t"), "max_tokens", json!(0)).to_string(),
            "max_tokens: ",
        ),
        (
            with(chat("t"), "max_tokens", json!(-1)).to_string(),
            "max_tokens: ",
        ),
        (
            with(chat("t"), "priority", json!("urgent")).to_string(),
            "priority: ",
        ),
        (
            with(chat("t"), "deadline_ms", json!(-5)).to_string(),
            "deadline_ms: ",
        ),
        (
            with(chat("t"), "deadline_ms", json!(0)).to_string(),
            "deadline_ms: ",
        ),
        (with(chat("t"), "seed", json!("x")).to_string(), "seed: "),
        (
            with(chat("t"), "placement", json!([null, null])).to_string(),
            "placement: ",
        ),
        (
            with(chat("t"), "placement", json!({"mode": "near"})).to_string(),
            "placement.mode: ",
        ),
        (
            with(
                chat("t"),
                "placement",
                json!({"mode": "pin", "node_id": "a b"}),
            )
            .to_string(),
            "placement.node_id: ",
        ),
    ] {
        let (status, answer) = service.call(Method::POST, "/v2/tasks", body.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("INVALID_REQUEST")),
            "{body}"
        );
        assert!(message.contains(named), "{body}: {message}");
    }
    assert_eq!(engines[0].stats().requests, 0);
}

#[tokio::test]
async fn a_task_that_is_too_large_is_refused() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let prompt = "x".repeat(TASK_BODY_BYTES);
    let task = json!({"workload": "completion", "model_ref": "tiny", "prompt": prompt});
    assert_eq!(
        service.refused(&task).await,
        (413, "PAYLOAD_TOO_LARGE".to_owned())
    );
}

// spec: TASK-7
#[tokio::test]
async fn an_immediate_refusal_of_the_gateway_leaves_the_id_free() {
    let engines = engines([endless()]);
    let admission = AdmissionConfig {
        queue_limit: 1,
        ..AdmissionConfig::default()
    };
    let settings = Settings {
        admission,
        ..Settings::default()
    };
    let service = Service::with(&engines, settings).await;
    let unknown = with(chat("t"), "model_ref", json!("none"));
    assert_eq!(
        service.refused(&unknown).await,
        (404, "MODEL_NOT_AVAILABLE".to_owned())
    );

    service.submit(&chat("a")).await;
    service.until_state("a", "running").await;
    service.submit(&chat("b")).await;
    let (status, answer) = service
        .call(Method::POST, "/v2/tasks", chat("t").to_string())
        .await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (429, &json!("QUEUE_FULL"))
    );
    assert!(
        answer["error"]["retry_after_ms"]
            .as_u64()
            .is_some_and(|after| after > 0)
    );
    let (status, _) = service.call(Method::GET, "/v2/tasks/t", "").await;
    assert_eq!(status, 404);

    service.cancel("a").await;
    service.until_state("b", "running").await;
    service.submit(&chat("t")).await;
    for id in ["b", "t"] {
        service.cancel(id).await;
    }
}

#[tokio::test]
async fn every_listed_route_exists_and_uses_the_error_envelope() {
    let service = Service::over(&[]).await;
    let router =
        http_server::unguarded_router(http_server::with_fallbacks(service.api.clone().router()));
    let call = async |method: Method, path: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX)
            .await
            .unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        (
            status,
            body["error"]["code"].as_str().unwrap().to_owned(),
            body["error"]["message"].clone(),
        )
    };
    for (method, path) in service.api.clone().routes().mounted() {
        let path = path.replace("{task_id}", "none");
        let (status, code, message) = call(method.clone(), &path).await;
        assert!(
            matches!(
                (status, code.as_str()),
                (400, "INVALID_REQUEST") | (404, "NOT_FOUND")
            ),
            "{method} {path}"
        );
        assert!(
            !message.as_str().unwrap().starts_with("no such route"),
            "{method} {path}"
        );
        let (status, _, message) = call(method.clone(), &path.replace("none", "a%20b")).await;
        assert!(matches!(status, 400), "{method} {path}: {message}");
        assert_eq!(call(Method::PATCH, &path).await.0, 405);
    }
}

// spec: PATH-36
#[tokio::test]
async fn the_longest_wait_holds_for_all_attempts_together() {
    let engines = engines([Script::default().with("head_ms=600,status=429").unwrap()]);
    let tasks = TaskConfig {
        max_wait: Duration::from_millis(500),
        ..TaskConfig::default()
    };
    let settings = Settings {
        tasks,
        ..Settings::default()
    };
    let service = Service::with(&engines, settings).await;
    service.submit(&chat("t")).await;
    service.until_state("t", "failed").await;
    assert_eq!(service.show("t").await["error"]["code"], "QUEUE_FULL");
    assert_eq!(engines[0].stats().requests, 1);
}
