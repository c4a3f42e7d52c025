//! Requests of keys: their limits, their models, and the usage of their streams.

use std::time::Duration;

use bearer_auth::{HighestPriority, UncheckedKeyLimits};
use fake_engine::{FakeEngine, Script};
use futures_util::future::join_all;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use inference_gateway::{Aliases, GatewayConfig};
use serde_json::{Value, json};
use stream_proxy::ProxyBody;
use usage_log::{Usage, UsageQuery};

use crate::harness::{
    Service, TestKey, engines, error_of, events, generous_timeouts, header, long_queue, text,
};

const CHAT: &str = "/v1/chat/completions";

fn limits() -> UncheckedKeyLimits {
    UncheckedKeyLimits::default()
}

fn service<const N: usize>(engines: &[FakeEngine], keys: [TestKey; N]) -> Service {
    let config = GatewayConfig {
        timeouts: generous_timeouts(),
        aliases: Aliases::parse("[aliases]\nfast = \"tiny\"\n").unwrap(),
        ..GatewayConfig::default()
    };
    Service::with_keys(config, long_queue(), engines, keys.into())
}

async fn post(service: &Service, key: &TestKey, path: &str, body: &Value) -> Response<ProxyBody> {
    let bearer = key.bearer();
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    service
        .send(Method::POST, path, &headers, &body.to_string())
        .await
}

async fn get(service: &Service, key: &TestKey, path: &str) -> (u16, Value) {
    let bearer = key.bearer();
    let headers = [("authorization", bearer.as_str())];
    let answer = service.send(Method::GET, path, &headers, "").await;
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&text(answer).await.0).unwrap())
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}]})
}

// spec: KEY-2, KEY-5
#[tokio::test]
async fn a_limit_of_requests_refuses_in_the_words_of_each_api() {
    let engines = engines([Script::default()]);
    let key = TestKey::new(
        "shop",
        UncheckedKeyLimits {
            requests_per_minute: Some(2),
            ..limits()
        },
    );
    let other = TestKey::new("other", limits());
    let service = service(&engines, [key, other]);
    let [key, other] = service.keys() else {
        panic!()
    };
    for remaining in ["1", "0"] {
        let answer = post(&service, key, CHAT, &chat("tiny")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "x-ratelimit-limit-requests"), "2");
        assert_eq!(header(&answer, "x-ratelimit-remaining-requests"), remaining);
        assert!(header(&answer, "x-ratelimit-reset-requests").ends_with('s'));
        assert_eq!(header(&answer, "x-ratelimit-limit-tokens"), "");
        text(answer).await;
    }
    let messages = json!({"model": "tiny", "max_tokens": 4, "messages": []});
    for (path, body, pointer, kind) in [
        (CHAT, chat("tiny"), "/error/type", "rate_limit_error"),
        ("/v1/messages", messages, "/error/type", "rate_limit_error"),
        ("/api/chat", chat("tiny"), "/error", ""),
    ] {
        let answer = post(&service, key, path, &body).await;
        assert_eq!(answer.status(), 429, "{path}");
        let after: u64 = header(&answer, "retry-after").parse().unwrap();
        assert!((1..=61).contains(&after), "{after}");
        let backoff: u64 = header(&answer, "x-backoff-ms").parse().unwrap();
        assert!(backoff.div_ceil(1000) == after, "{backoff} {after}");
        assert_eq!(header(&answer, "x-ratelimit-remaining-requests"), "0");
        let body = text(answer).await.0;
        assert!(body.contains("2 requests a minute"), "{path}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let found = body.pointer(pointer).unwrap().as_str().unwrap();
        assert!(kind.is_empty() || found == kind, "{body}");
        let code = body.pointer("/error/code");
        assert!(kind.is_empty() || code.unwrap() == "RATE_LIMITED", "{body}");
    }
    // The refused requests count for nothing, and another key has no limit.
    let answer = post(&service, other, CHAT, &chat("tiny")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "x-ratelimit-limit-requests"), "");
}

// spec: KEY-4
#[tokio::test]
async fn no_more_requests_run_at_once_than_the_key_may_have() {
    let engines = engines([Script {
        slots: 50,
        ..Script::default()
    }]);
    let key = TestKey::new(
        "shop",
        UncheckedKeyLimits {
            concurrent_requests: Some(3),
            ..limits()
        },
    );
    let service = service(&engines, [key]);
    let [key] = service.keys() else { panic!() };
    let bearer = key.bearer();
    let stalled = |number: usize| {
        let (service, bearer) = (&service, &bearer);
        async move {
            let headers = [("authorization", bearer.as_str()), ("x-fake", "stall=1")];
            let body = json!({"model": "tiny", "stream": true, "user": number.to_string()});
            service
                .send(Method::POST, CHAT, &headers, &body.to_string())
                .await
        }
    };
    let answers = join_all((0..40).map(stalled)).await;
    let admitted = answers.iter().filter(|answer| answer.status() == 200);
    assert_eq!(admitted.count(), 3);
    let refused = answers.iter().find(|answer| answer.status() == 429);
    assert_eq!(header(refused.unwrap(), "retry-after"), "1");
    assert_eq!(engines[0].stats().peak, 3);
    // When they have left, others may come.
    drop(answers);
    service.all_slots_back().await;
    let answer = post(&service, key, CHAT, &chat("tiny")).await;
    assert_eq!(answer.status(), 200);
}

// spec: KEY-3, KEY-21
#[tokio::test]
async fn tokens_of_streams_are_charged_and_the_client_sees_no_more_than_it_asked_for() {
    let engines = engines([Script::default()]);
    let key = TestKey::new(
        "shop",
        UncheckedKeyLimits {
            tokens_per_minute: Some(30),
            ..limits()
        },
    );
    let service = service(&engines, [key]);
    let [key] = service.keys() else { panic!() };
    let mut body = chat("tiny");
    body["stream"] = json!(true);
    body["max_tokens"] = json!(7);
    let answer = post(&service, key, CHAT, &body).await;
    assert_eq!(header(&answer, "x-ratelimit-remaining-tokens"), "30");
    let hidden = text(answer).await.0;
    let hidden = events(&hidden);
    assert!(
        hidden.iter().all(|event| !event.contains("\"usage\":{")),
        "{hidden:?}"
    );
    assert_eq!(hidden.last(), Some(&"[DONE]"));

    body["stream_options"] = json!({"include_usage": true});
    let answer = post(&service, key, CHAT, &body).await;
    let left: u64 = header(&answer, "x-ratelimit-remaining-tokens")
        .parse()
        .unwrap();
    let shown = text(answer).await.0;
    let shown = events(&shown);
    assert_eq!(shown.len(), hidden.len() + 1);
    let usage: Value = serde_json::from_str(shown[shown.len() - 2]).unwrap();
    let total = usage["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(30 - left, total, "{usage}");

    // The rest is used up by the next ones, and then nothing is left.
    let mut admitted = 0;
    let refused = loop {
        let answer = post(&service, key, CHAT, &body).await;
        if answer.status() == 429 {
            break answer;
        }
        text(answer).await;
        admitted += 1;
    };
    // Of the requests that were admitted, only the last may go beyond.
    assert_eq!(admitted + 2, 30_u64.div_ceil(total));
    let error = error_of(&text(refused).await.0);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("tokens_per_minute"),
        "{error}"
    );
}

/// A request that holds the only slot until it is dropped.
async fn hold_slot(service: &Service, key: &TestKey) -> Response<ProxyBody> {
    let bearer = key.bearer();
    let headers = [("authorization", bearer.as_str()), ("x-fake", "stall=1")];
    let body = json!({"model": "tiny", "stream": true}).to_string();
    service.send(Method::POST, CHAT, &headers, &body).await
}

async fn until_waiting(service: &Service, count: usize) {
    let waiting = move |service: &Service| {
        let depth = service.admission.snapshot().waiting.get("tiny").copied();
        depth.map_or(0, |depth| depth.interactive) == count
    };
    service.until("the requests wait", waiting).await;
}

// spec: KEY-12, KEY-5
#[tokio::test]
async fn requests_that_wait_do_not_use_more_tokens_than_are_left() {
    const REQUESTS: usize = 20;
    let engines = engines([Script {
        slots: 1,
        ..Script::default()
    }]);
    let key = TestKey::new(
        "shop",
        UncheckedKeyLimits {
            tokens_per_minute: Some(30),
            ..limits()
        },
    );
    let service = service(&engines, [key, TestKey::new("other", limits())]);
    let [key, other] = service.keys() else {
        panic!()
    };
    let held = hold_slot(&service, other).await;
    // Streamed and whole ones: both give their slots back in their own way.
    let waiting = (0..REQUESTS).map(|number| {
        let mut body = chat("tiny");
        body["max_tokens"] = json!(7);
        body["stream"] = json!(number % 2 == 0);
        let service = &service;
        async move {
            let answer = post(service, key, CHAT, &body).await;
            let status = answer.status().as_u16();
            let retry_after = header(&answer, "retry-after").to_owned();
            let left = header(&answer, "x-ratelimit-remaining-tokens").to_owned();
            let attempts = header(&answer, "x-llorch-attempts").to_owned();
            (status, retry_after, left, attempts, text(answer).await.0)
        }
    });
    let released = async {
        until_waiting(&service, REQUESTS).await;
        drop(held);
    };
    let (answers, ()) = tokio::join!(join_all(waiting), released);
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(status, ..)| *status == 200);
    // A prompt of one token and seven generated ones.
    assert_eq!(served.len(), 30_usize.div_ceil(8));
    for (status, retry_after, left, attempts, body) in refused {
        assert_eq!((status, left.as_str()), (429, "0"), "{body}");
        let after: u64 = retry_after.parse().unwrap();
        assert!((1..=61).contains(&after), "{after}");
        assert_eq!(attempts, "0");
        assert!(body.contains("tokens_per_minute"), "{body}");
    }
    let rows = used(&service).into_iter();
    let (_, _, usage) = rows.into_iter().find(|(name, ..)| name == "shop").unwrap();
    assert_eq!((usage.requests, usage.tokens()), (4, 32));
}

// spec: AUTH-32
#[tokio::test]
async fn a_waiting_request_of_a_revoked_key_is_refused_when_its_turn_comes() {
    let engines = engines([Script {
        slots: 1,
        ..Script::default()
    }]);
    let service = service(&engines, [TestKey::new("shop", limits())]);
    let [key] = service.keys() else { panic!() };
    let held = hold_slot(&service, key).await;
    let body = chat("tiny");
    let revoked = async {
        until_waiting(&service, 1).await;
        service.revoke_keys();
        drop(held);
    };
    let (answer, ()) = tokio::join!(post(&service, key, CHAT, &body), revoked);
    assert_eq!(answer.status(), 401);
    let error = error_of(&text(answer).await.0);
    assert_eq!(error["code"], "UNAUTHORIZED");
    assert_eq!(error["message"], "the key of this token was revoked");
    assert_eq!(engines[0].stats().requests, 1);
}

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

// spec: KEY-6
#[tokio::test]
async fn a_key_sees_and_uses_its_models_only() {
    let engines = engines([
        Script::default(),
        Script {
            models: vec!["large".into()],
            ..Script::default()
        },
    ]);
    let of = |models: &[&str]| UncheckedKeyLimits {
        models: Some(models.iter().map(|name| name.parse().unwrap()).collect()),
        ..limits()
    };
    let keys = [
        TestKey::new("by name", of(&["tiny"])),
        TestKey::new("by alias", of(&["fast"])),
        TestKey::new("all", limits()),
    ];
    let service = service(&engines, keys);
    let keys = service.keys();
    for (key, names) in keys.iter().zip([
        vec!["fast", "tiny"],
        vec!["fast"],
        vec!["fast", "large", "tiny"],
    ]) {
        let (_, list) = get(&service, key, "/v1/models").await;
        let listed = list["data"].as_array().unwrap().iter();
        let listed: Vec<_> = listed.map(|model| model["id"].as_str().unwrap()).collect();
        assert_eq!(listed, names);
        let (_, tags) = get(&service, key, "/api/tags").await;
        assert_eq!(tags["models"].as_array().unwrap().len(), names.len());
        for model in ["fast", "large", "tiny", "none"] {
            let is_allowed = names.contains(&model);
            let expected = match (is_allowed, names.len(), model) {
                (true, ..) => 200,
                (false, 3, _) => 404,
                (false, ..) => 403,
            };
            let (status, answer) = get(&service, key, &format!("/v1/models/{model}")).await;
            assert_eq!(status, expected, "{model}: {answer}");
            for (path, body) in [
                (CHAT, chat(model)),
                ("/v1/messages", chat(model)),
                ("/api/chat", chat(model)),
                ("/api/show", chat(model)),
                ("/v1/embeddings", json!({"model": model, "input": "x"})),
            ] {
                let answer = post(&service, key, path, &body).await;
                let is_refused = answer.status() == 403;
                assert_eq!(is_refused, expected == 403, "{path} {model}");
                let body = text(answer).await.0;
                assert!(expected != 403 || body.contains("may not use"), "{body}");
            }
        }
    }
}

// spec: KEY-7
#[tokio::test]
async fn a_key_of_batch_requests_waits_behind_others() {
    let engines = engines([Script {
        slots: 1,
        ..Script::default()
    }]);
    let key = TestKey::new(
        "nightly",
        UncheckedKeyLimits {
            highest_priority: Some(HighestPriority::Batch),
            ..limits()
        },
    );
    let service = service(&engines, [key]);
    let [key] = service.keys() else { panic!() };
    let bearer = key.bearer();
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-fake", "stall=1"),
        ("x-priority", "interactive"),
    ];
    let body = json!({"model": "tiny", "stream": true}).to_string();
    let held = service.send(Method::POST, CHAT, &headers, &body).await;
    let waiting = service.send(Method::POST, CHAT, &headers, &body);
    let is_batch = service.until("it waits as a batch request", |service| {
        let depth = service.admission.snapshot().waiting.get("tiny").copied();
        depth.is_some_and(|depth| (depth.interactive, depth.batch) == (0, 1))
    });
    tokio::select! {
        _ = waiting => panic!("it did not wait"),
        () = is_batch => {}
    }
    drop(held);
    tokio::time::timeout(Duration::from_secs(60), service.all_slots_back())
        .await
        .unwrap();
}

/// What all keys have used, by the name of the key and the model.
fn used(service: &Service) -> Vec<(String, String, Usage)> {
    let page = service.usage.page(&UsageQuery::default(), None, 1000);
    let rows = page.rows.into_iter();
    rows.map(|row| (row.key_name.to_string(), row.model.to_string(), row.usage))
        .collect()
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
