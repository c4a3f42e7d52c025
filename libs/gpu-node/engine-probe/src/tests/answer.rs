//! Tests of parsing answers of engines.

use pool_registry_types::EngineKind;
use proptest::prelude::*;

use crate::{
    answer::{error_message, models},
    kind::readiness_path,
};

fn kind(name: &str) -> EngineKind {
    EngineKind::new(name).unwrap()
}

#[test]
fn models_of_each_kind_of_engine() {
    for (engine, body, expected) in [
        (
            "llamacpp",
            r#"{"models":[{"name":"tiny.gguf","model":"tiny.gguf","type":"model",
                 "capabilities":["completion"]}],
                "object":"list","data":[{"id":"tiny.gguf","aliases":["tiny","small"],"tags":[],
                 "object":"model",
                "created":1763884800,"owned_by":"llamacpp",
                 "meta":{"vocab_type":1,"n_vocab":704,"n_ctx_train":4096}}]}"#,
            &["tiny.gguf", "tiny", "small"][..],
        ),
        (
            "vllm",
            r#"{"object":"list","data":[{"id":"meta-llama/Llama-3.1-8B","object":"model",
                 "created":1763884800,"owned_by":"vllm","root":"meta-llama/Llama-3.1-8B",
                 "parent":null,
                 "max_model_len":8192,"permission":[{}]},
                {"id":"sql-lora","object":"model","parent":"meta-llama/Llama-3.1-8B"}]}"#,
            &["meta-llama/Llama-3.1-8B", "sql-lora"],
        ),
        (
            "sglang",
            r#"{"object":"list","data":[{"id":"qwen/qwen2.5-0.5b-instruct","object":"model",
                 "owned_by":"sglang",
                "root":"qwen/qwen2.5-0.5b-instruct","max_model_len":32768}]}"#,
            &["qwen/qwen2.5-0.5b-instruct"],
        ),
        (
            "ollama",
            r#"{"object":"list","data":[{"id":"llama3.2:latest","object":"model",
                 "created":1763884800,"owned_by":"library"},
                {"id":"qwen3:4b","object":"model"}]}"#,
            &["llama3.2:latest", "qwen3:4b", "llama3.2"],
        ),
        (
            "tgi",
            r#"{"object":"list","data":[{"id":"HuggingFaceH4/zephyr-7b-beta","object":"model",
                 "created":0,"owned_by":"x"}]}"#,
            &["HuggingFaceH4/zephyr-7b-beta"],
        ),
        ("other", r#"[{"id":"a"},{"id":"b"}]"#, &["a", "b"]),
        ("other", r#"{"data":[]}"#, &[]),
        (
            "other",
            r#"{"data":[{"id":7},{"name":"x"},"y",null,{"id":"a","aliases":"no"},
                 {"aliases":[1,"b"]}]}"#,
            &["a", "b"],
        ),
    ] {
        assert_eq!(
            models(&kind(engine), body.as_bytes()).unwrap(),
            expected,
            "{engine}"
        );
    }
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
        assert_eq!(models(&kind("vllm"), body.as_bytes()), None, "{body}");
    }
}

// spec: PROBE-3
#[test]
fn each_kind_has_its_readiness_path() {
    for (engine, path) in [
        ("llamacpp", "/health"),
        ("vllm", "/health"),
        ("tgi", "/health"),
        ("sglang", "/ready"),
        ("ollama", "/api/version"),
        ("trtllm", "/v1/models"),
    ] {
        assert_eq!(readiness_path(&kind(engine)), path, "{engine}");
    }
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
            models(&kind("ollama"), text.as_bytes());
            error_message(text.as_bytes());
        }
    }
}
