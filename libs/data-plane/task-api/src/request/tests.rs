//! Every field that can be wrong is named, and what the engine gets is what the client meant.

use serde_json::{Value, json};

use super::*;

fn job(request: &Value) -> Result<Job, ApiError> {
    serde_json::from_value::<TaskRequest>(request.clone())
        .map_err(|error| ApiError::invalid(error.to_string()))
        .and_then(TaskRequest::into_job)
}

fn chat() -> Value {
    json!({"workload": "chat", "model_ref": "tiny", "messages": [{"role": "user", "content": "hi"}]})
}

fn with(mut request: Value, field: &str, value: Value) -> Value {
    request[field] = value;
    request
}

#[test]
fn each_workload_becomes_its_request() {
    for (request, path, body) in [
        (
            with(with(chat(), "seed", json!(-1)), "max_tokens", json!(5)),
            "/v1/chat/completions",
            json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "seed": -1,
                   "stream": true, "stream_options": {"include_usage": true}}),
        ),
        (
            json!({"workload": "completion", "model_ref": "tiny", "prompt": "a \"b\""}),
            "/v1/completions",
            json!({"model": "tiny", "prompt": "a \"b\"", "stream": true, "stream_options": {"include_usage": true}}),
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
        let job = job(&request).unwrap();
        assert_eq!(job.path, path);
        assert_eq!(serde_json::from_slice::<Value>(&job.body).unwrap(), body);
    }
}

#[test]
fn messages_go_to_the_engine_byte_for_byte() {
    let message = r#"{ "role":"user","content" : "\u00e9","n":123456789012345678901234567890,"role2":1.0e2 }"#;
    let request = format!(r#"{{"workload":"chat","model_ref":"tiny","messages":[ {message} ]}}"#);
    let job = serde_json::from_str::<TaskRequest>(&request)
        .unwrap()
        .into_job()
        .unwrap();
    let body = std::str::from_utf8(&job.body).unwrap();
    assert!(body.contains(message), "{body}");
}

// spec: TASK-8
#[test]
fn the_rest_is_optional_and_unknown_fields_are_ignored() {
    let job = job(&with(chat(), "of_a_later_version", json!(1))).unwrap();
    assert_eq!(
        (job.priority, job.placement, job.deadline, job.session),
        (Priority::Interactive, Placement::Auto, None, None)
    );
}

#[test]
fn where_and_when() {
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
    let job = job(&request).unwrap();
    let node = NodeId::new("n1").unwrap();
    assert_eq!(
        (job.priority, &job.placement),
        (Priority::Batch, &Placement::Pin(node))
    );
    assert_eq!(
        (job.deadline, job.session.unwrap().as_str()),
        (Some(Duration::from_millis(1500)), "s-1")
    );
}

// spec: TASK-8
#[test]
fn what_is_wrong_is_named() {
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
        let error = job(&request).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert!(
            error.message.starts_with(&format!("{field}: ")),
            "{field}: {}",
            error.message
        );
    }
}

#[test]
fn the_same_request_is_known_again_and_no_other() {
    let print = |request: &Value| job(request).unwrap().fingerprint();
    let same = r#"{ "messages":[{"role":"user","content":"hi"}], "x":1, "model_ref":"tiny", "workload":"chat", "task_id":"t" }"#;
    assert_eq!(print(&chat()), print(&serde_json::from_str(same).unwrap()));
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
            print(&chat()),
            print(&with(chat(), field, value)),
            "{field}"
        );
    }
}

#[test]
fn debug_output_holds_no_prompt() {
    let job = job(&with(
        chat(),
        "messages",
        json!([{"role": "user", "content": "canary"}]),
    ))
    .unwrap();
    assert!(!format!("{job:?}").contains("canary"));
}
