//! The usage of keys: what is counted of each request.

use bearer_auth::UncheckedKeyLimits;
use fake_engine::Script;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use stream_proxy::ProxyBody;
use usage_log::Usage;

use crate::{
    harness::{Service, TestKey, engines, error_of, text},
    key_service::{CHAT, chat, limits, post, service, used},
};

// spec: KEY-21
#[tokio::test]
async fn a_stream_that_would_hide_its_usage_is_refused_for_keys_only() {
    let engines = engines([Script::default()]);
    let service = service(&engines, [TestKey::new("shop", limits())]);
    let open = Service::over(&engines).await;
    let [key] = service.keys() else { panic!() };
    let bearer = key.bearer();
    let headers = [("authorization", bearer.as_str())];
    for (options, param) in [
        (r#""stream_options":[true]"#, "stream_options"),
        (
            r#""stream_options":{},"stream_options":{}"#,
            "stream_options",
        ),
        (
            r#""stream_options":{"include_usage":"false"}"#,
            "stream_options.include_usage",
        ),
    ] {
        let body = format!(r#"{{"model":"tiny","messages":[],"stream":true,{options}}}"#);
        let answer = service.send(Method::POST, CHAT, &headers, &body).await;
        assert_eq!(answer.status(), 400, "{options}");
        let error = error_of(&text(answer).await.0);
        assert_eq!(error["param"], param);
        // Other requests pass as they are.
        let answer = open.send(Method::POST, CHAT, &[], &body).await;
        assert_ne!(error_of_any(answer).await["param"], param, "{options}");
        // Without a stream the field means nothing.
        let body = body.replace("true,", "false,");
        let answer = service.send(Method::POST, CHAT, &headers, &body).await;
        assert_ne!(error_of_any(answer).await["param"], param, "{options}");
    }
}

/// The error of an answer, if it is one.
async fn error_of_any(answer: Response<ProxyBody>) -> Value {
    let answer: Value = serde_json::from_str(&text(answer).await.0).unwrap_or_default();
    answer["error"].clone()
}

// spec: KEY-27
#[tokio::test]
async fn a_client_that_leaves_before_the_usage_does_not_get_its_prompt_for_nothing() {
    let engines = engines([Script::default()]);
    let service = service(&engines, [TestKey::new("shop", limits())]);
    let [key] = service.keys() else { panic!() };
    let bearer = key.bearer();
    let body = json!({"model": "tiny", "stream": true, "x": "long ".repeat(100)}).to_string();
    let expected = body.len() as u64 / 4;
    for (number, more) in [("x-deadline-ms", "1000"), ("x-priority", "batch")]
        .into_iter()
        .enumerate()
    {
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-fake", "stall=3"),
            more,
        ];
        let answer = service.send(Method::POST, CHAT, &headers, &body).await;
        if more.0 == "x-deadline-ms" {
            // The stream ends with an error of its deadline.
            text(answer).await;
        } else {
            drop(answer);
        }
        let requests = number as u64 + 1;
        service
            .until("the request is recorded", |service| {
                used(service)
                    .iter()
                    .any(|(.., usage)| usage.requests == requests)
            })
            .await;
        let [(_, _, usage)] = used(&service).try_into().unwrap();
        assert_eq!(usage.input_tokens, requests * expected, "{more:?}");
    }
}

// spec: KEY-20, KEY-22
#[tokio::test]
async fn every_api_is_accounted_for_streamed_or_not() {
    const TOKENS: u64 = 7;
    let engines = engines([Script::default()]);
    let service = service(&engines, [TestKey::new("shop", limits())]);
    let [key] = service.keys() else { panic!() };
    let with = |mut body: Value, fields: Value| {
        let more = fields.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        body
    };
    let short = json!({"max_tokens": TOKENS});
    let streamed = json!({"max_tokens": TOKENS, "stream": true});
    let prompt = json!({"model": "fast", "prompt": "hi"});
    let inputs = vec!["x"; 20_000];
    let ollama = json!({"stream": false, "options": {"num_predict": TOKENS}});
    let ollama_streamed = json!({"options": {"num_predict": TOKENS}});
    let mut expected = Usage::default();
    for (path, body, input, output) in [
        (CHAT, with(chat("tiny"), short.clone()), 1, TOKENS),
        (CHAT, with(chat("fast"), streamed.clone()), 1, TOKENS),
        ("/v1/completions", with(prompt.clone(), short), 1, TOKENS),
        ("/v1/completions", with(prompt, streamed), 1, TOKENS),
        (
            "/v1/responses",
            json!({"model": "tiny", "input": "hi"}),
            1,
            16,
        ),
        (
            "/v1/responses",
            json!({"model": "tiny", "input": "hi", "stream": true}),
            1,
            16,
        ),
        ("/api/chat", with(chat("tiny"), ollama), 1, TOKENS),
        ("/api/chat", with(chat("tiny"), ollama_streamed), 1, TOKENS),
        (
            "/v1/embeddings",
            json!({"model": "tiny", "input": "x"}),
            1,
            0,
        ),
        // Too large to be read whole.
        (
            "/v1/embeddings",
            json!({"model": "tiny", "input": inputs}),
            20_000,
            0,
        ),
    ] {
        let answer = post(&service, key, path, &body).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(text(answer).await.1, "{path}");
        expected.requests += 1;
        expected.input_tokens += input;
        expected.output_tokens += output;
        service
            .until("the request is recorded", |service| {
                let requests: u64 = used(service)
                    .iter()
                    .map(|(_, _, usage)| usage.requests)
                    .sum();
                expected.requests == requests
            })
            .await;
        let [(name, model, usage)] = used(&service).try_into().unwrap();
        assert_eq!((name.as_str(), model.as_str()), ("shop", "tiny"));
        let slot_ms = usage.slot_ms;
        assert_eq!(
            usage,
            Usage {
                slot_ms,
                ..expected
            },
            "{path}"
        );
    }
}

// spec: KEY-22
#[tokio::test]
async fn what_an_engine_has_got_counts_and_nothing_else() {
    let engines = engines([Script::default()]);
    let key = TestKey::new(
        "shop",
        UncheckedKeyLimits {
            concurrent_requests: Some(1),
            ..limits()
        },
    );
    let service = service(&engines, [key]);
    let [key] = service.keys() else { panic!() };
    // Invalid, unknown, and beyond the limit.
    text(post(&service, key, CHAT, &json!({"model": 7})).await).await;
    text(post(&service, key, CHAT, &chat("none")).await).await;
    let bearer = key.bearer();
    let stalls = [("authorization", bearer.as_str()), ("x-fake", "stall=3")];
    let body = json!({"model": "tiny", "stream": true}).to_string();
    let mut held = service
        .send(Method::POST, CHAT, &stalls, &body)
        .await
        .into_body();
    assert_eq!(post(&service, key, CHAT, &chat("tiny")).await.status(), 429);
    assert!(used(&service).is_empty());
    // The client leaves after three tokens, which the engine has not reported.
    let mut seen = String::new();
    while seen.matches("\"content\"").count() < 3 {
        let frame = held.frame().await.unwrap().unwrap();
        seen.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    drop(held);
    service
        .until("the request is recorded", |service| {
            !used(service).is_empty()
        })
        .await;
    let [(_, _, usage)] = used(&service).try_into().unwrap();
    assert_eq!(
        (usage.requests, usage.input_tokens, usage.output_tokens),
        // A quarter of the bytes stands for the prompt.
        (1, body.len() as u64 / 4, 3)
    );
    // Requests without a key are not counted.
    let open = Service::over(&engines).await;
    text(open.chat(false, "").await).await;
    assert!(used(&open).is_empty());
}
