//! The audit log of joining. Alone in its process, because a log belongs to a thread.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::sync::Arc;

use axum::{Extension, body::Body};
use bearer_auth::{AuthPolicy, Principal};
use http::{Request, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use join_api::{JoinApi, JoinConfig};
use key_api::KeyApi;
use registry_store::MemoryStore;
use serde_json::{Value, json};
use tower::ServiceExt as _;

// spec: JOIN-15
#[tokio::test]
async fn changes_are_in_the_audit_log_without_tokens() {
    let (log, _guard) = captured_log::Log::of_this_thread(tracing::Level::DEBUG);
    let store = Arc::new(MemoryStore::default());
    let policy = AuthPolicy::default();
    let keys = KeyApi::load(Arc::clone(&store) as _, policy.clone()).unwrap();
    let api = JoinApi::load(store, policy, keys, JoinConfig::default()).unwrap();
    let router = api.routes().into_router();
    let post = async |path: &str, body: Value| -> Value {
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()));
        let router = router.clone().layer(Extension(Principal::ApiToken));
        let answer = router.oneshot(request.unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    };
    let created = post("/v2/join-tokens", json!({})).await;
    let token = created["token"].as_str().unwrap();
    let id = created["join_token"]["token_id"].as_str().unwrap();
    let join = json!({"token": token, "node_id": "gpu-1", "address": "http://10.0.0.7:9200"});
    let refused = post("/v2/join", join).await;
    assert_eq!(refused["error"]["code"], "KEY_CONFLICT");
    let text = log.text();
    for part in [
        format!("what=\"create join token {id}\" status=200 result=\"done\""),
        format!("who=join token {id}"),
        "what=\"join as node gpu-1\" result=\"KEY_CONFLICT\"".to_owned(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    assert!(!text.contains(token), "{text}");
}
