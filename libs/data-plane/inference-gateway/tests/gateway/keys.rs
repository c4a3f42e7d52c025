//! Requests of keys: their limits and their models.

use std::time::Duration;

use bearer_auth::{HighestPriority, UncheckedKeyLimits};
use fake_engine::Script;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Service, TestKey, engines, error_of, events, header, text},
    key_service::{CHAT, chat, limits, post, service},
};

async fn get(service: &Service, key: &TestKey, path: &str) -> (u16, Value) {
    let bearer = key.bearer();
    let headers = [("authorization", bearer.as_str())];
    let answer = service.send(Method::GET, path, &headers, "").await;
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&text(answer).await.0).unwrap())
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
