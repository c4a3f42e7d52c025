//! Tests of parsing lists of models and errors.

use pool_registry_types::{EngineKind, KnownEngine};
use proptest::prelude::*;

use crate::{
    answer::{ModelList, error_message, models},
    kinds::dialect,
};

fn list(engine: &str, body: &[u8]) -> ModelList {
    let mut list = models(body).unwrap();
    let kind = EngineKind::new(engine).unwrap();
    dialect(&kind).complete_models(&mut list);
    list
}

/// A kind, its recorded list, and the models, context length and owner in it.
type RecordedList = (
    &'static str,
    &'static [u8],
    &'static [&'static str],
    Option<u32>,
    Option<&'static str>,
);

// spec: PROBE-7, PROBE-12
#[test]
fn models_context_length_and_owner_of_each_kind_of_engine() {
    let recorded: [RecordedList; 10] = [
        (
            "llamacpp",
            include_bytes!("recorded/llamacpp-b10434/models.json"),
            &["tiny", "tiny", "small"],
            Some(2048),
            Some("llamacpp"),
        ),
        (
            "llama-cpp-python",
            include_bytes!("recorded/llama-cpp-python-0.3.36/models.json"),
            &["tiny"],
            None,
            Some("me"),
        ),
        (
            "vllm",
            include_bytes!("recorded/vllm-0.33.0/models.json"),
            // A LoRA adapter is served under its own name, with the context of its base.
            &["meta-llama/Llama-3.1-8B", "sql-lora"],
            Some(8192),
            Some("vllm"),
        ),
        (
            "sglang",
            include_bytes!("recorded/sglang-0.5.23/models.json"),
            &["qwen/qwen2.5-0.5b-instruct"],
            Some(32768),
            Some("sglang"),
        ),
        (
            "ollama",
            include_bytes!("recorded/ollama-0.12.3/models.json"),
            &["llama3.2:latest", "qwen3:4b", "llama3.2"],
            None,
            Some("library"),
        ),
        (
            "tgi",
            include_bytes!("recorded/tgi-3.3.6/models.json"),
            &["HuggingFaceH4/zephyr-7b-beta"],
            None,
            Some("HuggingFaceH4/zephyr-7b-beta"),
        ),
        (
            "lmstudio",
            include_bytes!("recorded/lmstudio-0.3.6/models.json"),
            &["qwen2-vl-7b-instruct", "meta-llama-3.1-8b-instruct"],
            None,
            Some("organization_owner"),
        ),
        (
            "localai",
            include_bytes!("recorded/localai-2.26.0/models.json"),
            &["my-llama-model", "whisper-1"],
            None,
            None,
        ),
        (
            "openai",
            include_bytes!("recorded/infinity-0.0.78/models.json"),
            &["minilm"],
            None,
            Some("infinity"),
        ),
        (
            "homemade",
            br#"[{"id":"a"},{"id":"b"}]"#,
            &["a", "b"],
            None,
            None,
        ),
    ];
    for (engine, body, names, context_length, owned_by) in recorded {
        let list = list(engine, body);
        assert_eq!(list.names, names, "{engine}");
        assert_eq!(list.context_length, context_length, "{engine}");
        assert_eq!(list.owned_by.as_deref(), owned_by, "{engine}");
    }
}

// spec: PROBE-12
#[test]
fn a_context_length_is_known_only_when_it_is_known_of_every_model() {
    let context = |body: &str| models(body.as_bytes()).unwrap().context_length;
    let largest = r#"[{"id":"a","max_model_len":5},{"id":"b","meta":{"n_ctx":9}}]"#;
    assert_eq!(context(largest), Some(9));
    assert_eq!(
        context(r#"[{"id":"a","max_model_len":5},{"id":"b"}]"#),
        None
    );
    for odd in ["0", "-1", "1.5", "\"5\"", "null", "99999999999"] {
        let body = format!(r#"[{{"id":"a","max_model_len":{odd}}}]"#);
        assert_eq!(context(&body), None, "{odd}");
    }
    let owners = r#"[{"id":"a","owned_by":"x"},{"id":"b","owned_by":"y"}]"#;
    assert_eq!(models(owners.as_bytes()).unwrap().owned_by, None);
}

#[test]
fn entries_without_a_name_are_ignored() {
    let body = br#"{"data":[{"id":7},{"name":"x"},"y",null,{"id":"a","aliases":"no"},
        {"aliases":[1,"b"]}]}"#;
    assert_eq!(list("openai", body).names, ["a", "b"]);
    assert_eq!(list("openai", br#"{"data":[]}"#), ModelList::default());
}

#[test]
fn an_answer_without_a_model_list_is_ignored() {
    for body in [
        "",
        "<html>",
        "{}",
        "7",
        r#"{"data":{}}"#,
        r#"{"data":null}"#,
        r#"{"data":[{"id":"a"}"#,
    ] {
        assert_eq!(models(body.as_bytes()), None, "{body}");
    }
}

// spec: PROBE-3
#[test]
fn each_kind_has_its_readiness_path() {
    let paths: Vec<_> = KnownEngine::all()
        .map(|kind| (kind.name(), dialect(&kind.into()).profile().readiness))
        .collect();
    assert_eq!(
        paths,
        [
            ("llamacpp", "/health"),
            ("llama-cpp-python", "/v1/models"),
            ("vllm", "/health"),
            ("sglang", "/ready"),
            ("ollama", "/api/version"),
            ("tgi", "/health"),
            ("lmstudio", "/v1/models"),
            ("localai", "/readyz"),
            ("openai", "/v1/models"),
        ]
    );
    let unknown = EngineKind::new("trtllm").unwrap();
    assert_eq!(dialect(&unknown).profile().readiness, "/v1/models");
}

#[test]
fn errors_of_engines_are_repeated() {
    let loading = br#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#;
    assert_eq!(error_message(loading).as_deref(), Some("Loading model"));
    let unhealthy = br#"{"error":"unhealthy","error_type":"healthcheck"}"#;
    assert_eq!(error_message(unhealthy).as_deref(), Some("unhealthy"));
    assert_eq!(error_message(b"<html>"), None);
    let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(5000));
    assert_eq!(error_message(long.as_bytes()).unwrap().len(), 200);
}

proptest! {
    // spec: PROBE-5
    #[test]
    fn every_answer_can_be_parsed(body in "\\PC{0,60}", json in r#"[\[\]{}":,a-z0-9]{0,60}"#) {
        for text in [body, json] {
            models(text.as_bytes());
            error_message(text.as_bytes());
        }
    }
}
