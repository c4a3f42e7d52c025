//! Requests that fail, and the errors that their clients get.

use std::time::Duration;

use admission::AdmissionConfig;
use fake_engine::Script;
use http::Method;
use inference_gateway::GatewayConfig;
use routing_table::EndpointState;

use crate::harness::{Service, endpoint, engines, error_of, events, header, table, text};

const CHAT: &str = "/v1/chat/completions";

// spec: PATH-9
#[tokio::test]
async fn errors_of_invalid_requests_name_the_field() {
    let engines = engines([
        Script::default(),
        Script {
            models: vec!["other".into()],
            ..Script::default()
        },
    ]);
    let service = Service::over(&engines).await;
    type Case = (
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static str,
        u16,
        &'static str,
        Option<&'static str>,
    );
    let cases: &[Case] = &[
        (CHAT, &[], "", 400, "INVALID_REQUEST", None),
        (CHAT, &[], "hello", 400, "INVALID_REQUEST", None),
        (CHAT, &[], "{}", 400, "INVALID_REQUEST", Some("model")),
        (
            CHAT,
            &[],
            r#"{"model":7}"#,
            400,
            "INVALID_REQUEST",
            Some("model"),
        ),
        (
            CHAT,
            &[],
            r#"{"model":"tiny","stream":"x"}"#,
            400,
            "INVALID_REQUEST",
            Some("stream"),
        ),
        (
            CHAT,
            &[],
            r#"{"model":"not-served"}"#,
            404,
            "MODEL_NOT_AVAILABLE",
            Some("model"),
        ),
        (
            CHAT,
            &[("x-deadline-ms", "soon")],
            r#"{"model":"tiny"}"#,
            400,
            "INVALID_REQUEST",
            Some("X-Deadline-Ms"),
        ),
        (
            CHAT,
            &[("x-deadline-ms", "0")],
            r#"{"model":"tiny"}"#,
            400,
            "INVALID_REQUEST",
            Some("X-Deadline-Ms"),
        ),
        ("/v1/nothing", &[], "{}", 404, "NOT_FOUND", None),
    ];
    for (path, headers, body, status, code, param) in cases {
        let answer = service.send(Method::POST, path, headers, body).await;
        assert_eq!(answer.status().as_u16(), *status, "{path} {body}");
        let error = error_of(&text(answer).await.0);
        assert_eq!(
            (error["code"].as_str(), error["param"].as_str()),
            (Some(*code), *param),
            "{path} {body}: {error}"
        );
    }
    assert!(engines.iter().all(|engine| engine.stats().requests == 0));
}

// spec: DOOR-9
#[tokio::test]
async fn a_wrong_method_gets_the_allowed_one() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    for (method, path, allow) in [
        (Method::GET, CHAT, "POST"),
        (Method::POST, "/v1/models", "GET"),
        (Method::DELETE, "/v1/models/tiny", "GET"),
    ] {
        let answer = service.send(method, path, &[], "").await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "allow")),
            (405, allow)
        );
        assert_eq!(
            error_of(&text(answer).await.0)["code"],
            "METHOD_NOT_ALLOWED"
        );
    }
}

// spec: DOOR-5
#[tokio::test]
async fn a_body_over_the_limit_is_rejected() {
    let engines = engines([Script::default()]);
    let config = GatewayConfig {
        max_body_bytes: 1000,
        ..GatewayConfig::default()
    };
    let service = Service::with(config, AdmissionConfig::default(), table(&engines)).await;
    let body = format!(r#"{{"model":"tiny","prompt":"{}"}}"#, "x".repeat(2000));
    let answer = service.send(Method::POST, CHAT, &[], &body).await;
    assert_eq!(answer.status(), 413);
    assert_eq!(error_of(&text(answer).await.0)["code"], "PAYLOAD_TOO_LARGE");
}

// spec: PATH-10
#[tokio::test]
async fn the_only_model_needs_no_name() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    assert_eq!(
        service
            .send(Method::POST, CHAT, &[], r#"{"messages":[]}"#)
            .await
            .status(),
        200
    );
}

// spec: ADM-3
#[tokio::test]
async fn waiting_too_long_is_429_with_a_retry_time() {
    let engines = engines([Script {
        slots: 1,
        ..Script::default()
    }]);
    let config = AdmissionConfig {
        max_wait: Duration::from_millis(50),
        ..AdmissionConfig::default()
    };
    let service = Service::with(GatewayConfig::default(), config, table(&engines)).await;
    let _held = service.chat(true, "tokens=100000,token_ms=1").await;
    let answer = service.chat(false, "").await;
    assert_eq!(answer.status(), 429);
    assert!(header(&answer, "retry-after").parse::<u64>().unwrap() >= 1);
    assert!(header(&answer, "x-backoff-ms").parse::<u64>().unwrap() >= 100);
    assert_eq!(error_of(&text(answer).await.0)["code"], "QUEUE_FULL");
}

// spec: ADM-2
#[tokio::test]
async fn a_full_queue_is_429_at_once() {
    let engines = engines([Script {
        slots: 1,
        ..Script::default()
    }]);
    let config = AdmissionConfig {
        queue_limit: 0,
        max_wait: Duration::from_secs(3600),
        ..AdmissionConfig::default()
    };
    let service = Service::with(GatewayConfig::default(), config, table(&engines)).await;
    let _held = service.chat(true, "tokens=100000,token_ms=1").await;
    assert_eq!(service.chat(false, "").await.status(), 429);
}

// spec: PATH-36
#[tokio::test]
async fn the_queue_timeout_covers_all_attempts() {
    let engines = engines([Script::default().with("head_ms=600,status=429").unwrap()]);
    let config = AdmissionConfig {
        max_wait: Duration::from_millis(500),
        ..AdmissionConfig::default()
    };
    let service = Service::with(GatewayConfig::default(), config, table(&engines)).await;
    let answer = service.chat(false, "").await;
    assert_eq!(answer.status(), 429);
    assert_eq!(header(&answer, "x-llorch-attempts"), "1");
    let queued: u64 = header(&answer, "x-llorch-queue-ms").parse().unwrap();
    assert!(
        queued >= 600,
        "{queued} ms: time in the engine's own queue counts"
    );
    assert!(header(&answer, "retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(error_of(&text(answer).await.0)["code"], "QUEUE_FULL");
    assert_eq!(engines[0].stats().requests, 1);
}

// spec: PATH-37
#[tokio::test]
async fn an_engine_that_requests_a_pause_gets_no_requests_during_it() {
    let engines = engines([Script::default().with("status=429,retry=50").unwrap()]);
    let config = AdmissionConfig {
        max_wait: Duration::from_millis(50),
        ..AdmissionConfig::default()
    };
    let service = Service::with(GatewayConfig::default(), config, table(&engines)).await;
    for _ in 0..3 {
        let answer = service.chat(false, "").await;
        assert_eq!(answer.status(), 429);
        let after: u64 = header(&answer, "retry-after").parse().unwrap();
        assert!(
            (20..=50).contains(&after),
            "the rest of the pause: {after} s"
        );
    }
    assert_eq!(engines[0].stats().requests, 1);
}

// spec: ADM-5
#[tokio::test]
async fn no_ready_endpoint_is_503_after_the_wait() {
    let engines = engines([Script::default()]);
    let mut away = endpoint(&engines[0], "r0");
    away.state = EndpointState::NotReady;
    let config = AdmissionConfig {
        max_wait: Duration::from_millis(50),
        ..AdmissionConfig::default()
    };
    let service = Service::with(GatewayConfig::default(), config, vec![away]).await;
    let answer = service.chat(false, "").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(error_of(&text(answer).await.0)["code"], "POOL_UNAVAILABLE");
}

// spec: ADM-3, PATH-8
#[tokio::test]
async fn a_deadline_ends_waiting_and_streams() {
    let engines = engines([Script {
        slots: 1,
        ..Script::default()
    }]);
    let service = Service::over(&engines).await;
    let body = r#"{"model":"tiny","stream":true}"#;
    let held = service.chat(true, "tokens=100000,token_ms=1").await;
    let waiting = service
        .send(Method::POST, CHAT, &[("x-deadline-ms", "20")], body)
        .await;
    assert_eq!(waiting.status(), 504);
    assert_eq!(
        error_of(&text(waiting).await.0)["code"],
        "DEADLINE_EXCEEDED"
    );
    drop(held);
    service.all_slots_back().await;

    // On a slow machine a deadline may pass before the stream starts. Then try a longer one.
    let mut streamed = None;
    for deadline in ["100", "1000", "10000", "100000"] {
        let headers = [
            ("x-deadline-ms", deadline),
            ("x-fake", "tokens=1000000,token_ms=1"),
        ];
        let answer = service.send(Method::POST, CHAT, &headers, body).await;
        if answer.status() == 200 {
            streamed = Some(answer);
            break;
        }
    }
    let (text, whole) = text(streamed.expect("a stream that starts")).await;
    assert!(whole);
    assert_eq!(
        error_of(events(&text).last().unwrap())["code"],
        "DEADLINE_EXCEEDED"
    );
    assert!(
        service.admission.snapshot().endpoints[0]
            .open_breaker
            .is_none(),
        "the client's limit says nothing about the engine"
    );
}

// spec: PATH-16
#[tokio::test]
async fn errors_have_the_format_of_each_api() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let answer = service
        .send(Method::POST, "/v1/messages", &[], r#"{"model":"nope"}"#)
        .await;
    assert_eq!(answer.status(), 404);
    let json: serde_json::Value = serde_json::from_str(&text(answer).await.0).unwrap();
    assert_eq!(
        (json["type"].as_str(), json["error"]["type"].as_str()),
        (Some("error"), Some("not_found_error"))
    );
    let answer = service
        .send(Method::POST, "/v1/responses", &[], r#"{"model":"nope"}"#)
        .await;
    assert_eq!(
        error_of(&text(answer).await.0)["code"],
        "MODEL_NOT_AVAILABLE"
    );
}

#[tokio::test]
async fn a_pin_and_a_strategy_are_per_request() {
    let engines = engines([Script::default(), Script::default()]);
    let service = Service::over(&engines).await;
    let body = r#"{"model":"tiny","session_id":"s"}"#;
    let mut homes = Vec::new();
    for _ in 0..4 {
        let answer = service
            .send(
                Method::POST,
                CHAT,
                &[("x-llorch-strategy", "session")],
                body,
            )
            .await;
        homes.push(header(&answer, "x-llorch-replica").to_owned());
        text(answer).await;
    }
    assert!(homes.iter().all(|home| *home == homes[0]), "{homes:?}");
    let mut turns = Vec::new();
    for _ in 0..4 {
        let answer = service
            .send(
                Method::POST,
                CHAT,
                &[("x-llorch-strategy", "round-robin")],
                body,
            )
            .await;
        turns.push(header(&answer, "x-llorch-replica").to_owned());
        text(answer).await;
    }
    assert!(
        turns[0] != turns[1] && turns[0] == turns[2] && turns[1] == turns[3],
        "{turns:?}"
    );
    let config = AdmissionConfig {
        max_wait: Duration::from_millis(20),
        ..AdmissionConfig::default()
    };
    let service = Service::with(GatewayConfig::default(), config, table(&engines)).await;
    let elsewhere = service
        .send(Method::POST, CHAT, &[("x-llorch-pin-node", "node-9")], body)
        .await;
    assert_eq!(elsewhere.status(), 503);
    let here = service
        .send(Method::POST, CHAT, &[("x-llorch-pin-node", "node-1")], body)
        .await;
    assert_eq!(here.status(), 200);
}
