//! Tests of a single probe.

use std::time::Duration;

use pool_registry::{EngineKey, ProbeOutcome};
use pool_registry_types::{EngineKind, EngineLoad, HttpUrl};

use super::stand_in::{Reply, StandIn, closed_port};
use crate::{
    ProbeScope,
    probe::{EngineAt, MAX_BODY_BYTES, probe},
};

/// Longer than any answer of a stand-in takes.
const LONG: Duration = Duration::from_secs(60);
const MODELS: ProbeScope = ProbeScope {
    models: true,
    ..ProbeScope::READINESS
};
/// For engines that never answer.
const SHORT: Duration = Duration::from_millis(50);

async fn ask(kind: &str, url: &HttpUrl, ask: ProbeScope, limit: Duration) -> ProbeOutcome {
    ask_with_key(kind, url, None, ask, limit).await
}

async fn ask_with_key(
    kind: &str,
    url: &HttpUrl,
    key: Option<&EngineKey>,
    ask: ProbeScope,
    limit: Duration,
) -> ProbeOutcome {
    let kind = &EngineKind::new(kind).unwrap();
    probe(EngineAt { kind, url, key }, ask, limit)
        .await
        .unwrap()
}

fn models(name: &str) -> Reply {
    Reply::Json(200, format!(r#"{{"data":[{{"id":"{name}"}}]}}"#))
}

async fn reason(reply: Reply, limit: Duration) -> String {
    let engine = StandIn::always(reply);
    let outcome = ask("llamacpp", &engine.url(), MODELS, limit).await;
    assert!(!outcome.ready && outcome.models.is_none());
    outcome.reason.unwrap()
}

#[tokio::test]
async fn a_ready_engine_reports_its_models_when_asked() {
    let engine = StandIn::start(|path| match path {
        "/health" => Reply::Json(200, r#"{"status":"ok"}"#.into()),
        "/v1/models" => models("tiny"),
        other => panic!("{other}"),
    });
    let outcome = ask("llamacpp", &engine.url(), MODELS, LONG).await;
    assert_eq!(
        outcome,
        ProbeOutcome::ready().with_models(vec!["tiny".into()])
    );
    let outcome = ask("llamacpp", &engine.url(), ProbeScope::READINESS, LONG).await;
    assert_eq!(outcome, ProbeOutcome::ready());
    assert_eq!(engine.paths(), ["/health", "/v1/models", "/health"]);
}

#[tokio::test]
async fn ollama_reports_its_version_with_its_readiness() {
    let engine = StandIn::always(Reply::Json(200, r#"{"version":"0.12.3"}"#.into()));
    let traits = ProbeScope {
        traits: true,
        ..ProbeScope::READINESS
    };
    let outcome = ask("ollama", &engine.url(), traits, LONG).await;
    assert_eq!(
        (outcome.ready, outcome.engine_version.as_deref()),
        (true, Some("0.12.3"))
    );
    assert_eq!(engine.paths(), ["/api/version", "/v1/models"]);
}

/// Answers each path with its recording, and other paths with 404.
fn recorded(answers: &'static [(&'static str, &'static str)]) -> StandIn {
    StandIn::start(move |path| {
        let known = answers.iter().find(|(known, _)| *known == path);
        known.map_or_else(
            || Reply::Json(404, "{}".into()),
            |(_, body)| Reply::Json(200, (*body).to_owned()),
        )
    })
}

// spec: PROBE-7
#[tokio::test]
async fn each_kind_is_probed_at_its_readiness_path() {
    for (kind, answers, slots, version, running, waiting) in [
        (
            "llamacpp",
            &[
                ("/health", r#"{"status":"ok"}"#),
                ("/v1/models", r#"{"data":[{"id":"tiny"}]}"#),
                (
                    "/props",
                    include_str!("recorded/llamacpp-b10434/props.json"),
                ),
                (
                    "/metrics",
                    include_str!("recorded/llamacpp-b10434/metrics.txt"),
                ),
            ][..],
            Some(3),
            Some("b10434-7e4c0a9"),
            Some(3),
            Some(2),
        ),
        (
            "vllm",
            &[
                ("/health", ""),
                ("/v1/models", r#"{"data":[{"id":"tiny"}]}"#),
                ("/version", r#"{"version":"0.33.0"}"#),
                ("/metrics", include_str!("recorded/vllm-0.33.0/metrics.txt")),
            ],
            None,
            Some("0.33.0"),
            Some(9),
            Some(3),
        ),
        (
            "sglang",
            &[
                ("/ready", ""),
                ("/v1/models", r#"{"data":[{"id":"tiny"}]}"#),
                (
                    "/v1/loads?include=core",
                    include_str!("recorded/sglang-0.5.23/loads.json"),
                ),
            ],
            Some(256),
            Some("0.5.23"),
            Some(13),
            Some(3),
        ),
        (
            "ollama",
            &[
                ("/api/version", r#"{"version":"0.12.3"}"#),
                ("/v1/models", r#"{"data":[{"id":"tiny"}]}"#),
                ("/api/ps", include_str!("recorded/ollama-0.12.3/ps.json")),
            ],
            None,
            Some("0.12.3"),
            None,
            None,
        ),
        (
            "tgi",
            &[
                ("/health", ""),
                ("/v1/models", r#"{"data":[{"id":"tiny"}]}"#),
                ("/info", include_str!("recorded/tgi-3.3.6/info.json")),
                ("/metrics", include_str!("recorded/tgi-3.3.6/metrics.txt")),
            ],
            Some(128),
            Some("3.3.6"),
            Some(6),
            Some(1),
        ),
        (
            "homemade",
            &[("/v1/models", r#"{"data":[{"id":"tiny"}]}"#)],
            None,
            None,
            None,
            None,
        ),
    ] {
        let engine = recorded(answers);
        let outcome = ask(kind, &engine.url(), ProbeScope::ALL, LONG).await;
        assert!(outcome.ready, "{kind}: {outcome:?}");
        assert_eq!(
            outcome.models.as_deref(),
            Some(&["tiny".to_owned()][..]),
            "{kind}"
        );
        assert_eq!(outcome.slots, slots, "{kind}");
        assert_eq!(outcome.engine_version.as_deref(), version, "{kind}");
        let load = outcome.load.unwrap();
        assert_eq!((load.running, load.waiting), (running, waiting), "{kind}");
        let asked: Vec<&str> = answers.iter().map(|(path, _)| *path).collect();
        assert_eq!(engine.paths(), asked, "{kind} was asked for nothing else");
    }
}

// spec: PROBE-8
#[tokio::test]
async fn missing_values_are_no_error_and_stay_unknown() {
    for kind in ["llamacpp", "vllm", "sglang", "tgi"] {
        let silent = StandIn::start(|path| match path {
            "/health" | "/ready" => Reply::Json(200, "{}".into()),
            _ => Reply::Json(501, r#"{"error":{"message":"not supported"}}"#.into()),
        });
        let outcome = ask(kind, &silent.url(), ProbeScope::ALL, LONG).await;
        let told_nothing = ProbeOutcome {
            load: Some(EngineLoad::default()),
            ..ProbeOutcome::ready()
        };
        assert_eq!(outcome, told_nothing, "{kind}");
        assert!(
            silent.paths().iter().all(|path| path != "/slots"),
            "it wakes a server that sleeps"
        );
    }
    let old = recorded(&[
        ("/ready", ""),
        (
            "/metrics",
            include_str!("recorded/sglang-0.5.23/metrics.txt"),
        ),
    ]);
    let outcome = ask("sglang", &old.url(), ProbeScope::ALL, LONG).await;
    assert_eq!(outcome.load.unwrap().running, Some(4));
}

// spec: PROBE-8
#[tokio::test]
async fn a_llama_server_without_metrics_is_not_asked_for_them() {
    let engine = recorded(&[
        ("/health", ""),
        ("/v1/models", r#"{"data":[]}"#),
        (
            "/props",
            r#"{"total_slots":2,"endpoint_metrics":false,"is_sleeping":true}"#,
        ),
    ]);
    let load = ask("llamacpp", &engine.url(), ProbeScope::ALL, LONG)
        .await
        .load
        .unwrap();
    assert_eq!((load.sleeping, load.running), (Some(true), None));
    assert!(!engine.paths().contains(&"/metrics".to_owned()));
}

// spec: PROBE-3
#[tokio::test]
async fn an_unknown_kind_of_engine_is_asked_only_for_its_models() {
    let engine = StandIn::always(models("x"));
    let outcome = ask("homemade", &engine.url(), ProbeScope::READINESS, LONG).await;
    assert_eq!(outcome, ProbeOutcome::ready().with_models(vec!["x".into()]));
    assert_eq!(engine.paths(), ["/v1/models"]);
}

#[tokio::test]
async fn an_engine_without_the_path_is_asked_for_its_models() {
    let engine = StandIn::start(|path| match path {
        "/v1/models" => models("x"),
        _ => Reply::Json(404, "{}".into()),
    });
    let outcome = ask("sglang", &engine.url(), ProbeScope::READINESS, LONG).await;
    assert_eq!(outcome, ProbeOutcome::ready().with_models(vec!["x".into()]));
    assert_eq!(engine.paths(), ["/ready", "/v1/models"]);
}

#[tokio::test]
async fn a_base_path_comes_first() {
    let engine = StandIn::always(Reply::Json(200, "{}".into()));
    let url = HttpUrl::new(&format!("{}/engine/a", engine.url())).unwrap();
    assert!(ask("vllm", &url, ProbeScope::READINESS, LONG).await.ready);
    assert_eq!(engine.paths(), ["/engine/a/health"]);
}

// spec: PROBE-14
#[tokio::test]
async fn an_engine_that_demands_a_key_is_not_ready_without_it() {
    // Each kind protects other paths: llama-server not even its models.
    for (kind, protected) in [
        ("llamacpp", "/props"),
        ("vllm", "/v1/models"),
        ("llama-cpp-python", "/v1/models"),
        ("localai", "/readyz"),
        ("homemade", "/v1/models"),
    ] {
        for status in [401, 403] {
            let engine = StandIn::start(move |path| {
                if path == protected {
                    Reply::Json(status, r#"{"error":{"message":"Invalid API Key"}}"#.into())
                } else {
                    Reply::Json(200, "{}".into())
                }
            });
            let outcome = ask(kind, &engine.url(), ProbeScope::ALL, LONG).await;
            assert!(!outcome.ready && outcome.is_definite, "{kind}: {outcome:?}");
            let reason = outcome.reason.unwrap();
            let expected = format!("{protected}: {status}; set api_key_file in its handoff");
            assert!(reason.contains("the engine demands an API key"), "{reason}");
            assert!(reason.contains(&expected), "{reason}");
        }
    }
}

// spec: PROBE-13, PROBE-14
#[tokio::test]
async fn every_request_of_a_probe_carries_the_key() {
    let engine = StandIn::start(|path| match path {
        "/health" => Reply::Json(200, String::new()),
        _ => Reply::Json(401, "{}".into()),
    });
    let key = EngineKey::new("sesame").unwrap();
    let outcome = ask_with_key("vllm", &engine.url(), Some(&key), MODELS, LONG).await;
    let reason = outcome.reason.unwrap();
    assert!(outcome.is_definite && reason.contains("refuses the key in its api_key_file"));
    assert!(!reason.contains("sesame"), "{reason}");
    for head in engine.heads() {
        assert!(head.contains("authorization: Bearer sesame"), "{head}");
    }
}

// spec: PROBE-15
#[tokio::test]
async fn a_failure_of_an_unknown_kind_lists_the_known_ones() {
    let engine = StandIn::always(Reply::Json(404, "{}".into()));
    let reason = ask("llama.cp", &engine.url(), MODELS, LONG).await.reason;
    let reason = reason.unwrap();
    assert!(
        reason.contains("the kind llama.cp is not known"),
        "{reason}"
    );
    assert!(
        reason.contains("known are llamacpp, llama-cpp-python, vllm"),
        "{reason}"
    );
}

// spec: PROBE-12
#[tokio::test]
async fn the_context_length_is_read_with_the_traits_also_of_declared_models() {
    let engine = recorded(&[
        ("/health", ""),
        (
            "/v1/models",
            include_str!("recorded/vllm-0.33.0/models.json"),
        ),
        ("/version", r#"{"version":"0.33.0"}"#),
    ]);
    let traits = ProbeScope {
        traits: true,
        ..ProbeScope::READINESS
    };
    let outcome = ask("vllm", &engine.url(), traits, LONG).await;
    assert_eq!((outcome.context_length, outcome.models), (Some(8192), None));
    assert_eq!(outcome.owned_by.as_deref(), Some("vllm"));
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_the_connection() {
    let raw = "HTTP/1.1 200 OK\r\n\r\n{\"data\":[{\"id\":\"x\"}]}";
    let engine = StandIn::always(Reply::Raw(raw.into()));
    let outcome = ask("homemade", &engine.url(), MODELS, LONG).await;
    assert_eq!(outcome.models.unwrap(), ["x"]);
}

#[tokio::test]
async fn every_error_is_reported_as_a_reason() {
    let loading = r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#;
    let text = reason(Reply::Json(503, loading.into()), LONG).await;
    assert!(text.ends_with("/health: 503: Loading model"), "{text}");
    let text = reason(Reply::Json(500, "oops".into()), LONG).await;
    assert!(text.ends_with("/health: 500"), "{text}");
    let text = reason(Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".into()), LONG).await;
    assert!(
        text.contains("broke off before it answered: the response is not HTTP: "),
        "{text}"
    );
    let text = reason(Reply::Raw(vec![]), LONG).await;
    assert!(
        text.contains("broke off before it answered: the connection was closed"),
        "{text}"
    );
    let text = reason(Reply::Hang, SHORT).await;
    assert!(text.contains("deadline passed before"), "{text}");
    let outcome = ask("llamacpp", &closed_port(), ProbeScope::READINESS, LONG).await;
    let text = outcome.reason.unwrap();
    assert!(text.contains("cannot connect to"), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
}

// spec: PROBE-5
#[tokio::test]
async fn no_body_is_read_beyond_its_limit() {
    let text = reason(Reply::Json(200, "x".repeat(MAX_BODY_BYTES + 1)), LONG).await;
    assert!(
        text.ends_with("the answer has more than 1048576 bytes"),
        "{text}"
    );
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(1024 * 1024));
    let text = reason(Reply::Raw(endless.into()), LONG).await;
    assert!(
        text.contains("the response is not HTTP: the head has more than 65536 bytes"),
        "{text}"
    );
}
