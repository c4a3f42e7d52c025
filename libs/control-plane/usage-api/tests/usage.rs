//! The route over a log in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{Extension, Router, body::Body};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use http_server::Principal;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use usage_log::{Usage, UsageLog};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Two days from 2024-10-04 on, of two keys and two models, one of them with a strange name.
fn router() -> Router {
    let log = UsageLog::in_memory();
    let text = |text: &str| -> Arc<str> { text.into() };
    for day in 0..2 {
        for (id, name) in [("k1", "shop"), ("k2", "a, \"b\"")] {
            for model in ["org/large", "tiny"] {
                let usage = Usage {
                    requests: 1,
                    input_tokens: 2,
                    output_tokens: 3,
                    slot_ms: 4005,
                };
                let at = UNIX_EPOCH + (20_000 + day) * DAY;
                log.record(at, (&text(id), &text(name)), &text(model), usage);
            }
        }
    }
    let router = usage_api::routes(log).into_router();
    http_server::with_fallbacks(router.layer(Extension(Principal::ApiToken)))
}

async fn get(path: &str, accept: &str) -> (u16, HeaderMap, String) {
    let request = Request::get(path).header("accept", accept);
    let request = request.body(Body::empty()).unwrap();
    let response = router().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (head.status.as_u16(), head.headers, text)
}

async fn rows(query: &str) -> Vec<Value> {
    let (status, _, text) = get(&format!("/v2/usage{query}"), "*/*").await;
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["usage"].as_array().unwrap().clone()
}

// spec: KEY-24
#[tokio::test]
async fn rows_are_chosen_and_paged() {
    assert_eq!(
        rows("").await[0],
        json!({
            "date": "2024-10-04", "key_id": "k1", "key_name": "shop", "model": "org/large",
            "requests": 1, "input_tokens": 2, "output_tokens": 3, "slot_ms": 4005,
        })
    );
    for (query, count) in [
        ("", 8),
        ("?key=k1", 4),
        ("?key=shop&model=tiny", 2),
        ("?model=org%2Flarge", 4),
        ("?from=2024-10-05", 4),
        ("?to=2024-10-04&key=k2", 2),
        ("?from=2024-10-06", 0),
        ("?from=2024-10-05&to=2024-10-04", 0),
        ("?to=1234-05-06", 0),
        ("?limit=3", 3),
    ] {
        assert_eq!(rows(query).await.len(), count, "{query}");
    }
    let (mut found, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let (_, _, text) = get(&format!("/v2/usage{query}"), "application/json").await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        found.extend(answer["usage"].as_array().unwrap().clone());
        let Some(next) = answer["next_after"].as_str() else {
            break;
        };
        query = format!("?limit=3&after={}", next.replace('%', "%25"));
    }
    assert_eq!(found, rows("").await);
}

// spec: KEY-24
#[tokio::test]
async fn csv_has_the_same_rows() {
    let expected = "date,key_id,key_name,model,requests,input_tokens,output_tokens,slot_seconds\r\n\
                    2024-10-05,k1,shop,tiny,1,2,3,4.005\r\n\
                    2024-10-05,k2,\"a, \"\"b\"\"\",tiny,1,2,3,4.005\r\n";
    for (query, accept) in [("&format=csv", "*/*"), ("", "text/csv")] {
        let path = format!("/v2/usage?from=2024-10-05&model=tiny{query}");
        let (status, headers, text) = get(&path, accept).await;
        assert_eq!((status, text.as_str()), (200, expected));
        assert_eq!(headers["content-type"], "text/csv; charset=utf-8");
        assert!(!headers.contains_key("x-next-after"));
    }
    let (_, headers, text) = get("/v2/usage?format=csv&limit=1", "*/*").await;
    assert_eq!(text.lines().count(), 2);
    assert_eq!(headers["x-next-after"], "20000/k1/org%2Flarge");
}

// spec: KEY-24
#[tokio::test]
async fn a_bad_parameter_is_named() {
    let long = format!("key={}", "x".repeat(257));
    for (query, says) in [
        ("from=today", "from: must be a day, such as"),
        ("to=2024-02-30", "to: must be a day"),
        ("limit=0", "limit: must be a number from 1 to 10000"),
        ("limit=10001", "limit: "),
        ("limit=x", "limit: "),
        ("after=x", "after: must be the `next_after`"),
        ("after=20000/k1", "after: "),
        ("format=xml", "format: must be json or csv"),
        ("model=", "model: must have 1 to 256 characters"),
        (&long, "key: must have"),
        ("key=a&key=b", "query"),
    ] {
        let (status, _, text) = get(&format!("/v2/usage?{query}"), "*/*").await;
        assert_eq!(status, 400, "{query}: {text}");
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(error["error"]["code"], "INVALID_REQUEST");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{query}: {message}");
    }
}
