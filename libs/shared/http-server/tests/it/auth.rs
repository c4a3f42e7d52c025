//! Which requests are refused before the service.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use bearer_auth::{AccessToken, AuthPolicy, Credential, Identity, KeySource};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header::HOST};
use http_body_util::BodyExt as _;
use http_server::{
    Access, AllowedHosts, AllowedOrigins, Authenticated, Caller, CrossOrigin, EventSource,
    HttpService, Limits, OnlyFor, PeerAddr, RequestBody, RequestId, Routes, Scope, Unguarded, bind,
    endless_event_stream, event_stream, with_fallbacks,
};
use service_runtime::{Shutdown, Tasks};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::support::{Client, Server, hello};

const TOKEN: &str = "a-long-enough-token";
/// The path that the tests open.
const OPEN: &str = "/openapi.json";

/// A configured name, besides those of the machine.
const ALLOWED: &str = "llorch.example";

fn hosts() -> AllowedHosts {
    AllowedHosts::new([ALLOWED.parse().unwrap()], "DEMO_ALLOWED_HOSTS")
}

/// Sends a request from a local process.
async fn ask(token: Option<&str>, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let policy = AuthPolicy::new(token.map(|token| token.parse().unwrap()), false).unwrap();
    let caller = Caller {
        peer: Some(PeerAddr("127.0.0.1:4711".parse().unwrap())),
        id: RequestId::random(),
    };
    let body = RequestBody::from(Bytes::new()).sent_by(caller);
    let mut request = Request::post(path).body(body).unwrap();
    *request.headers_mut() = headers
        .iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect::<HeaderMap>();
    let guarded = Authenticated::new(policy, hosts(), hello()).opening(&[OPEN]);
    let response: Response<_> = guarded.respond(request).await;
    let status = response.status().as_u16();
    let Ok(body) = response.into_body().collect().await else {
        unreachable!("bodies from memory do not fail")
    };
    (status, String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

fn code(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}

// spec: AUTH-6
#[tokio::test]
async fn without_a_token_web_pages_are_refused() {
    let register = "/v2/nodes/register";
    for origin in [
        "http://evil.example",
        "http://evil.example:8080",
        "http://localhost:3000",
        "http://localhost.evil.example:8080",
        "https://localhost",
        "null",
        "",
        "localhost:8080",
    ] {
        let headers = [
            ("host", "localhost:8080"),
            ("origin", origin),
            ("content-type", "text/plain"),
        ];
        let (status, body) = ask(None, register, &headers).await;
        assert_eq!(
            (status, code(&body).as_str()),
            (403, "FORBIDDEN"),
            "{origin:?}"
        );
    }
    // In the shape of the route, and the page is refused in case of doubt.
    let doubtful: [&[(&str, &str)]; 3] = [
        &[("origin", "http://localhost:8080")],
        &[
            ("host", "localhost:8080"),
            ("origin", "http://localhost:8080"),
            ("origin", "http://evil.example"),
        ],
        &[
            ("host", "localhost:8080"),
            ("host", "evil.example"),
            ("origin", "http://evil.example"),
        ],
    ];
    for headers in doubtful {
        let (status, body) = ask(None, "/v1/chat/completions", headers).await;
        assert_eq!(
            (status, code(&body).as_str()),
            (403, "FORBIDDEN"),
            "{headers:?}"
        );
        assert!(body.contains("\"type\""), "{body}");
    }
}

// spec: AUTH-6
#[tokio::test]
async fn own_pages_and_programs_are_served() {
    let own: [&[(&str, &str)]; 4] = [
        &[("host", "localhost:8080")],
        &[
            ("host", "localhost:8080"),
            ("origin", "http://localhost:8080"),
        ],
        &[("host", "LOCALHOST"), ("origin", "https://localhost")],
        &[("host", "[::1]:8080"), ("origin", "http://[::1]:8080")],
    ];
    for headers in own {
        assert_eq!(
            ask(None, "/v2/nodes/register", headers).await.0,
            200,
            "{headers:?}"
        );
    }
    // A page of another origin that knows the token was given it.
    let bearer = format!("Bearer {TOKEN}");
    let headers = [
        ("host", "h"),
        ("origin", "http://ui.example"),
        ("authorization", bearer.as_str()),
    ];
    assert_eq!(
        ask(Some(TOKEN), "/v2/nodes/register", &headers).await.0,
        200
    );
    assert_eq!(
        ask(Some(TOKEN), "/v2/nodes/register", &headers[..2])
            .await
            .0,
        401
    );
}

// spec: AUTH-8
#[tokio::test]
async fn without_a_token_other_host_names_are_refused() {
    let page = [
        ("host", "evil.example:8080"),
        ("origin", "http://evil.example:8080"),
    ];
    for path in ["/v2/nodes", "/v1/models", "/metrics", "/ready", "/v2/live"] {
        for headers in [&page[..], &page[..1]] {
            let (status, body) = ask(None, path, headers).await;
            assert_eq!(
                (status, code(&body).as_str()),
                (403, "FORBIDDEN"),
                "{path} {headers:?}"
            );
            assert!(
                body.contains("DEMO_ALLOWED_HOSTS") && body.contains("evil.example"),
                "{body}"
            );
        }
    }
    // A page under an allowed name is a page of this server; one under another name is not,
    // whatever the port.
    let own = [("host", ALLOWED), ("origin", "http://llorch.example")];
    assert_eq!(ask(None, "/v2/nodes", &own).await.0, 200);
    let other = [("host", ALLOWED), ("origin", "http://llorch.example:81")];
    assert_eq!(ask(None, "/v2/nodes", &other).await.0, 403);
    // Open paths are open under any name, for load balancers.
    assert_eq!(ask(None, "/health", &page).await.0, 200);
}

// spec: AUTH-9
#[tokio::test]
async fn with_a_token_any_host_is_served() {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [
        ("host", "gateway.example"),
        ("authorization", bearer.as_str()),
    ];
    assert_eq!(ask(Some(TOKEN), "/v2/nodes", &headers).await.0, 200);
    assert_eq!(ask(Some(TOKEN), "/v2/nodes", &headers[..1]).await.0, 401);
}

// spec: AUTH-8
#[tokio::test]
async fn the_host_of_an_absolute_target_counts() {
    let routes = Router::new().route(
        "/v2/x",
        get(async |headers: HeaderMap| headers[HOST].to_str().unwrap().to_owned()),
    );
    let service = Authenticated::new(AuthPolicy::default(), hosts(), routes);
    let server = bind(([127, 0, 0, 1], 0).into(), Limits::default()).unwrap();
    let addr = server.local_addr();
    let shutdown = Shutdown::new();
    let _handle = server
        .serve(service, &Tasks::new(shutdown.clone()), shutdown)
        .unwrap();
    for (target, host, expected) in [
        ("http://evil.example/v2/x", "localhost", None),
        ("http://localhost@evil.example/v2/x", "localhost", None),
        (
            "http://localhost:1/v2/x",
            "evil.example",
            Some("localhost:1"),
        ),
        ("/v2/x", "localhost:2", Some("localhost:2")),
        ("/v2/x", "evil.example", None),
    ] {
        let mut client = Client::new(TcpStream::connect(addr).await.unwrap());
        client
            .send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        let reply = client.reply().await;
        match expected {
            Some(named) => assert_eq!(
                (reply.status, reply.text()),
                (200, named),
                "{target} {host}"
            ),
            None => assert_eq!(reply.status, 403, "{target} {host}"),
        }
    }
    // HTTP/1.0 has no Host, and no browser uses it.
    let mut client = Client::new(TcpStream::connect(addr).await.unwrap());
    client.send("GET /v2/other HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 404);
}

// spec: AUTH-8
#[tokio::test]
async fn a_service_without_authentication_answers_for_its_hosts_only() {
    let ask = async |hosts: Option<AllowedHosts>, path: &str, host: &str| {
        let mut request = Request::get(path)
            .body(RequestBody::from(Bytes::new()))
            .unwrap();
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_str(host).unwrap());
        OnlyFor::new(hosts, hello())
            .respond(request)
            .await
            .status()
            .as_u16()
    };
    assert_eq!(ask(Some(hosts()), "/metrics", "127.0.0.1:9090").await, 200);
    assert_eq!(ask(Some(hosts()), "/metrics", "evil.example").await, 403);
    assert_eq!(ask(Some(hosts()), "/health", "evil.example").await, 200);
    assert_eq!(ask(None, "/metrics", "gateway.example").await, 200);
}

// spec: AUTH-1
#[tokio::test]
async fn only_opened_paths_are_open() {
    for path in ["/health", OPEN] {
        assert_eq!(ask(Some(TOKEN), path, &[]).await.0, 200, "{path}");
        let page = [("host", "h"), ("origin", "http://evil.example")];
        assert_eq!(ask(None, path, &page).await.0, 200, "{path}");
    }
    for path in [
        "/openapi.json/",
        "/openapi",
        "//openapi.json",
        "/OPENAPI.JSON",
        "/health/",
        "/ready",
        "/",
    ] {
        assert_eq!(ask(Some(TOKEN), path, &[]).await.0, 401, "{path}");
    }
}

/// The response of a server that serves pages of one other origin.
async fn ask_from_a_page(
    token: Option<&str>,
    method: Method,
    headers: &[(&str, &str)],
) -> Response<()> {
    let policy = AuthPolicy::new(token.map(|token| token.parse().unwrap()), false).unwrap();
    let caller = Caller {
        peer: Some(PeerAddr("127.0.0.1:4711".parse().unwrap())),
        id: RequestId::random(),
    };
    let body = RequestBody::from(Bytes::new()).sent_by(caller);
    let mut request = Request::builder()
        .method(method)
        .uri("/v1/models")
        .body(body)
        .unwrap();
    for (name, value) in headers {
        let name = name.parse::<HeaderName>().unwrap();
        request
            .headers_mut()
            .append(name, HeaderValue::from_str(value).unwrap());
    }
    let origins = AllowedOrigins::new(["https://app.example".parse().unwrap()]);
    let guarded = Authenticated::new(policy, hosts(), hello()).serving_pages_of(origins.clone());
    let response = CrossOrigin::new(origins, guarded).respond(request).await;
    response.map(drop)
}

// spec: DOOR-30
#[tokio::test]
async fn a_preflight_of_an_allowed_origin_needs_no_token() {
    for token in [None, Some(TOKEN)] {
        let headers = [
            ("host", "localhost"),
            ("origin", "https://app.example"),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,x-stainless-os",
            ),
        ];
        let answer = ask_from_a_page(token, Method::OPTIONS, &headers).await;
        assert_eq!(answer.status(), 204);
        let allowed = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(
            allowed("access-control-allow-origin"),
            "https://app.example"
        );
        assert!(allowed("access-control-allow-methods").contains("POST"));
        assert_eq!(
            allowed("access-control-allow-headers"),
            "authorization,x-stainless-os"
        );
        let other = [
            &headers[..1],
            &[("origin", "https://evil.example")],
            &headers[2..],
        ]
        .concat();
        let answer = ask_from_a_page(token, Method::OPTIONS, &other).await;
        assert!(answer.status().is_client_error(), "{}", answer.status());
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
}

// spec: DOOR-30, AUTH-6
#[tokio::test]
async fn a_page_of_an_allowed_origin_reads_the_response_and_errors_too() {
    let with_token = format!("Bearer {TOKEN}");
    for (token, authorization, origin, status, is_allowed) in [
        (None, None, "https://app.example", 200, true),
        (None, None, "https://evil.example", 403, false),
        (None, None, "http://app.example", 403, false),
        (Some(TOKEN), None, "https://app.example", 401, true),
        (
            Some(TOKEN),
            Some(&with_token),
            "https://app.example",
            200,
            true,
        ),
        (
            Some(TOKEN),
            Some(&with_token),
            "https://evil.example",
            200,
            false,
        ),
    ] {
        let mut headers = vec![("host", "localhost"), ("origin", origin)];
        headers.extend(authorization.map(|token| ("authorization", token.as_str())));
        let answer = ask_from_a_page(token, Method::POST, &headers).await;
        assert_eq!(answer.status(), status, "{origin}");
        let allowed = answer.headers().get("access-control-allow-origin");
        assert_eq!(
            allowed.map(|origin| origin.to_str().unwrap()),
            is_allowed.then_some(origin)
        );
        let varies = answer.headers().get("vary").is_some();
        assert_eq!(varies, is_allowed, "caches keep the responses apart");
    }
}

fn key(token: &AccessToken, scope: Scope, node: Option<&str>, is_revoked: bool) -> Credential {
    Credential {
        digest: token.digest(),
        identity: Arc::new(Identity {
            id: "k1".into(),
            name: "some key".into(),
            scopes: scope.into(),
            node: node.map(|node| node.parse().unwrap()),
            expires_at: None,
            limits: Default::default(),
        }),
        valid_until: None,
        is_revoked,
    }
}

/// Two routes, of an observer and of a node.
fn scoped_routes() -> Router {
    let routes = Routes::new()
        .get("/v2/x", Access::OBSERVER, async || "x")
        .get("/v2/nodes/{node_id}", Access::NODE, async || "node");
    with_fallbacks(routes.into_router())
}

// spec: AUTH-32
#[tokio::test]
async fn a_revoked_key_ends_on_an_open_connection() {
    let policy = AuthPolicy::default();
    let token = AccessToken::generate().unwrap();
    let publish = |is_revoked| {
        let key = key(&token, Scope::Observer, None, is_revoked);
        policy.replace_keys(KeySource::Store, vec![key]);
    };
    publish(false);
    let service = Authenticated::new(policy.clone(), hosts(), scoped_routes());
    let server = Server::start(Limits::default(), service);
    let mut client = server.connect();
    let token = token.reveal().to_owned();
    let request = format!("GET /v2/x HTTP/1.1\r\nhost: h\r\nx-api-key: {token}\r\n\r\n");
    for (is_revoked, status) in [(false, 200), (true, 401), (false, 200)] {
        publish(is_revoked);
        client.send(&request).await;
        assert_eq!(client.reply().await.status, status, "{is_revoked}");
    }
}

/// A feed that never ends and says nothing.
struct Silent;

impl EventSource for Silent {
    async fn next(&mut self) -> Option<Bytes> {
        std::future::pending().await
    }
}

// spec: AUTH-64
#[tokio::test(start_paused = true)]
async fn a_feed_ends_within_a_second_of_its_readers_credential() {
    let policy = AuthPolicy::default();
    let token = AccessToken::generate().unwrap();
    let publish = |is_revoked| {
        let key = key(&token, Scope::Observer, None, is_revoked);
        policy.replace_keys(KeySource::Store, vec![key]);
    };
    publish(false);
    let routes = Routes::new()
        .get("/v2/feed", Access::OBSERVER, async || {
            endless_event_stream(Silent)
        })
        .get("/v2/work", Access::OBSERVER, async || event_stream(Silent));
    let routes = with_fallbacks(routes.into_router());
    let service = Authenticated::new(policy.clone(), hosts(), routes);
    let server = Server::start(Limits::default(), service);
    let token = token.reveal().to_owned();
    let mut clients = Vec::new();
    for path in ["feed", "work"] {
        let mut client = server.connect();
        client
            .send(format!(
                "GET /v2/{path} HTTP/1.1\r\nhost: h\r\nx-api-key: {token}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.head().await.0, 200);
        clients.push(client);
    }
    let [feed, work] = &mut clients[..] else {
        panic!("two clients");
    };
    let end = feed.read_until(b"\r\n0\r\n\r\n");
    assert!(timeout(Duration::from_secs(60), end).await.is_err());
    publish(true);
    let start = Instant::now();
    feed.read_until(b"\r\n0\r\n\r\n").await;
    assert!(start.elapsed() <= Duration::from_secs(1));
    // What has an end of its own goes on.
    let end = work.read_until(b"\r\n0\r\n\r\n");
    assert!(timeout(Duration::from_secs(60), end).await.is_err());
}

// spec: AUTH-24, AUTH-25
#[tokio::test]
async fn a_route_is_for_those_with_its_scope() {
    for (scope, own, path, status) in [
        (Scope::Observer, None, "/v2/x", 200),
        (Scope::Operator, None, "/v2/x", 200),
        (Scope::Client, None, "/v2/x", 403),
        (Scope::Node, Some("a"), "/v2/nodes/a", 200),
        (Scope::Node, Some("a"), "/v2/nodes/%61", 200),
        (Scope::Node, Some("a"), "/v2/nodes/b", 403),
        (Scope::Node, Some("a"), "/v2/nodes/%62", 403),
        (Scope::Node, Some("a"), "/v2/nodes/%ff", 403),
        (Scope::Operator, None, "/v2/nodes/a", 403),
        (Scope::Client, None, "/v2/other", 404),
    ] {
        let policy = AuthPolicy::default();
        let token = AccessToken::generate().unwrap();
        policy.replace_keys(KeySource::File, vec![key(&token, scope, own, false)]);
        let service = Authenticated::new(policy, hosts(), scoped_routes());
        let server = Server::start(Limits::default(), service);
        let mut client = server.connect();
        let token = token.reveal();
        client
            .send(format!(
                "GET {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.reply().await.status, status, "{scope} {path}");
    }
}

// spec: AUTH-24
#[tokio::test]
async fn a_caller_without_authentication_is_refused() {
    let server = Server::start(Limits::default(), scoped_routes());
    let mut client = server.connect();
    assert_eq!(client.get("/v2/x").await.status, 401);
    let server = Server::start(Limits::default(), Unguarded::new(scoped_routes()));
    let mut client = server.connect();
    assert_eq!(client.get("/v2/x").await.status, 200);
}
