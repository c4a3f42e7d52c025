//! Answers of engines, and what Ollama's clients get.

use proptest::prelude::*;

use super::*;

const NOW: Moment<'_> = Moment {
    created_at: "2026-01-01T00:00:00Z",
    elapsed_ns: 5,
};

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn streamed(answer: &mut Answer, events: &[&str]) -> Vec<Value> {
    let events = events
        .iter()
        .flat_map(|event| answer.event(event.as_bytes(), NOW));
    lines(&events.collect::<Vec<u8>>())
}

// spec: PATH-109
#[test]
fn a_stream_becomes_lines() {
    let mut answer = Answer::new(Kind::Chat, "m");
    let lines = streamed(
        &mut answer,
        &[
            r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
            r#"{"choices":[{"delta":{"content":" one"}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2},
                "timings":{"prompt_ms":1.5,"predicted_ms":2}}"#,
            "[DONE]",
            "[DONE]",
        ],
    );
    let created = NOW.created_at;
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(
        lines[0],
        json!({"model": "m", "created_at": created, "done": false,
            "message": {"role": "assistant", "content": "", "thinking": "hm"}})
    );
    assert_eq!(lines[1]["message"]["content"], " one");
    assert_eq!(
        lines[2],
        json!({
            "model": "m", "created_at": created, "done": true, "done_reason": "length",
            "message": {"role": "assistant", "content": ""},
            "total_duration": 5, "load_duration": 0,
            "prompt_eval_count": 3, "prompt_eval_duration": 1_500_000,
            "eval_count": 2, "eval_duration": 2_000_000,
        })
    );
}

// spec: PATH-109
#[test]
fn tool_calls_come_whole_in_the_last_line() {
    let mut answer = Answer::new(Kind::Chat, "m");
    let lines = streamed(
        &mut answer,
        &[
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1",
                "function":{"name":"weather","arguments":"{\"ci"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,
                "function":{"arguments":"ty\":\"Rome\"}"}}]}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
            "[DONE]",
        ],
    );
    assert_eq!(lines.len(), 1);
    assert_eq!(
        lines[0]["message"]["tool_calls"],
        json!([{"id": "c1", "function": {"name": "weather", "arguments": {"city": "Rome"}}}])
    );
    assert_eq!(lines[0]["done_reason"], "stop");
}

// spec: PATH-109
#[test]
fn a_stream_that_breaks_ends_with_an_error() {
    let mut answer = Answer::new(Kind::Generate, "m");
    let token = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
    let found = streamed(
        &mut answer,
        &[token, r#"{"error":{"message":"broke"}}"#, token],
    );
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["response"], "a");
    assert_eq!(found[1], json!({"error": "broke"}));
    assert!(answer.end(NOW).is_empty());
    let mut answer = Answer::new(Kind::Chat, "m");
    assert_eq!(
        lines(&answer.end(NOW)),
        [json!({"error": "the answer broke off"})]
    );
}

// spec: PATH-109
#[test]
fn a_whole_answer_is_one_object() {
    let response = br#"{"choices":[{"message":{"role":"assistant","content":"hi"},
        "finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let answer = Answer::new(Kind::Chat, "m").whole(response, NOW);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["message"]["content"], "hi");
    assert_eq!(
        (&answer["done"], &answer["eval_count"]),
        (&json!(true), &json!(2))
    );
    let raw = br#"{"choices":[{"text":"hi","finish_reason":"stop"}]}"#;
    let answer = Answer::new(Kind::Raw, "m").whole(raw, NOW);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["response"], "hi");
}

// spec: PATH-109
#[test]
fn embeddings_are_in_the_order_of_their_inputs() {
    let response = br#"{"data":[{"index":1,"embedding":[2.5]},{"index":0,"embedding":[1]}],
        "usage":{"prompt_tokens":4}}"#;
    let found = Answer::new(Kind::Embed, "m").whole(response, NOW);
    let found: Value = serde_json::from_slice(&found).unwrap();
    assert_eq!(found["embeddings"], json!([[1], [2.5]]));
    assert_eq!(found["prompt_eval_count"], 4);
    let found = Answer::new(Kind::Embeddings, "m").whole(response, NOW);
    assert_eq!(found, br#"{"embedding":[1]}"#);
}

proptest! {
    // spec: PATH-109
    #[test]
    fn any_event_gives_whole_lines(events in prop::collection::vec(".{0,60}", 0..8)) {
        let mut answer = Answer::new(Kind::Chat, "m");
        for event in &events {
            lines(&answer.event(event.as_bytes(), NOW));
        }
        lines(&answer.end(NOW));
    }

    // spec: PATH-109
    #[test]
    fn the_text_of_a_stream_is_kept(pieces in prop::collection::vec(".{0,20}", 0..8)) {
        let mut answer = Answer::new(Kind::Generate, "m");
        let mut text = String::new();
        for piece in &pieces {
            let event = json!({"choices": [{"delta": {"content": piece}}]}).to_string();
            for line in lines(&answer.event(event.as_bytes(), NOW)) {
                text.push_str(line["response"].as_str().unwrap());
            }
        }
        prop_assert_eq!(text, pieces.concat());
    }
}
