//! What a failure says about an engine, and what it does not.

use std::time::Duration;

use fake_engine::{Fault, Script};
use http::Method;
use inference_gateway::GatewayConfig;
use pool_registry_types::HttpUrl;
use test_fixtures::TestEndpoint;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    harness::{Service, endpoint, engines, error_of, header, table, text},
    watching,
};

const CHAT: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}]}"#;

fn failing(fault: Fault) -> Script {
    Script {
        fault: Some(fault),
        ..Script::default()
    }
}

fn has_open_breaker(service: &Service) -> bool {
    let endpoints = service.admission.snapshot().endpoints;
    endpoints.iter().any(|status| status.open_breaker.is_some())
}

// spec: PATH-83
#[tokio::test]
async fn a_client_that_provokes_errors_disturbs_no_other() {
    for count in [1, 2] {
        let all = engines([Script::default(), Script::default()]);
        let service = Service::over(&all[..count]).await;
        for provoked in [
            "status=500",
            "status=501",
            "status=502",
            "status=504",
            "error",
        ] {
            for _ in 0..8 {
                let answer = service.chat(provoked == "error", provoked).await;
                assert_eq!(header(&answer, "x-llorch-attempts"), "1", "{provoked}");
                text(answer).await;
                let answer = service.chat(false, "").await;
                assert_eq!(answer.status(), 200, "{provoked}");
            }
            assert!(!has_open_breaker(&service), "{provoked}, {count} engines");
        }
        service.all_slots_back().await;
    }
}

// spec: PATH-83, ADM-40
#[tokio::test]
async fn the_pages_of_a_proxy_open_no_breaker_of_the_last_endpoint() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    for provoked in ["proxy=502", "proxy=503", "proxy=504"] {
        for _ in 0..5 {
            let answer = service.chat(false, provoked).await;
            assert!(answer.status().is_server_error(), "{provoked}");
            assert!(text(answer).await.0.contains("error"), "an error of ours");
            assert_eq!(service.chat(false, "").await.status(), 200, "{provoked}");
        }
        assert!(!has_open_breaker(&service), "{provoked}");
    }
}

// spec: PATH-83
#[tokio::test]
async fn an_engine_that_says_503_in_json_is_busy() {
    let engines = engines([failing(Fault::Refuse(503)), Script::default()]);
    let service = Service::over(&engines).await;
    let answer = service.chat(false, "").await;
    let (replica, attempts) = (
        header(&answer, "x-llorch-replica"),
        header(&answer, "x-llorch-attempts"),
    );
    assert_eq!((replica, attempts), ("r1", "2"));
    assert!(!has_open_breaker(&service));
}

// spec: PATH-84
#[tokio::test]
async fn an_unstreamed_answer_may_take_longer_than_the_first_byte_of_a_stream() {
    let engines = engines([Script::default(), Script::default()]);
    let mut config = GatewayConfig::default();
    config.timeouts.first_byte = Duration::from_millis(50);
    config.timeouts.connect = Duration::from_secs(60);
    let service = Service::with(config, Default::default(), table(&engines)).await;
    let answer = service.chat(false, "head_ms=200").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "x-llorch-attempts"), "1");
}

// spec: PATH-84, PATH-8
#[tokio::test]
async fn a_request_whose_time_is_over_runs_on_no_other_engine() {
    for (stream, headers, says_something) in [
        (true, &[][..], true),
        (false, &[("x-deadline-ms", "100")][..], false),
    ] {
        let engines = engines([failing(Fault::Silent), failing(Fault::Silent)]);
        let mut config = GatewayConfig::default();
        config.timeouts.first_byte = Duration::from_millis(100);
        config.timeouts.connect = Duration::from_secs(60);
        let service = Service::with(config, Default::default(), table(&engines)).await;
        for _ in 0..6 {
            let body = CHAT.replace("tiny\",", &format!("tiny\",\"stream\":{stream},"));
            let path = "/v1/chat/completions";
            let answer = service.send(Method::POST, path, headers, &body).await;
            assert_eq!(answer.status(), 504, "{stream}");
            let (text, _) = text(answer).await;
            assert_eq!(error_of(&text)["code"], "DEADLINE_EXCEEDED", "{text}");
        }
        let requests: u64 = engines.iter().map(|engine| engine.stats().requests).sum();
        assert!(requests <= 6, "{stream}: {requests} executions");
        assert_eq!(has_open_breaker(&service), says_something, "{stream}");
    }
}

// spec: PATH-85
#[tokio::test]
async fn a_complete_stream_needs_no_end_event() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    for _ in 0..5 {
        let (text, whole) = text(service.chat(true, "nodone").await).await;
        assert!(whole && !text.contains("error"), "{text}");
        assert!(text.contains(r#""finish_reason":"length""#), "{text}");
    }
    assert!(!has_open_breaker(&service));
    service.all_slots_back().await;
}

// spec: PATH-86
#[tokio::test]
async fn an_event_of_more_than_a_mebibyte_is_passed_on() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let (text, whole) = text(service.chat(true, "long=3000000").await).await;
    assert!(whole && text.contains(&"x".repeat(3_000_000)));
    assert!(text.ends_with("data: [DONE]\n\n"));
    service.all_slots_back().await;
}

// spec: PATH-88
#[tokio::test]
async fn a_stream_that_begins_with_an_error_is_labelled_as_failed() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    for _ in 0..5 {
        let answer = service.chat(true, "error").await;
        assert_eq!(answer.status(), 200);
        let (text, whole) = text(answer).await;
        assert!(whole && text.contains("failed by script"), "{text}");
    }
    service.all_slots_back().await;
    assert!(!has_open_breaker(&service));
    let page = watching::page(&service);
    for (outcome, expected) in [("failed", Some(5.0)), ("served", None)] {
        let place = r#"endpoint="/v1/chat/completions",model="tiny",node="node-1",pool="pool-0""#;
        let series = format!(r#"llorch_requests_total{{{place},outcome="{outcome}"}}"#);
        assert_eq!(watching::value(&page, &series), expected, "{page}");
    }
}

// spec: PATH-89
#[tokio::test]
async fn a_compressed_stream_is_passed_on_untouched() {
    // Not valid gzip: a decoder would fail.
    const BODY: &str = "\u{1f}compressed data: x";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = HttpUrl::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let engine = async {
        let mut stream = listener.accept().await.unwrap().0;
        let mut seen = Vec::new();
        while !seen.ends_with(b"}") {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        }
        let length = BODY.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\
             Content-Length: {length}\r\n\r\n{BODY}"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream
    };
    let placeholder = engines([Script::default()]);
    let endpoint = TestEndpoint {
        target,
        ..endpoint(&placeholder[0], "r0")
    };
    let service = Service::with(Default::default(), Default::default(), vec![endpoint]).await;
    let (_stream, answer) = tokio::join!(engine, service.chat(true, ""));
    assert_eq!(header(&answer, "content-encoding"), "gzip");
    assert_eq!(text(answer).await, (BODY.to_owned(), true));
    service.all_slots_back().await;
}
