//! Responses as real engines write them.

use super::*;

/// The changes by a stream of events, as text.
fn read(events: &[(&str, &str)]) -> Vec<String> {
    let mut reader = ResponseReader::default();
    let mut changes = Vec::new();
    for (name, data) in events {
        reader.event(name, data.as_bytes(), &mut changes);
    }
    reader.end(&mut changes);
    changes.iter().map(describe).collect()
}

fn describe(change: &TaskChange) -> String {
    match change {
        TaskChange::Token {
            text,
            reasoning: false,
        } => format!("token {text:?}"),
        TaskChange::Token {
            text,
            reasoning: true,
        } => format!("thought {text:?}"),
        TaskChange::Embedding { index, values } => format!("embedding {index} {values}"),
        TaskChange::Finished { figures, reason } => format!(
            "end {} {}",
            reason.as_deref().unwrap_or("-"),
            serde_json::to_string(figures).unwrap()
        ),
        TaskChange::Failed(error) => format!("{} {}", error.code.as_str(), error.message),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_chat_stream_of_llama_server() {
    let changes = read(&[
        (
            "",
            concat!(
                r#"{"choices":[{"finish_reason":null,"index":0,"#,
                r#""delta":{"role":"assistant","content":null}}],"#,
                r#""object":"chat.completion.chunk"}"#,
            ),
        ),
        (
            "",
            concat!(
                r#"{"choices":[{"finish_reason":null,"index":0,"#,
                r#""delta":{"reasoning_content":"hm","reasoning":"hm"}}]}"#,
            ),
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
            concat!(
                r#"{"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":2,"#,
                r#""total_tokens":22,"prompt_tokens_details":{"cached_tokens":15}},"#,
                r#""timings":{"cache_n":15,"prompt_n":5,"prompt_ms":1.5,"#,
                r#""predicted_n":2,"predicted_ms":2.5}}"#,
            ),
        ),
        ("", "[DONE]"),
        ("", r#"{"choices":[{"delta":{"content":"too late"}}]}"#),
    ]);
    assert_eq!(
        changes,
        [
            "thought \"hm\"",
            "token \" one\"",
            concat!(
                r#"end length {"prompt_tokens":20,"cached_tokens":15,"#,
                r#""completion_tokens":2,"prompt_ms":1.5,"predicted_ms":2.5}"#,
            ),
        ]
    );
}

#[test]
fn a_completion_stream() {
    let changes = read(&[
        ("", r#"{"choices":[{"index":0,"text":"a"}]}"#),
        (
            "",
            concat!(
                r#"{"choices":[{"index":0,"text":"","finish_reason":"stop"}],"#,
                r#""usage":{"completion_tokens":1}}"#,
            ),
        ),
        ("", "[DONE]"),
    ]);
    assert_eq!(
        changes,
        ["token \"a\"", r#"end stop {"completion_tokens":1}"#]
    );
}

// spec: PATH-39
#[test]
fn huge_figures_do_not_spoil_the_answer() {
    let changes = read(&[
        (
            "",
            concat!(
                r#"{"choices":[{"text":"a"}],"#,
                r#""timings":{"prompt_n":18446744073709551615,"#,
                r#""cache_n":18446744073709551615}}"#,
            ),
        ),
        ("", "[DONE]"),
    ]);
    let most = u64::MAX;
    let figures = format!(r#"{{"prompt_tokens":{most},"cached_tokens":{most}}}"#);
    assert_eq!(
        changes,
        ["token \"a\"".to_owned(), format!("end - {figures}")]
    );
}

#[test]
fn invalid_figures_do_not_spoil_the_answer() {
    let changes = read(&[
        (
            "",
            r#"{"choices":[{"text":"a"}],"usage":{"completion_tokens":"many"},"timings":[]}"#,
        ),
        ("", "[DONE]"),
    ]);
    assert_eq!(changes, ["token \"a\"", "end - {}"]);
}

#[test]
fn streams_that_end_with_an_error_or_without_an_end() {
    for (events, expected) in [
        (
            &[][..],
            "WORKER_RESET the engine broke off in the middle of its answer",
        ),
        (
            &[(
                "",
                concat!(
                    r#"{"error":{"message":"stalled","type":"server_error","#,
                    r#""param":null,"code":"WORKER_RESET"}}"#,
                ),
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
fn whole_responses() {
    let whole = |body: &str| {
        let mut changes = Vec::new();
        ResponseReader::default().whole(body.as_bytes(), &mut changes);
        changes.iter().map(describe).collect::<Vec<_>>()
    };
    assert_eq!(
        whole(concat!(
            r#"{"data":[{"object":"embedding","index":0,"embedding":[0.50,-1e-3]},"#,
            r#"{"embedding":"AAAA"}],"usage":{"prompt_tokens":2}}"#,
        )),
        [
            "embedding 0 [0.50,-1e-3]",
            "embedding 1 \"AAAA\"",
            r#"end - {"prompt_tokens":2}"#
        ]
    );
    assert_eq!(
        whole(concat!(
            r#"{"choices":[{"message":{"role":"assistant","content":"all"},"#,
            r#""finish_reason":"stop"}]}"#,
        )),
        ["token \"all\"", "end stop {}"]
    );
    assert_eq!(whole(r#"{"error":{"message":"no"}}"#), ["WORKER_RESET no"]);
}

#[test]
fn error_responses_get_error_codes_of_the_api() {
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
        let error = read_error(body.as_bytes(), StatusCode::from_u16(status).unwrap());
        assert_eq!(
            (error.code, error.message.as_str()),
            (code, message),
            "{status} {body}"
        );
    }
}
