//! Metrics, traffic and recent errors of the gateway's requests.

use fake_engine::{Fault, Script};
use http::Method;

use crate::harness::{Service, engines, text, until};

/// The metrics page.
pub(crate) fn page(service: &Service) -> String {
    let metrics = telemetry::Metrics::new("test", "0");
    metrics.register(|registry| service.metrics.register(registry));
    metrics.render()
}

pub(crate) fn value(page: &str, series: &str) -> Option<f64> {
    page.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

// spec: SEE-9, SEE-40
#[tokio::test]
async fn a_served_stream_is_counted() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let (_, whole) = text(service.chat(true, "tokens=9,token_ms=1").await).await;
    assert!(whole);
    service.all_slots_back().await;
    let page = page(&service);
    for (series, expected) in [
        (
            concat!(
                r#"llorch_requests_total{endpoint="/v1/chat/completions",model="tiny","#,
                r#"node="node-1",pool="pool-0",outcome="served"}"#
            ),
            1.0,
        ),
        ("llorch_requests_in_flight", 0.0),
        (r#"llorch_requests_running{model="tiny"}"#, 0.0),
        (
            r#"llorch_first_token_seconds_count{model="tiny",node="node-1"}"#,
            1.0,
        ),
        (r#"llorch_queue_wait_seconds_count{model="tiny"}"#, 1.0),
        (
            r#"llorch_request_duration_seconds_count{model="tiny"}"#,
            1.0,
        ),
    ] {
        assert_eq!(value(&page, series), Some(expected), "{series} in {page}");
    }
    let tokens = value(&page, r#"llorch_tokens_total{model="tiny",node="node-1"}"#).unwrap();
    // Without the engine's count, the pieces of content are counted: neither role nor end is one.
    assert_eq!(tokens, 9.0, "{page}");
    let traffic = service.metrics.traffic();
    assert!(
        traffic.requests_per_s > 0.0 && traffic.errors_per_s == 0.0,
        "{traffic:?}"
    );
    assert!(
        traffic.tokens_per_s > 0.0 && traffic.first_token_ms.p50.is_some(),
        "{traffic:?}"
    );
    assert!(traffic.inter_token_ms.p99.is_some(), "{traffic:?}");
    assert_eq!(service.metrics.recent_errors(), []);
}

// spec: SEE-9
#[tokio::test]
async fn a_running_stream_is_visible() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let answer = service.chat(true, "tokens=1000,token_ms=5").await;
    let mut reading = tokio::task::JoinSet::new();
    reading.spawn(text(answer));
    until("its tokens are visible", || {
        service.metrics.traffic().tokens_per_s > 0.0 && service.metrics.running("tiny") == 1
    })
    .await;
    drop(reading);
    service.all_slots_back().await;
    until("it is counted as cancelled", || {
        page(&service).contains("cancelled")
    })
    .await;
    assert_eq!(service.metrics.running("tiny"), 0);
    assert_eq!(
        service.metrics.recent_errors(),
        [],
        "a cancelled request is not an error"
    );
}

// spec: SEE-6, SEE-9
#[tokio::test]
async fn a_response_that_breaks_off_is_a_recent_error() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let _ = text(service.chat(true, "tokens=9,cut=3").await).await;
    until("the error is visible", || {
        !service.metrics.recent_errors().is_empty()
    })
    .await;
    let error = service.metrics.recent_errors().remove(0);
    assert_eq!(error.code.as_str(), "WORKER_RESET");
    assert_eq!(error.model.as_deref(), Some("tiny"));
    assert_eq!(error.node_id.unwrap().as_str(), "node-1");
    assert!(!error.request_id.is_empty() && error.at.ends_with('Z'));
    assert!(service.metrics.traffic().errors_per_s > 0.0);
}

// spec: SEE-6, SEE-7
#[tokio::test]
async fn unknown_models_are_no_labels_and_content_is_not_kept() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    for body in [
        r#"{"model":"made-up"}"#,
        r#"{"model":["secret"]}"#,
        "secret",
    ] {
        let answer = service
            .send(Method::POST, "/v1/chat/completions", &[], body)
            .await;
        assert!(answer.status().is_client_error());
    }
    let page = page(&service);
    assert!(
        !page.contains("made-up") && !page.contains("secret"),
        "{page}"
    );
    let refused = concat!(
        r#"llorch_requests_total{endpoint="/v1/chat/completions",model="other","#,
        r#"node="",pool="",outcome="refused"}"#
    );
    assert_eq!(value(&page, refused), Some(3.0), "{page}");
    let errors = service.metrics.recent_errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].code.as_str(), "MODEL_NOT_AVAILABLE");
    assert_eq!(errors[0].model.as_deref(), Some("made-up"));
}

// spec: SEE-9
#[tokio::test]
async fn the_engines_count_replaces_events() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let (answer, _) = text(service.chat(false, "tokens=7").await).await;
    let counted: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let Some(counted) = counted["usage"]["completion_tokens"].as_f64() else {
        panic!("the engine reports no count: {answer}");
    };
    let tokens = value(
        &page(&service),
        r#"llorch_tokens_total{model="tiny",node="node-1"}"#,
    );
    assert_eq!(tokens, Some(counted));
}

#[tokio::test]
async fn a_retry_is_counted_once() {
    let engines = engines([
        Script {
            fault: Some(Fault::Refuse(503)),
            ..Script::default()
        },
        Script::default(),
    ]);
    let service = Service::over(&engines).await;
    let answer = service.chat(false, "").await;
    assert_eq!(answer.status(), 200);
    let _ = text(answer).await;
    let page = page(&service);
    assert!(
        value(&page, "llorch_request_retries_total").unwrap() >= 1.0,
        "{page}"
    );
    assert_eq!(service.metrics.running("tiny"), 0);
}

// spec: SEE-15
#[tokio::test]
async fn a_trace_is_passed_on_to_the_engine() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (sent, is_continued) in [(theirs, true), ("nonsense", false)] {
        let headers = [("traceparent", sent), ("tracestate", "a=b")];
        let body = r#"{"model":"tiny","prompt":"x"}"#;
        let answer = service
            .send(Method::POST, "/v1/completions", &headers, body)
            .await;
        assert_eq!(answer.status(), 200);
        let seen = engines[0].records().pop().unwrap();
        let arrived = telemetry::TraceContext::parse(seen.header("traceparent").unwrap()).unwrap();
        assert_ne!(
            arrived.to_string(),
            theirs,
            "the gateway is a step of its own"
        );
        assert_eq!(
            arrived.trace_id() == "4bf92f3577b34da6a3ce929d0e0e4736",
            is_continued
        );
        assert_eq!(seen.header("tracestate").is_some(), is_continued);
    }
}
