//! What answers at a URL: engines, our daemons, and other servers.

use std::time::Duration;

use pool_registry::{EngineKey, ProbeOutcome};
use pool_registry_types::{EngineKind, KnownEngine};

use super::stand_in::{Reply, StandIn, closed_port};
use crate::{
    EngineAt, Identity, identify,
    identify::{contradiction, contradicts},
};

/// Far more than a stand-in needs.
const LIMIT: Duration = Duration::from_secs(30);

/// Paths with the status and body of their answers.
type Answers = &'static [(&'static str, u16, &'static str)];

/// A server with these answers, and 404 for every other path.
fn server(answers: Answers) -> StandIn {
    StandIn::start(move |path| {
        let found = answers.iter().find(|(at, _, _)| *at == path);
        let (status, body) = found.map_or((404, "not found"), |(_, status, body)| (*status, *body));
        Reply::Json(status, body.to_owned())
    })
}

/// What each kind of engine answers, shortened.
const ENGINES: &[(KnownEngine, Answers)] = &[
    (
        KnownEngine::LlamaCpp,
        &[
            ("/health", 200, r#"{"status":"ok"}"#),
            (
                "/v1/models",
                200,
                r#"{"data":[{"id":"tiny","owned_by":"llamacpp"}]}"#,
            ),
        ],
    ),
    // A router lists what it could load, which may be nothing.
    (
        KnownEngine::LlamaCpp,
        &[
            ("/health", 200, r#"{"status":"ok"}"#),
            ("/v1/models", 200, r#"{"data":[]}"#),
            ("/props", 200, r#"{"role":"router","max_instances":2}"#),
        ],
    ),
    (
        KnownEngine::LlamaCppPython,
        &[
            (
                "/v1/models",
                200,
                r#"{"data":[{"id":"tiny","owned_by":"me"}]}"#,
            ),
            (
                "/openapi.json",
                200,
                r#"{"info":{"title":"🦙 llama.cpp Python API"}}"#,
            ),
        ],
    ),
    (
        KnownEngine::Vllm,
        &[
            ("/health", 200, ""),
            (
                "/v1/models",
                200,
                r#"{"data":[{"id":"m","owned_by":"vllm"}]}"#,
            ),
        ],
    ),
    (
        KnownEngine::Sglang,
        &[
            ("/health", 200, ""),
            (
                "/v1/models",
                200,
                r#"{"data":[{"id":"m","owned_by":"me"}]}"#,
            ),
            ("/metrics", 200, "# HELP\nsglang:num_running_reqs{} 0\n"),
        ],
    ),
    // Without a model it lists none.
    (
        KnownEngine::Ollama,
        &[
            ("/v1/models", 200, r#"{"object":"list","data":null}"#),
            ("/api/ps", 200, r#"{"models":[]}"#),
        ],
    ),
    (
        KnownEngine::Ollama,
        &[(
            "/v1/models",
            200,
            r#"{"data":[{"id":"m:latest","owned_by":"library"}]}"#,
        )],
    ),
    (
        KnownEngine::Tgi,
        &[
            ("/health", 200, ""),
            (
                "/info",
                200,
                r#"{"model_id":"m","max_concurrent_requests":128}"#,
            ),
        ],
    ),
    (
        KnownEngine::LmStudio,
        &[(
            "/v1/models",
            200,
            r#"{"data":[{"id":"m","owned_by":"organization_owner"}]}"#,
        )],
    ),
    (
        KnownEngine::LocalAi,
        &[
            ("/v1/models", 200, r#"{"data":[{"id":"m"}]}"#),
            ("/system", 200, r#"{"loaded_models":[]}"#),
        ],
    ),
    (
        KnownEngine::OpenAi,
        &[(
            "/v1/models",
            200,
            r#"{"data":[{"id":"m","owned_by":"infinity"}]}"#,
        )],
    ),
];

// spec: FIND-1
#[tokio::test]
async fn each_kind_of_engine_is_recognised_by_its_answers() {
    for (kind, answers) in ENGINES {
        let engine = server(answers);
        let found = identify(&engine.url(), None, LIMIT).await.unwrap();
        assert_eq!(found, Identity::Engine(*kind), "{answers:?}");
    }
}

// spec: FIND-2, FIND-3
#[tokio::test]
async fn what_is_no_engine_is_told_apart_with_its_reason() {
    const PAGE: &str = "<!doctype html><title>Jupyter</title>";
    for (answers, expected) in [
        (
            &[(
                "/health",
                200,
                r#"{"status":"ok","service":"pool-managerd"}"#,
            )][..],
            Identity::Ours("pool-managerd"),
        ),
        (
            &[(
                "/health",
                200,
                r#"{"status":"ok","service":"orchestratord"}"#,
            )],
            Identity::Ours("orchestratord"),
        ),
        (
            &[("/health", 200, PAGE), ("/v1/models", 200, PAGE)],
            Identity::NotAnEngine("GET /v1/models answers 200 with a web page (HTML)".into()),
        ),
        (
            &[],
            Identity::NotAnEngine("GET /v1/models answers 404 with no list of models".into()),
        ),
        // As Open WebUI does.
        (
            &[
                ("/api/version", 200, r#"{"version":"0.6"}"#),
                ("/v1/models", 200, "[]"),
            ],
            Identity::NotAnEngine("it lists no models".into()),
        ),
        (&[("/v1/models", 401, "{}")], Identity::NeedsKey(None)),
        (
            &[
                ("/v1/models", 401, "{}"),
                ("/metrics", 200, "vllm:num_requests_running 0\n"),
            ],
            Identity::NeedsKey(Some(KnownEngine::Vllm)),
        ),
    ] {
        let other = server(answers);
        let found = identify(&other.url(), None, LIMIT).await.unwrap();
        assert_eq!(found, expected, "{answers:?}");
    }
    let found = identify(&closed_port(), None, LIMIT).await.unwrap();
    assert_eq!(found, Identity::Closed);
    let speaks_ssh = StandIn::always(Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()));
    let found = identify(&speaks_ssh.url(), None, LIMIT).await.unwrap();
    assert!(matches!(found, Identity::NoAnswer(_)), "{found:?}");
    assert_eq!(speaks_ssh.paths().len(), 1, "asked once");
    let silent = StandIn::always(Reply::Hang);
    let found = identify(&silent.url(), None, Duration::from_millis(50)).await;
    assert!(
        matches!(found, Ok(Identity::NoAnswer(_)) | Err(_)),
        "{found:?}"
    );
}

// spec: FIND-1
#[tokio::test]
async fn an_engine_that_loads_its_model_is_recognised_and_gets_its_key() {
    let loading = StandIn::always(Reply::Json(
        503,
        r#"{"error":{"message":"Loading model","code":503}}"#.into(),
    ));
    let found = identify(&loading.url(), None, LIMIT).await.unwrap();
    assert_eq!(found, Identity::Engine(KnownEngine::LlamaCpp));
    let guarded = StandIn::start_with_heads(|path, head| {
        let has_key = head
            .to_ascii_lowercase()
            .contains("authorization: bearer sesame");
        match path {
            "/v1/models" if has_key => {
                Reply::Json(200, r#"{"data":[{"id":"m","owned_by":"vllm"}]}"#.into())
            }
            "/v1/models" => Reply::Json(401, "{}".into()),
            _ => Reply::Json(404, "{}".into()),
        }
    });
    let key = EngineKey::new("sesame").unwrap();
    let found = identify(&guarded.url(), Some(&key), LIMIT).await.unwrap();
    assert_eq!(found, Identity::Engine(KnownEngine::Vllm));
}

// spec: FIND-4
#[tokio::test]
async fn another_engine_at_the_url_of_one_contradicts_its_kind() {
    let vllm = EngineKind::from(KnownEngine::Vllm);
    let openai = EngineKind::from(KnownEngine::OpenAi);
    for (found, kind, expected) in [
        (Identity::Engine(KnownEngine::Vllm), &vllm, false),
        (Identity::Engine(KnownEngine::LlamaCpp), &vllm, true),
        // A version that shows nothing of its own.
        (Identity::Engine(KnownEngine::OpenAi), &vllm, false),
        (Identity::Engine(KnownEngine::LlamaCpp), &openai, false),
        (Identity::NotAnEngine("a page".into()), &openai, true),
        (Identity::Ours("pool-managerd"), &openai, true),
        (Identity::Closed, &vllm, false),
        (Identity::NeedsKey(None), &vllm, false),
    ] {
        assert_eq!(
            contradicts(&kind.clone(), &found),
            expected,
            "{found:?} {kind}"
        );
    }
}

// spec: FIND-4
#[tokio::test]
async fn a_good_probe_that_shows_the_kind_costs_little() {
    let of_owner = |owner: &str| ProbeOutcome {
        owned_by: Some(owner.to_owned()),
        ..ProbeOutcome::ready().with_models(vec!["m".to_owned()])
    };
    let vllm = EngineKind::from(KnownEngine::Vllm);
    let openai = EngineKind::from(KnownEngine::OpenAi);
    let tgi = EngineKind::from(KnownEngine::Tgi);
    let llama = Some(Identity::Engine(KnownEngine::LlamaCpp));
    let daemon: Answers = &[(
        "/health",
        200,
        r#"{"status":"ok","service":"orchestratord"}"#,
    )];
    for (answers, kind, owner, expected, asked) in [
        (ENGINES[0].1, &vllm, "llamacpp", llama, None),
        // The owner of its models is enough, or else an answer that only its kind gives.
        (ENGINES[0].1, &vllm, "vllm", None, Some(0)),
        (
            &[("/info", 200, r#"{"max_concurrent_requests":1}"#)],
            &tgi,
            "x",
            None,
            Some(1),
        ),
        // Any server with models is an engine of unknown kind, except one of ours.
        (ENGINES[0].1, &openai, "llamacpp", None, Some(1)),
        (
            daemon,
            &openai,
            "llorch",
            Some(Identity::Ours("orchestratord")),
            Some(1),
        ),
    ] {
        let server = server(answers);
        let engine = EngineAt {
            kind,
            url: &server.url(),
            key: None,
        };
        let found = contradiction(engine, &of_owner(owner), LIMIT)
            .await
            .unwrap();
        assert_eq!(found, expected, "{kind} {owner}");
        let requests = server.paths().len();
        assert!(
            asked.is_none_or(|asked| asked == requests),
            "{:?}",
            server.paths()
        );
    }
}
