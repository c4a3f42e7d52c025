//! The routes, over a store in memory and over one that fails.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use access_keys::{AccessKey, Effect};
use axum::{Extension, Router, body::Body};
use bearer_auth::{ApiToken, AuthError, AuthPolicy, Principal};
use http::{HeaderMap, Method, Request, header::AUTHORIZATION};
use http_body_util::BodyExt as _;
use key_api::KeyApi;
use registry_store::{KeyStore, MemoryStore, StoreError};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const REMOTE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));

/// A store that fails on command.
#[derive(Debug, Default)]
struct Disk {
    memory: MemoryStore,
    is_full: AtomicBool,
}

impl KeyStore for Disk {
    fn load_keys(&self) -> Result<Vec<AccessKey>, StoreError> {
        self.memory.load_keys()
    }

    fn apply_keys(&self, changes: &[Effect]) -> Result<(), StoreError> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(StoreError::Failed {
                store: "disk".to_owned(),
                source: "full".into(),
            });
        }
        self.memory.apply_keys(changes)
    }
}

struct Api {
    disk: Arc<Disk>,
    policy: AuthPolicy,
    router: Router,
}

impl Api {
    /// An API beside an API token, over an empty store.
    fn new() -> Self {
        Self::over(Arc::default(), Some("an-api-token".parse().unwrap()))
    }

    fn over(disk: Arc<Disk>, token: Option<ApiToken>) -> Self {
        let policy = AuthPolicy::new(token, false).unwrap();
        let api = KeyApi::load(Arc::clone(&disk) as Arc<dyn KeyStore>, policy.clone()).unwrap();
        Self {
            disk,
            policy,
            router: http_server::with_fallbacks(api.routes().into_router()),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.send_as(Principal::ApiToken, method, path, body).await
    }

    async fn send_as(
        &self,
        caller: Principal,
        method: Method,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        let router = self.router.clone().layer(Extension(caller));
        let response = router.oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn create(&self, name: &str) -> (String, String) {
        let request = json!({"name": name, "scopes": ["client"]});
        let (status, answer) = self.send(Method::POST, "/v2/keys", request).await;
        assert_eq!(status, 200, "{answer}");
        parts(&answer)
    }

    fn ask(&self, token: &str) -> Result<Principal, AuthError> {
        let value = format!("Bearer {token}").parse().unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        self.policy.authorize(REMOTE, &headers, SystemTime::now())
    }
}

/// The id and the token of an answer.
fn parts(answer: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&answer["key"]["key_id"]), text(&answer["token"]))
}

// spec: AUTH-30, AUTH-31, AUTH-32
#[tokio::test]
async fn a_change_of_a_key_holds_for_the_next_request() {
    let api = Api::new();
    let (key_id, first) = api.create("shop").await;
    let caller = api.ask(&first).unwrap();
    assert_eq!(&*caller.identity().unwrap().name, "shop");

    let path = format!("/v2/keys/{key_id}/rotate");
    let (status, answer) = api.send(Method::POST, &path, Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let (same_id, second) = parts(&answer);
    assert_eq!(same_id, key_id);
    assert!(api.ask(&first).is_ok() && api.ask(&second).is_ok());
    let (_, answer) = api
        .send(Method::POST, &path, json!({"overlap_ms": 0}))
        .await;
    let (_, third) = parts(&answer);
    assert_eq!(api.ask(&first), Err(AuthError::WrongToken));
    assert_eq!(api.ask(&second), Err(AuthError::Expired));

    let (status, answer) = api
        .send(Method::DELETE, &format!("/v2/keys/{key_id}"), Value::Null)
        .await;
    assert_eq!((status, &answer["valid"]), (200, &json!(false)));
    assert_eq!(api.ask(&third), Err(AuthError::Revoked));

    // After a restart it is as it was.
    let again = Api::over(Arc::clone(&api.disk), Some("an-api-token".parse().unwrap()));
    assert_eq!(again.ask(&third), Err(AuthError::Revoked));
}

// spec: AUTH-30
#[tokio::test]
async fn a_token_is_shown_once() {
    let api = Api::new();
    let mut tokens = Vec::new();
    for number in 0..5 {
        tokens.push(api.create(&format!("key {number}")).await.1);
    }
    let mut listed = Vec::new();
    let mut path = "/v2/keys?limit=2".to_owned();
    loop {
        let (status, page) = api.send(Method::GET, &path, Value::Null).await;
        assert_eq!(status, 200, "{page}");
        for token in &tokens {
            assert!(!page.to_string().contains(&token[7..50]));
        }
        listed.extend(page["keys"].as_array().unwrap().clone());
        match page["next_after"].as_str() {
            Some(after) => path = format!("/v2/keys?limit=2&after={after}"),
            None => break,
        }
    }
    assert_eq!(listed.len(), 5);
    assert_eq!(listed[0]["scopes"], json!(["client"]));
    assert!(
        listed
            .iter()
            .all(|key| key["valid"] == true && key.get("token").is_none())
    );
}

// spec: AUTH-30
#[tokio::test]
async fn what_is_refused_says_why() {
    let api = Api::new();
    let (key_id, _) = api.create("a").await;
    let rotate = format!("/v2/keys/{key_id}/rotate");
    let post = Method::POST;
    for (method, path, body, status, says) in [
        (
            post.clone(),
            "/v2/keys",
            json!({"name": "a", "scopes": ["client"]}),
            409,
            "name: ",
        ),
        (
            post.clone(),
            "/v2/keys",
            json!({"name": "", "scopes": ["client"]}),
            400,
            "name: ",
        ),
        (
            post.clone(),
            "/v2/keys",
            json!({"name": "b", "scopes": ["admin"]}),
            400,
            "scopes",
        ),
        (
            post.clone(),
            "/v2/keys",
            json!({"name": "b", "scopes": []}),
            400,
            "scopes: ",
        ),
        (
            post.clone(),
            "/v2/keys",
            json!({"name": "b", "scopes": ["node"]}),
            400,
            "node: ",
        ),
        (
            post.clone(),
            "/v2/keys",
            json!({"scopes": ["client"]}),
            400,
            "name",
        ),
        (
            post.clone(),
            &rotate,
            json!({"overlap_ms": 1_u64 << 40}),
            400,
            "overlap_ms: ",
        ),
        (
            post.clone(),
            "/v2/keys/0123456789ab/rotate",
            Value::Null,
            404,
            "no key",
        ),
        (
            post,
            "/v2/keys/x/rotate",
            Value::Null,
            404,
            "12 hexadecimal",
        ),
        (
            Method::DELETE,
            "/v2/keys/0123456789ab",
            Value::Null,
            404,
            "no key",
        ),
        (Method::GET, "/v2/keys?limit=0", Value::Null, 400, "limit: "),
        (Method::GET, "/v2/keys?limit=x", Value::Null, 400, "limit: "),
    ] {
        let (found, answer) = api.send(method, path, body).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(found, status, "{path} {answer}");
        assert!(message.contains(says), "{path} {message}");
    }
}

// spec: AUTH-33
#[tokio::test]
async fn the_first_key_without_an_api_token_is_an_operator() {
    let api = Api::over(Arc::default(), None);
    let create = async |scopes: Value| {
        let request = json!({"name": "first", "scopes": scopes});
        let (status, answer) = api
            .send_as(Principal::Loopback, Method::POST, "/v2/keys", request)
            .await;
        (status, answer)
    };
    let (status, answer) = create(json!(["client"])).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (409, &json!("KEY_CONFLICT"))
    );
    let (status, answer) = create(json!(["operator"])).await;
    assert_eq!(status, 200);
    let loopback = "127.0.0.1".parse().unwrap();
    let nothing = api
        .policy
        .authorize(loopback, &HeaderMap::new(), SystemTime::now());
    assert_eq!(nothing, Err(AuthError::Missing));
    let path = format!("/v2/keys/{}", parts(&answer).0);
    assert_eq!(api.send(Method::DELETE, &path, Value::Null).await.0, 409);
}

// spec: AUTH-34
#[tokio::test]
async fn a_full_disk_changes_nothing_but_ends_revoked_keys() {
    let api = Api::new();
    let (key_id, token) = api.create("a").await;
    api.disk.is_full.store(true, Ordering::Relaxed);
    let request = json!({"name": "b", "scopes": ["client"]});
    let (status, answer) = api.send(Method::POST, "/v2/keys", request).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (500, &json!("INTERNAL"))
    );
    let rotate = format!("/v2/keys/{key_id}/rotate");
    assert_eq!(api.send(Method::POST, &rotate, Value::Null).await.0, 500);
    assert!(api.ask(&token).is_ok());
    let path = format!("/v2/keys/{key_id}");
    let (status, answer) = api.send(Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, 500);
    assert!(answer.to_string().contains("revoke it again"), "{answer}");
    assert_eq!(api.ask(&token), Err(AuthError::Revoked));
    api.disk.is_full.store(false, Ordering::Relaxed);
    assert_eq!(api.send(Method::DELETE, &path, Value::Null).await.0, 200);
    assert!(api.disk.load_keys().unwrap()[0].revoked_at_ms.is_some());
    assert_eq!(api.disk.load_keys().unwrap().len(), 1);
}

// spec: AUTH-24
#[tokio::test]
async fn only_operators_manage_keys() {
    let api = Api::new();
    let (key_id, token) = api.create("a").await;
    let client = api.ask(&token).unwrap();
    for (method, path) in [
        (Method::POST, "/v2/keys".to_owned()),
        (Method::GET, "/v2/keys".to_owned()),
        (Method::POST, format!("/v2/keys/{key_id}/rotate")),
        (Method::PATCH, format!("/v2/keys/{key_id}")),
        (Method::DELETE, format!("/v2/keys/{key_id}")),
    ] {
        let (status, answer) = api
            .send_as(client.clone(), method, &path, Value::Null)
            .await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (403, &json!("FORBIDDEN"))
        );
    }
}

// spec: AUTH-35
#[tokio::test]
async fn the_audit_log_has_each_change_and_no_token() {
    let (log, _guard) = captured_log::Log::of_this_thread(tracing::Level::INFO);
    let api = Api::new();
    let (key_id, token) = api.create("a").await;
    let path = format!("/v2/keys/{key_id}");
    assert_eq!(api.send(Method::DELETE, &path, Value::Null).await.0, 200);
    let text = log.text();
    for expected in [
        "audit",
        "create key",
        "revoke key",
        &key_id,
        "the API token",
    ] {
        assert!(text.contains(expected), "{expected} is missing: {text}");
    }
    assert!(!text.contains(&token[7..50]), "{text}");
}

// spec: KEY-30, KEY-31
#[tokio::test]
async fn other_limits_hold_for_the_next_request() {
    let (log, _guard) = captured_log::Log::of_this_thread(tracing::Level::INFO);
    let api = Api::new();
    let (key_id, token) = api.create("shop").await;
    let path = format!("/v2/keys/{key_id}");
    let limits = || api.ask(&token).unwrap().identity().unwrap().limits.clone();
    for (change, expected) in [
        (
            json!({"requests_per_minute": 60, "weight": 3}),
            json!({"requests_per_minute": 60, "weight": 3}),
        ),
        (
            json!({"weight": null, "models": ["tiny"]}),
            json!({"models": ["tiny"], "requests_per_minute": 60}),
        ),
        (
            json!({}),
            json!({"models": ["tiny"], "requests_per_minute": 60}),
        ),
    ] {
        let (status, answer) = api
            .send(Method::PATCH, &path, json!({"limits": change}))
            .await;
        assert_eq!((status, &answer["limits"]), (200, &expected), "{answer}");
        assert_eq!(serde_json::to_value(limits()).unwrap(), expected);
        assert!(answer.get("token").is_none());
    }
    let text = log.text();
    let said = format!(r"change limits of key {key_id}: ");
    assert!(
        text.contains(&said) && text.contains("requests_per_minute"),
        "{text}"
    );
    let before = limits();
    for (body, status, says) in [
        (json!({}), 400, "limits"),
        (json!({"limits": null}), 400, "limits"),
        (
            json!({"limits": {"weight": 0}}),
            400,
            "limits.weight: must be from 1 to 100",
        ),
        (
            json!({"limits": {"models": []}}),
            400,
            "limits.models: must list",
        ),
        (
            json!({"limits": {"tokens_per_day": "many"}}),
            400,
            "limits.tokens_per_day",
        ),
    ] {
        let (found, answer) = api.send(Method::PATCH, &path, body.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            found == status && message.contains(says),
            "{body}: {found} {message}"
        );
    }
    let request = json!({"name": "reader", "scopes": ["observer"]});
    let (_, reader) = api.send(Method::POST, "/v2/keys", request).await;
    let reader = format!("/v2/keys/{}", parts(&reader).0);
    let change = json!({"limits": {"weight": 2}});
    let (status, answer) = api.send(Method::PATCH, &reader, change.clone()).await;
    assert_eq!(status, 400, "{answer}");

    // A full disk changes nothing.
    api.disk.is_full.store(true, Ordering::Relaxed);
    assert_eq!(api.send(Method::PATCH, &path, change.clone()).await.0, 500);
    assert_eq!(limits(), before);
    api.disk.is_full.store(false, Ordering::Relaxed);
    let again = Api::over(Arc::clone(&api.disk), Some("an-api-token".parse().unwrap()));
    assert_eq!(
        again.ask(&token).unwrap().identity().unwrap().limits,
        before
    );
    api.send(Method::DELETE, &path, Value::Null).await;
    let (status, answer) = api.send(Method::PATCH, &path, change.clone()).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (409, &json!("KEY_CONFLICT"))
    );
    let (status, _) = api
        .send(Method::PATCH, "/v2/keys/0123456789ab", change)
        .await;
    assert_eq!(status, 404);
}

// spec: KEY-31
#[tokio::test]
async fn what_a_key_has_used_is_told_before_its_new_limits_hold() {
    let policy = AuthPolicy::new(Some("an-api-token".parse().unwrap()), false).unwrap();
    let disk: Arc<Disk> = Arc::default();
    let told: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let hook = Arc::clone(&told);
    let keys = KeyApi::load(disk.clone() as Arc<dyn KeyStore>, policy.clone()).unwrap();
    let keys = keys.before_new_limits(move |key_id| {
        hook.lock().unwrap().push(key_id.to_string());
    });
    let router = http_server::with_fallbacks(keys.routes().into_router());
    let api = Api {
        disk,
        policy,
        router,
    };
    let (key_id, _) = api.create("shop").await;
    let path = format!("/v2/keys/{key_id}");
    let change = json!({"limits": {"tokens_per_day": 5}});
    assert_eq!(api.send(Method::PATCH, &path, change).await.0, 200);
    assert_eq!(api.send(Method::DELETE, &path, Value::Null).await.0, 200);
    assert_eq!(*told.lock().unwrap(), [key_id]);
}
