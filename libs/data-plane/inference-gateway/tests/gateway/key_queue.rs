//! Requests of keys that wait for a slot: their keys are looked at again.

use bearer_auth::UncheckedKeyLimits;
use fake_engine::Script;
use futures_util::future::join_all;
use http::{Method, Response};
use serde_json::json;
use stream_proxy::ProxyBody;

use crate::{
    harness::{Service, TestKey, engines, error_of, header, text},
    key_service::{CHAT, chat, limits, post, service, used},
};

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
