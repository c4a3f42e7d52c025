//! The routes, over a store in memory and over one that fails.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{
    io::Write as _,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{Extension, Router, body::Body};
use bearer_auth::{AccessToken, ApiToken, AuthPolicy, CertificateHolder, Principal};
use http::{HeaderMap, Method, Request, header::AUTHORIZATION};
use http_body_util::BodyExt as _;
use join_api::{JoinApi, JoinConfig};
use join_tokens::{Effect, JoinToken, NodeCredentials};
use key_api::KeyApi;
use node_ca::{CaDirectory, Host};
use rcgen::{CertificateParams, KeyPair};
use registry_store::{JoinStore, MemoryStore, StoreError};
use serde_json::{Value, json};
use tempfile::TempDir;
use tls_config::IdentityFiles;
use tower::ServiceExt as _;

const REMOTE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));
const TOKEN: &str = "an-api-token";
const ADDRESS: &str = "https://10.0.0.7:9200";

/// A store that fails on command.
#[derive(Debug, Default)]
struct Disk {
    memory: MemoryStore,
    is_full: AtomicBool,
}

impl JoinStore for Disk {
    fn load_joins(&self) -> Result<(Vec<JoinToken>, Vec<NodeCredentials>), StoreError> {
        self.memory.load_joins()
    }

    fn apply_joins(&self, changes: &[Effect]) -> Result<(), StoreError> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(StoreError::Failed {
                store: "disk".to_owned(),
                source: "full".into(),
            });
        }
        self.memory.apply_joins(changes)
    }
}

struct Api {
    directory: TempDir,
    disk: Arc<Disk>,
    policy: AuthPolicy,
    router: Router,
}

impl Api {
    fn with_ca() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let hosts = [Host::new("localhost").unwrap()];
        CaDirectory::init(directory.path(), &hosts, SystemTime::now()).unwrap();
        let config = JoinConfig {
            ca: Some(Arc::new(CaDirectory::open(directory.path()).unwrap())),
            ..JoinConfig::default()
        };
        Self::over(directory, Arc::default(), config)
    }

    fn without_ca(config: JoinConfig) -> Self {
        Self::over(tempfile::tempdir().unwrap(), Arc::default(), config)
    }

    fn over(directory: TempDir, disk: Arc<Disk>, config: JoinConfig) -> Self {
        let policy = AuthPolicy::new(Some(TOKEN.parse().unwrap()), false).unwrap();
        let keys = KeyApi::load(Arc::new(MemoryStore::default()), policy.clone()).unwrap();
        let store = Arc::clone(&disk) as Arc<dyn JoinStore>;
        let api = JoinApi::load(store, policy.clone(), keys, config).unwrap();
        Self {
            directory,
            disk,
            policy,
            router: http_server::with_fallbacks(api.routes().into_router()),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.send_as(Some(Principal::ApiToken), method, path, body)
            .await
    }

    async fn send_as(
        &self,
        caller: Option<Principal>,
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
        let mut router = self.router.clone();
        if let Some(caller) = caller {
            router = router.layer(Extension(caller));
        }
        let response = router.oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// A new join token.
    async fn token(&self, request: Value) -> String {
        let (status, answer) = self.send(Method::POST, "/v2/join-tokens", request).await;
        assert_eq!(status, 200, "{answer}");
        answer["token"].as_str().unwrap().to_owned()
    }

    async fn join(&self, body: Value) -> (u16, Value) {
        self.send_as(None, Method::POST, "/v2/join", body).await
    }

    /// The certificate of an answer, with its key, as a daemon reads them.
    fn files(&self, certificate: &Value, key: &KeyPair) -> IdentityFiles {
        let file = self.directory.path().join("node.pem");
        let text = format!("{}{}", certificate.as_str().unwrap(), key.serialize_pem());
        std::fs::write(&file, text).unwrap();
        IdentityFiles::in_one(file)
    }

    /// Whom that certificate names.
    fn holder(&self, certificate: &Value, key: &KeyPair) -> Arc<CertificateHolder> {
        let files = self.files(certificate, key);
        let not_before = files.validity().unwrap().not_before;
        let holder = CertificateHolder::of(&files.names().unwrap(), not_before);
        Arc::new(holder.unwrap())
    }
}

fn csr(key: &KeyPair) -> String {
    let request = CertificateParams::default().serialize_request(key);
    request.unwrap().pem().unwrap()
}

fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap()
}

// spec: JOIN-10, JOIN-12
#[tokio::test]
async fn a_machine_joins_with_a_token_and_renews_its_certificate() {
    let api = Api::with_ca();
    let token = api.token(Value::Null).await;
    let key = KeyPair::generate().unwrap();
    let body = json!({"token": token, "node_id": "gpu-1", "address": ADDRESS, "csr": csr(&key)});
    let (status, answer) = api.join(body.clone()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["node_id"], "gpu-1");
    assert!(answer["token"].is_null() && answer["ca_certificate"].is_string());
    let names = api.files(&answer["certificate"], &key).names().unwrap();
    assert_eq!(names, ["spiffe://llorch/node/gpu-1", "10.0.0.7"]);
    // It was for one use.
    let (status, refusal) = api.join(body).await;
    assert_eq!(status, 401);
    assert!(message(&refusal).contains("used up"), "{refusal}");
    // The node renews its own certificate, and no other.
    let holder = api.holder(&answer["certificate"], &key);
    let next = KeyPair::generate().unwrap();
    for (node, status) in [("gpu-1", 200), ("gpu-2", 403)] {
        let node_key = Some(Principal::Certificate(Arc::clone(&holder)));
        let path = format!("/v2/nodes/{node}/certificate");
        let renewal = json!({"csr": csr(&next)});
        let (found, answer) = api.send_as(node_key, Method::POST, &path, renewal).await;
        assert_eq!(found, status, "{answer}");
        if status == 200 {
            let names = api.files(&answer["certificate"], &next).names().unwrap();
            assert_eq!(names, ["spiffe://llorch/node/gpu-1", "10.0.0.7"]);
        }
    }
    // The API token holds no certificate.
    let renewal = json!({"csr": csr(&next)});
    let (status, _) = api
        .send(Method::POST, "/v2/nodes/gpu-1/certificate", renewal)
        .await;
    assert_eq!(status, 403);
}

/// A server that sends `text` to each client that connects.
fn listener(text: &'static str) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(text.as_bytes());
        }
    });
    at
}

// spec: JOIN-36
#[tokio::test]
async fn a_machine_that_is_not_reached_at_its_address_does_not_join() {
    let api = Api::with_ca();
    let token = api.token(Value::Null).await;
    let key = KeyPair::generate().unwrap();
    let closed = {
        let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        bound.local_addr().unwrap()
    };
    let other = listener("HTTP/1.1 400 Bad Request\r\n\r\n and more than a line has");
    let silent = listener("");
    let right = listener("llorch-join 0123456789abcdef0123456789abcdef\n");
    for (at, challenge, status, text) in [
        (right, "short", 400, "challenge"),
        (
            closed,
            "0123456789abcdef0123456789abcdef",
            400,
            "is not reached by the control plane: Connection refused",
        ),
        (
            other,
            "0123456789abcdef0123456789abcdef",
            400,
            "is answered by another program",
        ),
        (
            silent,
            "0123456789abcdef0123456789abcdef",
            400,
            "is answered by another program",
        ),
        (
            right,
            "00000000000000000000000000000000",
            400,
            "is answered by another program",
        ),
        (right, "0123456789abcdef0123456789abcdef", 200, ""),
    ] {
        let body = json!({
            "token": token, "node_id": "gpu-1", "address": format!("https://{at}"),
            "csr": csr(&key), "challenge": challenge,
        });
        let (found, answer) = api.join(body).await;
        assert_eq!(found, status, "{challenge}: {answer}");
        if status != 200 {
            assert!(message(&answer).contains(text), "{text}: {answer}");
        }
    }
}

// spec: JOIN-11, JOIN-12, JOIN-40, JOIN-41
#[tokio::test]
async fn a_refused_machine_is_told_the_field_and_costs_no_use() {
    let api = Api::with_ca();
    let token = api.token(json!({"node": "gpu-1"})).await;
    let mut mistyped = token.clone();
    mistyped.replace_range(20..21, if &token[20..21] == "a" { "b" } else { "a" });
    let other = bearer_auth::AccessToken::generate().unwrap();
    let key = KeyPair::generate().unwrap();
    let good = json!({"token": token, "node_id": "gpu-1", "address": ADDRESS, "csr": csr(&key)});
    for (field, value, status, text) in [
        (
            "token",
            json!(mistyped),
            401,
            "token: the join token is mistyped",
        ),
        (
            "token",
            json!("correct-horse"),
            401,
            "token: must begin with",
        ),
        ("token", json!(other.reveal()), 401, "token: no join token"),
        ("token", json!("x".repeat(2000)), 400, "token"),
        (
            "node_id",
            json!("gpu-2"),
            403,
            "node_id: this join token is for the node gpu-1",
        ),
        ("node_id", json!("../x"), 400, "node_id"),
        (
            "address",
            json!("http://10.0.0.7:9200"),
            400,
            "address: must begin with https://",
        ),
        ("address", json!("ftp://10.0.0.7"), 400, "address"),
        (
            "address",
            json!("https://169.254.169.254"),
            400,
            "address: 169.254.169.254 is link-local",
        ),
        (
            "address",
            json!("https://[::ffff:169.254.169.254]"),
            400,
            "is link-local",
        ),
        (
            "address",
            json!("https://8.8.8.8:9200"),
            400,
            "address: 8.8.8.8 is not in the ranges",
        ),
        (
            "address",
            json!("https://224.0.0.1:9200"),
            400,
            "address: 224.0.0.1 is multicast",
        ),
        ("csr", Value::Null, 400, "csr: is needed"),
        (
            "csr",
            json!("x"),
            400,
            "csr: must be a certificate signing request",
        ),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let (found, answer) = api.join(body).await;
        assert_eq!(found, status, "{field} {answer}");
        assert!(message(&answer).contains(text), "{answer}");
        assert!(!answer.to_string().contains(&token), "{answer}");
    }
    // Who may not join learns nothing of addresses, and makes the server resolve no name.
    let mut stranger = good.clone();
    stranger["token"] = json!(AccessToken::generate().unwrap().reveal());
    stranger["address"] = json!("https://169.254.169.254");
    let (status, answer) = api.join(stranger).await;
    assert_eq!(status, 401, "{answer}");
    assert!(!message(&answer).contains("address"), "{answer}");

    let (status, answer) = api.join(good).await;
    assert_eq!(status, 200, "{answer}");
}

// spec: JOIN-13
#[tokio::test]
async fn without_a_ca_a_node_gets_a_token_and_knows_that_of_the_control_plane() {
    let own: ApiToken = TOKEN.parse().unwrap();
    let api = Api::without_ca(JoinConfig {
        own_token: Some(own.digest()),
        ..JoinConfig::default()
    });
    let token = api.token(json!({"uses": 2})).await;
    let mut body = json!({"token": token, "node_id": "gpu-1", "address": "http://10.0.0.7:9200"});
    let (status, first) = api.join(body.clone()).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["control_plane_token_sha256"], own.digest().to_hex());
    assert!(first["certificate"].is_null());
    let ask = |answer: &Value| {
        let value = format!("Bearer {}", answer["token"].as_str().unwrap());
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        api.policy.authorize(REMOTE, &headers, SystemTime::now())
    };
    let node = ask(&first).unwrap();
    assert!(node.acts_for(bearer_auth::Access::NODE, "gpu-1").is_ok());
    assert!(node.acts_for(bearer_auth::Access::NODE, "gpu-2").is_err());
    // A stranger does not take its place, and costs it nothing.
    let (status, refusal) = api.join(body.clone()).await;
    assert_eq!(status, 409, "{refusal}");
    assert!(message(&refusal).contains("the node gpu-1 has joined already"));
    assert!(ask(&first).is_ok());
    // Joining again with a token for the node replaces the key.
    body["token"] = json!(api.token(json!({"node": "gpu-1"})).await);
    let (_, second) = api.join(body).await;
    assert!(ask(&first).is_err() && ask(&second).is_ok());
    let path = "/v2/nodes/gpu-1/certificate";
    let (status, _) = api.send(Method::DELETE, path, Value::Null).await;
    assert_eq!(status, 200);
    assert!(ask(&second).is_err());
    // A control plane that has neither.
    let api = Api::without_ca(JoinConfig::default());
    let token = api.token(Value::Null).await;
    let body = json!({"token": token, "node_id": "gpu-1", "address": "http://10.0.0.7:9200"});
    let (status, answer) = api.join(body).await;
    assert_eq!(status, 409);
    assert!(
        message(&answer).contains("ORCHESTRATORD_CA_DIR"),
        "{answer}"
    );
}

// spec: JOIN-21
#[tokio::test]
async fn a_revoked_node_is_refused_until_it_joins_again() {
    let api = Api::with_ca();
    let token = api.token(json!({"uses": 2})).await;
    let key = KeyPair::generate().unwrap();
    let body = json!({"token": token, "node_id": "gpu-1", "address": ADDRESS, "csr": csr(&key)});
    let (_, first) = api.join(body.clone()).await;
    let first = api.holder(&first["certificate"], &key);
    assert!(api.policy.holder(&first).is_ok());
    let path = "/v2/nodes/gpu-1/certificate";
    api.disk.is_full.store(true, Ordering::Relaxed);
    let (status, answer) = api.send(Method::DELETE, path, Value::Null).await;
    assert_eq!(status, 500);
    assert!(message(&answer).contains("refused from now on"), "{answer}");
    assert!(api.policy.holder(&first).is_err());
    // Nothing joins that could not be counted.
    let (status, answer) = api.join(body.clone()).await;
    assert_eq!(status, 500, "{answer}");
    api.disk.is_full.store(false, Ordering::Relaxed);
    let (status, _) = api.send(Method::DELETE, path, Value::Null).await;
    assert_eq!(status, 200);
    let (status, second) = api.join(body).await;
    assert_eq!(status, 200, "{second}");
    // It can be used at once.
    let files = api.files(&second["certificate"], &key);
    assert!(files.validity().unwrap().not_before <= SystemTime::now());
    let second = api.holder(&second["certificate"], &key);
    assert!(api.policy.holder(&second).is_ok() && api.policy.holder(&first).is_err());
    // A restart knows it.
    let restarted = Api::over(
        tempfile::tempdir().unwrap(),
        Arc::clone(&api.disk),
        JoinConfig::default(),
    );
    assert!(restarted.policy.holder(&first).is_err());
    assert!(restarted.policy.holder(&second).is_ok());
}

// spec: JOIN-60, JOIN-61, JOIN-62
#[tokio::test]
async fn a_certificate_is_for_no_host_and_no_node_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let hosts = ["control.example", "10.0.0.1"].map(|host| Host::new(host).unwrap());
    CaDirectory::init(directory.path(), &hosts, SystemTime::now()).unwrap();
    let public = test_certificates::Authority::new().unwrap();
    let public = public.issue(&["10.0.0.2"]).unwrap().write(directory.path());
    let public = public.unwrap();
    let config = JoinConfig {
        ca: Some(Arc::new(CaDirectory::open(directory.path()).unwrap())),
        own_certificates: vec![IdentityFiles {
            certificate: public.certificate,
            key: public.key,
        }],
        own_hosts: vec![Host::new("10.0.0.3").unwrap()],
        ..JoinConfig::default()
    };
    let api = Api::over(directory, Arc::default(), config);
    let token = api.token(json!({"uses": 9})).await;
    let bound = api.token(json!({"node": "gpu-1", "uses": 9})).await;
    let key = KeyPair::generate().unwrap();
    let join = async |token: &str, node: &str, host: &str| {
        let address = format!("https://{host}:9200");
        let body = json!({"token": token, "node_id": node, "address": address, "csr": csr(&key)});
        let (status, answer) = api.join(body).await;
        (
            status,
            answer["error"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    // Hosts of the control plane, whatever the token.
    for host in ["10.0.0.1", "[::ffff:10.0.0.1]", "10.0.0.2", "10.0.0.3"] {
        for token in [&token, &bound] {
            let (status, text) = join(token, "gpu-1", host).await;
            assert_eq!(status, 409, "{host}: {text}");
            assert!(text.starts_with("address: ") && text.contains("control plane itself"));
        }
    }
    // A name that resolves to nothing; RFC 6761 reserves it.
    let (status, text) = join(&token, "gpu-1", "nowhere.invalid").await;
    assert_eq!(status, 400, "{text}");
    assert!(
        text.starts_with("address: nowhere.invalid does not resolve"),
        "{text}"
    );
    // Those of another node, unless the token was made for this one.
    assert_eq!(join(&token, "victim", "10.0.0.7").await.0, 200);
    let (status, text) = join(&token, "gpu-1", "10.0.0.7").await;
    assert_eq!(status, 409, "{text}");
    assert!(
        text.starts_with("address: 10.0.0.7 is the host of the node victim"),
        "{text}"
    );
    let (status, text) = join(&token, "victim", "10.0.0.8").await;
    assert_eq!(status, 409, "{text}");
    assert!(
        text.starts_with("node_id: the node victim has joined already"),
        "{text}"
    );
    assert_eq!(join(&bound, "gpu-1", "10.0.0.7").await.0, 200);
    // Every machine has loopback. None of the refused requests has cost a use.
    for node in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        assert_eq!(join(&token, node, "127.0.0.1").await.0, 200, "{node}");
    }
    assert_eq!(join(&token, "i", "127.0.0.1").await.0, 401);
    // A restart knows them.
    let restarted = Api::over(tempfile::tempdir().unwrap(), Arc::clone(&api.disk), {
        let ca = Some(Arc::new(CaDirectory::open(api.directory.path()).unwrap()));
        JoinConfig {
            ca,
            ..JoinConfig::default()
        }
    });
    let token = restarted.token(Value::Null).await;
    let address = "https://10.0.0.9:9200";
    let body = json!({"token": token, "node_id": "victim", "address": address, "csr": csr(&key)});
    assert_eq!(restarted.join(body).await.0, 409);
}

// spec: JOIN-10
#[tokio::test]
async fn operators_create_list_and_revoke_join_tokens() {
    let api = Api::with_ca();
    for (body, field) in [
        (json!({"uses": 0}), "uses"),
        (json!({"expires_in_ms": 0}), "expires_in_ms"),
        (
            json!({"expires_in_ms": 31_u64 * 24 * 3600 * 1000}),
            "expires_in_ms",
        ),
        (json!({"node": "a b"}), "node"),
        (json!({"uses": "x"}), "uses"),
        (json!([null, 1]), "a JSON object is needed"),
    ] {
        let (status, answer) = api.send(Method::POST, "/v2/join-tokens", body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(message(&answer).contains(field), "{answer}");
    }
    let request = json!({"uses": 3, "expires_in_ms": 60_000});
    let (_, created) = api.send(Method::POST, "/v2/join-tokens", request).await;
    assert_eq!(created["ca_sha256"].as_str().unwrap().len(), 64);
    let token = created["token"].as_str().unwrap();
    let (_, list) = api.send(Method::GET, "/v2/join-tokens", Value::Null).await;
    assert_eq!(list["join_tokens"][0], created["join_token"]);
    assert_eq!(
        (
            &list["join_tokens"][0]["max_uses"],
            list.to_string().contains(token)
        ),
        (&json!(3), false)
    );
    let id = created["join_token"]["token_id"].as_str().unwrap();
    let path = format!("/v2/join-tokens/{id}");
    let (status, revoked) = api.send(Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, &revoked["valid"]), (200, &json!(false)));
    let key = KeyPair::generate().unwrap();
    let body = json!({"token": token, "node_id": "gpu-1", "address": ADDRESS, "csr": csr(&key)});
    let (status, answer) = api.join(body).await;
    assert_eq!(status, 401);
    assert!(message(&answer).contains("revoked"), "{answer}");
    for unknown in ["nonsense", "0123456789ab"] {
        let path = format!("/v2/join-tokens/{unknown}");
        let (status, _) = api.send(Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, 404);
    }
}

// spec: JOIN-14
#[tokio::test]
async fn a_home_control_plane_takes_no_nodes() {
    let api = Api::without_ca(JoinConfig {
        takes_nodes: false,
        lifetime: Duration::from_secs(60),
        ..JoinConfig::default()
    });
    let (status, answer) = api.join(json!({})).await;
    assert_eq!(status, 503, "{answer}");
    assert_eq!(answer["error"]["code"], "CLOUD_PROFILE_DISABLED");
}
