//! The route over a store in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{sync::Arc, time::UNIX_EPOCH};

use axum::{Extension, body::Body};
use bearer_auth::{Identity, KeyLimits, Principal, Scope};
use http::Request;
use http_body_util::BodyExt as _;
use registry_store::{Change, MemoryStore, RegistryStore as _, conformance::node};
use state_export::{LiveState, Profile, StateExport};
use tower::ServiceExt as _;
use usage_log::UsageLog;

async fn ask(caller: Principal) -> (u16, http::HeaderMap, Vec<u8>) {
    let store = MemoryStore::default();
    let change = Change::Put(Arc::new(node("gpu-1", UNIX_EPOCH)));
    store.apply(&[change]).unwrap();
    let routes = state_api::routes(LiveState {
        store: Arc::new(store),
        usage: UsageLog::in_memory(),
        directory: None,
        profile: Profile::Cloud,
        ca_sha256: None,
        made_by: "0.1.0",
    });
    let router = http_server::with_fallbacks(routes.into_router().layer(Extension(caller)));
    let request = Request::post("/v2/store/export").body(Body::empty());
    let (head, body) = router.oneshot(request.unwrap()).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    (head.status.as_u16(), head.headers, body)
}

// spec: KEEP-70
#[tokio::test]
async fn an_operator_gets_all_state_and_the_audit_log_says_so() {
    let (log, _guard) = captured_log::Log::of_this_thread(tracing::Level::INFO);
    let (status, headers, body) = ask(Principal::ApiToken).await;
    assert_eq!(
        (status, &headers["cache-control"]),
        (200, &"no-store".parse().unwrap())
    );
    let export = StateExport::parse(&body).unwrap();
    assert_eq!(export.records.nodes, [node("gpu-1", UNIX_EPOCH)]);
    let text = log.text();
    assert!(
        text.contains("audit") && text.contains("export all state"),
        "{text}"
    );
}

// spec: AUTH-24
#[tokio::test]
async fn an_observer_gets_none() {
    let observer = Principal::Key(Arc::new(Identity {
        id: "0123456789ab".into(),
        name: "observer".into(),
        scopes: Scope::Observer.into(),
        node: None,
        expires_at: None,
        limits: KeyLimits::default(),
    }));
    let (status, _, body) = ask(observer).await;
    assert_eq!(status, 403, "{}", String::from_utf8_lossy(&body));
}
