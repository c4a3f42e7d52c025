//! Answers as engines really write them.

use super::*;

/// What came of a stream of events, in a form to compare.
fn read(events: &[(&str, &str)]) -> Vec<String> {
    let mut answer = Answer::default();
    let mut changes = Vec::new();
    for (name, data) in events {
        answer.event(name, data.as_bytes(), &mut changes);
    }
    answer.end(&mut changes);
    changes.iter().map(told).collect()
}

fn told(change: &Change) -> String {
    match change {
        Change::Token {
            text,
            reasoning: false,
        } => format!("token {text:?}"),
        Change::Token {
            text,
            reasoning: true,
        } => format!("thought {text:?}"),
        Change::Embedding { index, values } => format!("embedding {index} {values}"),
        Change::Finished { facts, reason } => format!(
            "end {} {}",
            reason.as_deref().unwrap_or("-"),
            serde_json::to_string(facts).unwrap()
        ),
        Change::Failed(failure) => format!("{} {}", failure.code.as_str(), failure.message),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_chat_of_llama_server() {
    let told = read(&[
        (
            "",
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"object":"chat.completion.chunk"}"#,
        ),
        (
            "",
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"reasoning_content":"hm","reasoning":"hm"}}]}"#,
        ),
        (
            "",
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":" one"}}]}"#,
        ),
        (
            "",
            r#"{"choices":[{"finish_reason":"length","index":0,"delta":{}}]}"#,
        ),
        (
            "",
            r#"{"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":2,"total_tokens":22,"prompt_tokens_details":{"cached_tokens":15}},"timings":{"cache_n":15,"prompt_n":5,"prompt_ms":1.5,"predicted_n":2,"predicted_ms":2.5}}"#,
        ),
        ("", "[DONE]"),
        ("", r#"{"choices":[{"delta":{"content":"too late"}}]}"#),
    ]);
    assert_eq!(
        told,
        [
            "thought \"hm\"",
            "token \" one\"",
            r#"end length {"prompt_tokens":20,"cached_tokens":15,"completion_tokens":2,"prompt_ms":1.5,"predicted_ms":2.5}"#,
        ]
    );
}

#[test]
fn a_completion() {
    let told = read(&[
        ("", r#"{"choices":[{"index":0,"text":"a"}]}"#),
        (
            "",
            r#"{"choices":[{"index":0,"text":"","finish_reason":"stop"}],"usage":{"completion_tokens":1}}"#,
        ),
        ("", "[DONE]"),
    ]);
    assert_eq!(told, ["token \"a\"", r#"end stop {"completion_tokens":1}"#]);
}

// spec: PATH-39
#[test]
fn figures_without_measure_do_not_spoil_the_answer() {
    let told = read(&[
        (
            "",
            r#"{"choices":[{"text":"a"}],"timings":{"prompt_n":18446744073709551615,"cache_n":18446744073709551615}}"#,
        ),
        ("", "[DONE]"),
    ]);
    let most = u64::MAX;
    let figures = format!(r#"{{"prompt_tokens":{most},"cached_tokens":{most}}}"#);
    assert_eq!(told, ["token \"a\"".to_owned(), format!("end - {figures}")]);
}

#[test]
fn strange_figures_do_not_spoil_the_answer() {
    let told = read(&[
        (
            "",
            r#"{"choices":[{"text":"a"}],"usage":{"completion_tokens":"many"},"timings":[]}"#,
        ),
        ("", "[DONE]"),
    ]);
    assert_eq!(told, ["token \"a\"", "end - {}"]);
}

#[test]
fn errors_in_a_stream_and_ends_without_one() {
    for (events, expected) in [
        (
            &[][..],
            "WORKER_RESET the engine broke off in the middle of its answer",
        ),
        (
            &[(
                "",
                r#"{"error":{"message":"stalled","type":"server_error","param":null,"code":"WORKER_RESET"}}"#,
            )],
            "WORKER_RESET stalled",
        ),
        (
            &[(
                "",
                r#"{"error":{"message":"over","code":"DEADLINE_EXCEEDED"}}"#,
            )],
            "DEADLINE_EXCEEDED over",
        ),
        (
            &[(
                "",
                r#"{"error":{"message":"too long","code":400,"type":"exceed_context_size_error"}}"#,
            )],
            "INVALID_REQUEST too long",
        ),
        (
            &[("error", r#"{"error":{"message":"died"}}"#)],
            "WORKER_RESET died",
        ),
        (
            &[("error", "gibberish")],
            "WORKER_RESET the engine refused the request",
        ),
        (
            &[("", "gibberish")],
            "WORKER_RESET the engine's answer is not of the form that was asked for",
        ),
        (
            &[("", r#"{"choices":[{"text":5}]}"#)],
            "WORKER_RESET the engine's answer is not of the form that was asked for",
        ),
    ] {
        assert_eq!(read(events), [expected], "{events:?}");
    }
}

#[test]
fn whole_answers() {
    let whole = |body: &str| {
        let mut changes = Vec::new();
        Answer::default().whole(body.as_bytes(), &mut changes);
        changes.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(
        whole(
            r#"{"data":[{"object":"embedding","index":0,"embedding":[0.50,-1e-3]},{"embedding":"AAAA"}],"usage":{"prompt_tokens":2}}"#
        ),
        [
            "embedding 0 [0.50,-1e-3]",
            "embedding 1 \"AAAA\"",
            r#"end - {"prompt_tokens":2}"#
        ]
    );
    assert_eq!(
        whole(
            r#"{"choices":[{"message":{"role":"assistant","content":"all"},"finish_reason":"stop"}]}"#
        ),
        ["token \"all\"", "end stop {}"]
    );
    assert_eq!(whole(r#"{"error":{"message":"no"}}"#), ["WORKER_RESET no"]);
}

#[test]
fn refusals_have_our_codes() {
    for (status, body, code, message) in [
        (
            404,
            r#"{"error":{"message":"no such model","code":"MODEL_NOT_AVAILABLE"}}"#,
            ErrorCode::ModelNotAvailable,
            "no such model",
        ),
        (
            400,
            r#"{"error":{"message":"bad seed","code":400}}"#,
            ErrorCode::InvalidRequest,
            "bad seed",
        ),
        (
            400,
            r#"{"error":{"message":"bad","code":"some_code"}}"#,
            ErrorCode::InvalidRequest,
            "bad",
        ),
        (
            501,
            r#"{"error":{"message":"no embeddings","code":501}}"#,
            ErrorCode::WorkerReset,
            "no embeddings",
        ),
        (
            401,
            "",
            ErrorCode::PoolUnavailable,
            "the engine refused the request",
        ),
        (
            413,
            "<html>",
            ErrorCode::PayloadTooLarge,
            "the engine refused the request",
        ),
    ] {
        let failure = failure(body.as_bytes(), StatusCode::from_u16(status).unwrap());
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (code, message),
            "{status} {body}"
        );
    }
}
