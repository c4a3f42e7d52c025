//! Requests of Ollama's clients, and what engines get.

use proptest::prelude::*;

use super::*;

fn forwarded(translation: Translation) -> (OpenAiRequest, Value) {
    let Translation::Forward(request) = translation else {
        panic!("it is not forwarded: {translation:?}");
    };
    let body = serde_json::from_slice(&request.body).unwrap();
    (request, body)
}

fn chat(body: &Value) -> Value {
    forwarded(chat_request(body.to_string().as_bytes()).unwrap()).1
}

// spec: PATH-109
#[test]
fn a_chat_is_translated() {
    let (request, body) = forwarded(
        chat_request(br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#).unwrap(),
    );
    assert_eq!(
        (request.path, request.is_streamed, request.model.as_str()),
        ("/v1/chat/completions", true, "m")
    );
    let expected = json!({
        "model": "m", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "hi"}],
    });
    assert_eq!(body, expected);
}

// spec: PATH-109
#[test]
fn options_have_the_names_that_engines_know() {
    let body = chat(&json!({
        "model": "m", "stream": false, "messages": [{"role": "user", "content": "hi"}],
        "keep_alive": "5m", "think": true, "format": "json",
        "options": {"temperature": 0.5, "num_predict": 12, "repeat_penalty": 1.1,
            "stop": ["x"], "num_ctx": 4096, "seed": null},
    }));
    let expected = json!({
        "model": "m", "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5, "max_tokens": 12, "stop": ["x"],
        "repeat_penalty": 1.1, "repetition_penalty": 1.1,
        "chat_template_kwargs": {"enable_thinking": true},
        "response_format": {"type": "json_object"},
    });
    assert_eq!(body, expected);
    let body = chat(&json!({
        "model": "m", "stream": false, "messages": [{"role": "user", "content": "hi"}],
        "think": "low", "format": {"type": "object"}, "options": {"num_predict": -1},
    }));
    assert_eq!(body["reasoning_effort"], "low");
    assert_eq!(
        body["response_format"]["json_schema"]["schema"],
        json!({"type": "object"})
    );
    assert_eq!(body.get("max_tokens"), None);
}

// spec: PATH-109
#[test]
fn tool_calls_and_their_results_are_matched() {
    let body = chat(&json!({
        "model": "m", "stream": false, "tools": [{"type": "function"}],
        "messages": [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"function": {"name": "a", "arguments": {"x": 1}}},
                {"function": {"name": "b", "arguments": {}}},
            ]},
            {"role": "tool", "content": "1", "tool_name": "a"},
            {"role": "tool", "content": "2", "tool_name": "b"},
        ],
    }));
    let messages = &body["messages"];
    assert_eq!(messages[1]["tool_calls"][0]["id"], "call_0");
    assert_eq!(
        messages[1]["tool_calls"][0]["function"]["arguments"],
        r#"{"x":1}"#
    );
    assert_eq!(messages[1]["tool_calls"][1]["id"], "call_1");
    assert_eq!(messages[2]["tool_call_id"], "call_0");
    assert_eq!(messages[3]["tool_call_id"], "call_1");
    assert_eq!(body["tools"], json!([{"type": "function"}]));
}

// spec: PATH-109
#[test]
fn an_image_becomes_a_part_of_the_message() {
    let body = chat(&json!({
        "model": "m", "stream": false,
        "messages": [{"role": "user", "content": "what?", "images": ["/9j/4AAQ"]}],
    }));
    let url = &body["messages"][0]["content"][1]["image_url"]["url"];
    assert_eq!(url, "data:image/jpeg;base64,/9j/4AAQ");
    let secret = br#"{"model":"m","messages":[{"role":"user","images":["secret"]}]}"#;
    let error = chat_request(secret).unwrap_err().to_string();
    assert!(
        error.contains("`images`") && !error.contains("secret"),
        "{error}"
    );
}

// spec: PATH-109
#[test]
fn a_prompt_becomes_a_chat_or_a_completion() {
    let (request, body) = forwarded(
        generate_request(br#"{"model":"m","prompt":"hi","system":"be brief","stream":false}"#)
            .unwrap(),
    );
    assert_eq!(
        (request.kind, request.path),
        (Kind::Generate, "/v1/chat/completions")
    );
    let expected = json!([
        {"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"},
    ]);
    assert_eq!(body["messages"], expected);
    let (request, body) =
        forwarded(generate_request(br#"{"model":"m","prompt":"hi","raw":true}"#).unwrap());
    assert_eq!((request.kind, request.path), (Kind::Raw, "/v1/completions"));
    assert_eq!(body["prompt"], "hi");
    for (field, body) in [
        ("suffix", r#"{"model":"m","prompt":"hi","suffix":"x"}"#),
        ("template", r#"{"model":"m","prompt":"hi","template":"x"}"#),
    ] {
        let error = generate_request(body.as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{field}` is not supported")),
            "{error}"
        );
    }
}

// spec: PATH-109
#[test]
fn inputs_become_embeddings() {
    let (request, body) = forwarded(
        embed_request(
            br#"{"model":"m","input":["a","b"],"dimensions":4}"#,
            Kind::Embed,
        )
        .unwrap(),
    );
    assert_eq!(
        (request.path, request.is_streamed),
        ("/v1/embeddings", false)
    );
    assert_eq!(
        body,
        json!({"model": "m", "input": ["a", "b"], "dimensions": 4})
    );
    let old = embed_request(br#"{"model":"m","prompt":"a"}"#, Kind::Embeddings).unwrap();
    assert_eq!(forwarded(old).1, json!({"model": "m", "input": "a"}));
}

// spec: PATH-109
#[test]
fn a_request_without_content_loads_the_model() {
    let loaded = |kind| {
        Ok(Translation::Loaded {
            kind,
            model: "m".to_owned(),
        })
    };
    assert_eq!(chat_request(br#"{"model":"m"}"#), loaded(Kind::Chat));
    assert_eq!(
        generate_request(br#"{"model":"m","prompt":""}"#),
        loaded(Kind::Generate)
    );
    assert_eq!(
        embed_request(br#"{"model":"m"}"#, Kind::Embed),
        loaded(Kind::Embed)
    );
}

// spec: PATH-109
#[test]
fn an_invalid_request_is_explained_without_its_content() {
    for body in [
        "",
        "secret",
        "{}",
        r#"{"model":7,"messages":"secret"}"#,
        r#"{"model":"m","messages":"secret"}"#,
        r#"{"model":"m","messages":[{"role":"user","content":{"secret":1}}]}"#,
    ] {
        let error = chat_request(body.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("the body is not valid: "), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

proptest! {
    // spec: PATH-109
    #[test]
    fn any_text_reaches_the_engine_unchanged(text in ".{1,60}", stream in any::<bool>()) {
        let body = json!({
            "model": "m", "stream": stream, "messages": [{"role": "user", "content": text}],
        });
        let (request, body) =
            forwarded(chat_request(body.to_string().as_bytes()).unwrap());
        prop_assert_eq!(&body["messages"][0]["content"], &Value::from(text));
        prop_assert_eq!(request.is_streamed, stream);
    }

    #[test]
    fn any_bytes_are_judged(body in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = chat_request(&body);
        let _ = generate_request(&body);
        let _ = embed_request(&body, Kind::Embed);
    }
}
