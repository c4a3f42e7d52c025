//! Validation of tasks, and the requests to the engine.

use serde_json::{Value, json};

use super::*;

fn engine_request(request: &Value) -> Result<EngineRequest, ApiError> {
    serde_json::from_value::<TaskRequest>(request.clone())
        .map_err(|error| ApiError::invalid(error.to_string()))
        .and_then(TaskRequest::into_engine_request)
}

fn chat() -> Value {
    let messages = json!([{"role": "user", "content": "hi"}]);
    json!({"workload": "chat", "model_ref": "tiny", "messages": messages})
}

fn with(mut request: Value, field: &str, value: Value) -> Value {
    request[field] = value;
    request
}

#[test]
fn each_workload_has_its_engine_request() {
    for (request, path, body) in [
        (
            with(with(chat(), "seed", json!(-1)), "max_tokens", json!(5)),
            "/v1/chat/completions",
            json!({
                "model": "tiny", "messages": [{"role": "user", "content": "hi"}],
                "max_tokens": 5, "seed": -1,
                "stream": true, "stream_options": {"include_usage": true},
            }),
        ),
        (
            json!({"workload": "completion", "model_ref": "tiny", "prompt": "a \"b\""}),
            "/v1/completions",
            json!({
                "model": "tiny", "prompt": "a \"b\"",
                "stream": true, "stream_options": {"include_usage": true},
            }),
        ),
        (
            json!({"workload": "embedding", "model_ref": "tiny", "inputs": ["a", "b"]}),
            "/v1/embeddings",
            json!({"model": "tiny", "input": ["a", "b"]}),
        ),
        (
            json!({"workload": "embedding", "model_ref": "tiny", "inputs": "a"}),
            "/v1/embeddings",
            json!({"model": "tiny", "input": "a"}),
        ),
    ] {
        let engine_request = engine_request(&request).unwrap();
        assert_eq!(engine_request.path, path);
        assert_eq!(
            serde_json::from_slice::<Value>(&engine_request.body).unwrap(),
            body
        );
    }
}

#[test]
fn messages_are_passed_to_the_engine_byte_for_byte() {
    let message = concat!(
        r#"{ "role":"user","content" : "\u00e9","#,
        r#""n":123456789012345678901234567890,"role2":1.0e2 }"#,
    );
    let request = format!(r#"{{"workload":"chat","model_ref":"tiny","messages":[ {message} ]}}"#);
    let engine_request = serde_json::from_str::<TaskRequest>(&request)
        .unwrap()
        .into_engine_request()
        .unwrap();
    let body = std::str::from_utf8(&engine_request.body).unwrap();
    assert!(body.contains(message), "{body}");
}

// spec: TASK-8
#[test]
fn other_fields_are_optional_and_unknown_ones_are_ignored() {
    let engine_request = engine_request(&with(chat(), "of_a_later_version", json!(1))).unwrap();
    assert_eq!(
        (
            engine_request.priority,
            engine_request.placement,
            engine_request.deadline,
            engine_request.session
        ),
        (Priority::Interactive, Placement::Auto, None, None)
    );
}

#[test]
fn placement_priority_deadline_and_session() {
    let request = with(
        with(
            with(
                with(chat(), "placement", json!({"mode": "pin", "node_id": "n1"})),
                "priority",
                json!("batch"),
            ),
            "deadline_ms",
            json!(1500),
        ),
        "session_id",
        json!("s-1"),
    );
    let engine_request = engine_request(&request).unwrap();
    let node = NodeId::new("n1").unwrap();
    assert_eq!(
        (engine_request.priority, &engine_request.placement),
        (Priority::Batch, &Placement::Pin(node))
    );
    assert_eq!(
        (
            engine_request.deadline,
            engine_request.session.unwrap().as_str()
        ),
        (Some(Duration::from_millis(1500)), "s-1")
    );
}

// spec: TASK-8
#[test]
fn every_invalid_field_is_named() {
    let placed = |placement: Value| with(chat(), "placement", placement);
    for (request, field) in [
        (with(chat(), "model_ref", json!("")), "model_ref"),
        (with(chat(), "model_ref", json!("a\u{0}b")), "model_ref"),
        (
            with(chat(), "model_ref", json!("x".repeat(300))),
            "model_ref",
        ),
        (with(chat(), "deadline_ms", json!(0)), "deadline_ms"),
        (with(chat(), "deadline_ms", json!(u64::MAX)), "deadline_ms"),
        (with(chat(), "messages", json!([])), "messages"),
        (
            with(chat(), "messages", json!([{"role": "user"}, "hi"])),
            "messages[1]",
        ),
        (
            with(chat(), "messages", json!([{"content": "hi"}])),
            "messages[0]",
        ),
        (
            with(chat(), "messages", json!([["user", "hi"]])),
            "messages[0]",
        ),
        (
            with(chat(), "messages", json!([{"role": "user", "content": {}}])),
            "messages[0].content",
        ),
        (
            with(chat(), "messages", json!([{"role": "user", "content": 1}])),
            "messages[0].content",
        ),
        (with(chat(), "messages", Value::Null), "messages"),
        (with(chat(), "prompt", json!("hi")), "prompt"),
        (with(chat(), "inputs", json!("hi")), "inputs"),
        (
            json!({"workload": "completion", "model_ref": "m"}),
            "prompt",
        ),
        (
            json!({"workload": "embedding", "model_ref": "m", "inputs": []}),
            "inputs",
        ),
        (placed(json!({"mode": "pin"})), "placement.node_id"),
        (placed(json!({"mode": "prefer"})), "placement.node_id"),
    ] {
        let error = engine_request(&request).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert!(
            error.message.starts_with(&format!("{field}: ")),
            "{field}: {}",
            error.message
        );
    }
}

#[test]
fn equal_requests_have_equal_fingerprints_and_others_do_not() {
    let fingerprint = |request: &Value| engine_request(request).unwrap().fingerprint();
    let same = concat!(
        r#"{ "messages":[{"role":"user","content":"hi"}], "x":1, "#,
        r#""model_ref":"tiny", "workload":"chat", "task_id":"t" }"#,
    );
    assert_eq!(
        fingerprint(&chat()),
        fingerprint(&serde_json::from_str(same).unwrap())
    );
    for (field, value) in [
        ("model_ref", json!("other")),
        ("messages", json!([{"role": "user", "content": "ho"}])),
        ("max_tokens", json!(1)),
        ("seed", json!(1)),
        ("priority", json!("batch")),
        ("deadline_ms", json!(5)),
        ("session_id", json!("s")),
        ("placement", json!({"mode": "pin", "node_id": "n"})),
        ("placement", json!({"mode": "prefer", "node_id": "n"})),
    ] {
        assert_ne!(
            fingerprint(&chat()),
            fingerprint(&with(chat(), field, value)),
            "{field}"
        );
    }
}

#[test]
fn debug_output_holds_no_prompt() {
    let engine_request = engine_request(&with(
        chat(),
        "messages",
        json!([{"role": "user", "content": "canary"}]),
    ))
    .unwrap();
    assert!(!format!("{engine_request:?}").contains("canary"));
}
