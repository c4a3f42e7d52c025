//! The data path over real sockets, to a stand-in engine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::time::Duration;

use bytes::Bytes;
use fake_engine::{FakeEngine, Fault, Script};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body_util::BodyExt;
use http_server::Limits;
use node_api::{DataPath, DataPathConfig};
use pool_registry::PoolRegistry;
use pool_registry_types::{Handoff, HttpUrl};
use service_runtime::{Shutdown, Tasks};
use stream_proxy::{Clocks, Outbound, ProxyBody, StreamProxy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Far beyond what anything here takes; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(30);

const CHAT: &str = "/v2/pools/pool-0/engine/v1/chat/completions";

struct Node {
    url: HttpUrl,
    registry: PoolRegistry,
    client: StreamProxy,
    _tasks: Tasks,
}

fn handoff(engine: &FakeEngine, replica: &str) -> Handoff {
    let script = engine.script();
    handoff_of(&engine.url(), replica, script.slots)
}

fn handoff_of(url: &str, replica: &str, slots: u32) -> Handoff {
    let json = serde_json::json!({
        "pool_id": "pool-0", "replica_id": replica, "engine": "llamacpp", "url": url,
        "slots": slots, "models": ["tiny"],
    });
    serde_json::from_value(json).unwrap()
}

/// An engine that answers everything with `answer`, which ends the connection.
async fn engine_that_says(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let tasks = Tasks::new(Shutdown::new());
    tasks.spawn("engine", async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

impl Node {
    fn over(engines: &[&FakeEngine]) -> Self {
        let registry = PoolRegistry::new(Vec::new());
        for (number, engine) in engines.iter().enumerate() {
            registry.upsert(handoff(engine, &format!("r{number}"))).unwrap();
        }
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let control = http_server::with_fallbacks(node_api::router(registry.clone()));
        let config = DataPathConfig {
            max_body_bytes: 10_000,
            ..DataPathConfig::default()
        };
        let service = DataPath::new(registry.clone(), StreamProxy::new(), config, control);
        let bound = http_server::bind("127.0.0.1:0".parse().unwrap(), Limits::default()).unwrap();
        let url = HttpUrl::new(&format!("http://{}", bound.local_addr())).unwrap();
        bound.serve(service, &tasks, shutdown).unwrap();
        Self {
            url,
            registry,
            client: StreamProxy::new(),
            _tasks: tasks,
        }
    }

    /// A connection that sends what it is told to, right or wrong.
    async fn raw(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.url.authority().as_str()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<ProxyBody> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        let request = Outbound {
            method,
            path: path.parse().unwrap(),
            headers,
            body: Bytes::from(body.to_owned()),
        };
        self.client
            .forward(&self.url, &request, Clocks::default())
            .await
            .unwrap()
    }

    async fn chat(&self, x_fake: &str) -> Response<ProxyBody> {
        self.send(
            Method::POST,
            CHAT,
            &[("x-fake", x_fake)],
            r#"{"model":"tiny","stream":true,"messages":[]}"#,
        )
        .await
    }
}

fn header<'a>(answer: &'a Response<ProxyBody>, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

fn slots(answer: &Response<ProxyBody>) -> (&str, &str) {
    (
        header(answer, "x-llorch-slots-free"),
        header(answer, "x-llorch-slots-total"),
    )
}

async fn json(answer: Response<ProxyBody>) -> serde_json::Value {
    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

// spec: SLOT-4
#[tokio::test]
async fn forwards_and_tells_the_slots() {
    let engine = FakeEngine::start(Script {
        slots: 3,
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&engine]);
    let headers = [
        ("authorization", "Bearer node-token"),
        ("x-llorch-model", "tiny"),
        ("x-request-id", "r-1"),
    ];
    let path = format!("{CHAT}?a=/engine/b");
    let answer = node
        .send(Method::POST, &path, &headers, r#"{"model":"tiny","messages":[]}"#)
        .await;
    assert_eq!(answer.status(), 200);
    assert_eq!(slots(&answer), ("2", "3"));
    assert_eq!(header(&answer, "x-llorch-replica"), "r0");
    assert_eq!(json(answer).await["object"], "chat.completion");
    let seen = engine.records().pop().unwrap();
    assert_eq!(seen.path, "/v1/chat/completions?a=/engine/b");
    assert_eq!(
        (seen.header("authorization"), seen.header("x-llorch-model")),
        (None, None)
    );
    assert_eq!(seen.header("x-request-id"), Some("r-1"));
    node.registry.idle().await;
}

// spec: SLOT-3
#[tokio::test]
async fn refuses_at_once_when_every_slot_is_taken() {
    let engine = FakeEngine::start(Script {
        slots: 1,
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&engine]);
    let held = node.chat("tokens=100000,token_ms=1").await;
    assert_eq!((held.status().as_u16(), slots(&held)), (200, ("0", "1")));
    let refused = node.chat("").await;
    assert_eq!(
        (refused.status().as_u16(), header(&refused, "x-llorch-refusal")),
        (503, "POOL_BUSY")
    );
    assert_eq!(slots(&refused), ("0", "1"));
    assert_eq!(json(refused).await["error"]["code"], "POOL_BUSY");
    assert_eq!(engine.stats().requests, 1, "the engine never saw it");
    // Leaving frees the slot and stops the engine.
    drop(held);
    node.registry.idle().await;
    engine.until(|stats| stats.cancelled == 1).await;
    assert_eq!(node.chat("").await.status(), 200);
}

// spec: SLOT-3
#[tokio::test]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&engine]);
    let running = node.chat("tokens=50,token_ms=2").await;
    node.registry.drain_all();
    let refused = node.chat("").await;
    assert_eq!(
        (refused.status().as_u16(), header(&refused, "x-llorch-refusal")),
        (503, "POOL_DRAINING")
    );
    let text = running.into_body().collect().await.unwrap().to_bytes();
    assert!(text.ends_with(b"data: [DONE]\n\n"));
    node.registry.idle().await;
}

#[tokio::test]
async fn an_engine_that_is_gone_is_reported_and_taken_out() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&engine]);
    engine.stop();
    for _ in 0..3 {
        let answer = node.chat("").await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "x-llorch-refusal")),
            (503, "POOL_UNAVAILABLE")
        );
    }
    let status = &node.registry.statuses()[0];
    assert!(!status.ready, "{status:?}");
    assert!(
        status
            .last_error
            .as_ref()
            .unwrap()
            .contains("refuses connections"),
        "{status:?}"
    );
}

// spec: SLOT-8
#[tokio::test]
async fn an_engine_that_is_gone_is_made_up_for_by_another_of_its_pool() {
    let gone = FakeEngine::start(Script::default()).unwrap();
    let healthy = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&gone, &healthy]);
    gone.stop();
    for _ in 0..10 {
        let answer = node.chat("").await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "x-llorch-replica")),
            (200, "r1")
        );
        answer.into_body().collect().await.unwrap();
    }
    assert_eq!(healthy.stats().requests, 10);
    let replicas = node.registry.statuses().remove(0).replicas.unwrap();
    assert_eq!(
        replicas.iter().map(|r| r.ready).collect::<Vec<_>>(),
        [false, true]
    );
    node.registry.idle().await;
}

// spec: SLOT-8
#[tokio::test]
async fn when_the_others_are_full_that_is_the_answer() {
    let gone = FakeEngine::start(Script {
        slots: 4,
        ..Script::default()
    })
    .unwrap();
    let full = FakeEngine::start(Script {
        slots: 1,
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&gone, &full]);
    gone.stop();
    let held = node.chat("tokens=100000,token_ms=1").await;
    assert_eq!(held.status(), 200);
    let refused = node.chat("").await;
    assert_eq!(header(&refused, "x-llorch-refusal"), "POOL_BUSY");
}

// spec: SLOT-9
#[tokio::test]
async fn a_slot_is_not_taken_before_the_body_is_there() {
    let engine = FakeEngine::start(Script {
        slots: 2,
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&engine]);
    let slow =
        format!("POST {CHAT} HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n{{");
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut stream = node.raw(&slow).await;
        // "100 Continue": the node is reading the body.
        stream.read_exact(&mut [0; 12]).await.unwrap();
        waiting.push(stream);
    }
    assert_eq!(node.registry.in_flight(), 0);
    let held = [
        node.chat("tokens=100000,token_ms=1").await,
        node.chat("tokens=100000,token_ms=1").await,
    ];
    assert_eq!(held.map(|answer| answer.status().as_u16()), [200, 200]);
}

// spec: SLOT-3
#[tokio::test]
async fn a_full_pool_refuses_before_it_reads_the_body() {
    let engine = FakeEngine::start(Script {
        slots: 1,
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&engine]);
    let held = node.chat("tokens=100000,token_ms=1").await;
    let mut stream = node
        .raw(&format!(
            "POST {CHAT} HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\n{{"
        ))
        .await;
    let mut status = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut status))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&status, b"HTTP/1.1 503");
    drop(held);
}

// spec: SLOT-10
#[tokio::test]
async fn an_engine_cannot_speak_for_the_node() {
    let node = Node::over(&[]);
    let url = engine_that_says(
        "HTTP/1.1 200 OK\r\nx-llorch-refusal: POOL_BUSY\r\nx-llorch-slots-free: 99\r\nx-llorch-node: other\r\n\
         x-llorch-anything: 1\r\nx-request-id: kept\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
    )
    .await;
    node.registry.upsert(handoff_of(&url, "r0", 2)).unwrap();
    let answer = node.chat("").await;
    assert_eq!((answer.status().as_u16(), slots(&answer)), (200, ("1", "2")));
    for name in ["x-llorch-refusal", "x-llorch-node", "x-llorch-anything"] {
        assert_eq!(header(&answer, name), "", "{name}");
    }
    assert_eq!(header(&answer, "x-llorch-replica"), "r0");
}

// spec: SLOT-10
#[tokio::test]
async fn an_engine_that_wants_another_protocol_is_broken() {
    let node = Node::over(&[]);
    let url =
        engine_that_says("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
            .await;
    node.registry.upsert(handoff_of(&url, "r0", 2)).unwrap();
    let answer = timeout(PATIENCE, node.chat("")).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "x-llorch-refusal")),
        (502, "WORKER_RESET")
    );
    node.registry.idle().await;
}

#[tokio::test]
async fn methods_that_are_not_for_engines() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&engine]);
    for request in [
        format!("TRACE {CHAT} HTTP/1.1\r\nhost: h\r\n\r\n"),
        format!("CONNECT {CHAT} HTTP/1.1\r\nhost: h\r\n\r\n"),
        "CONNECT example.org:80 HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(),
    ] {
        let mut status = [0; 12];
        node.raw(&request).await.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 405", "{request}");
    }
    assert_eq!(engine.stats().requests, 0);
}

// spec: SLOT-10
#[tokio::test]
async fn a_client_cannot_take_headers_away_with_its_connection() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[]);
    node.registry.upsert(handoff_of(&engine.url(), "r0", 2)).unwrap();
    for (model, status) in [("unheard-of", "404"), ("tiny", "200")] {
        let mut stream = node
            .raw(&format!(
                "POST {CHAT} HTTP/1.1\r\nhost: h\r\nconnection: close, x-llorch-model, x-request-id, x-mine\r\n\
                 x-llorch-model: {model}\r\nx-request-id: r-7\r\nx-mine: 1\r\ncontent-length: 2\r\n\r\n{{}}"
            ))
            .await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{model}: {answer}"
        );
    }
    let seen = engine.records().pop().unwrap();
    assert_eq!(
        (seen.header("x-request-id"), seen.header("x-mine")),
        (Some("r-7"), None)
    );
}

#[tokio::test]
async fn what_breaks_in_the_middle_is_cut_not_glossed_over() {
    let engine = FakeEngine::start(Script {
        fault: Some(Fault::Cut(3)),
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&engine]);
    assert!(node.chat("token_ms=5").await.into_body().collect().await.is_err());
    node.registry.idle().await;
}

#[tokio::test]
async fn shows_its_pools() {
    let engine = FakeEngine::start(Script {
        slots: 2,
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&engine, &FakeEngine::start(Script::default()).unwrap()]);
    let pools = json(node.send(Method::GET, "/v2/pools", &[], "").await).await;
    assert_eq!(pools["pools"][0]["slots_total"], 6);
    assert_eq!(pools["pools"][0]["replicas"].as_array().unwrap().len(), 2);
    let pool = json(node.send(Method::GET, "/v2/pools/pool-0", &[], "").await).await;
    assert_eq!(pool, pools["pools"][0]);
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&engine]);
    let large = "x".repeat(20_000);
    type Case<'a> = (Method, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);
    let cases: &[Case<'_>] = &[
        (Method::GET, "/v2/pools/nope", &[], "", 404, "NOT_FOUND"),
        (Method::GET, "/v2/pools/a%20b", &[], "", 400, "INVALID_REQUEST"),
        (
            Method::POST,
            "/v2/pools/a%20b/engine/v1/x",
            &[],
            "",
            400,
            "INVALID_REQUEST",
        ),
        (
            Method::POST,
            "/v2/pools/nope/engine/v1/x",
            &[],
            "",
            404,
            "NOT_FOUND",
        ),
        (
            Method::POST,
            CHAT,
            &[("x-llorch-model", "unheard-of")],
            "{}",
            404,
            "MODEL_NOT_AVAILABLE",
        ),
        (Method::POST, CHAT, &[], &large, 413, "PAYLOAD_TOO_LARGE"),
        (Method::DELETE, "/v2/pools", &[], "", 405, "METHOD_NOT_ALLOWED"),
        (Method::GET, "/v2/nothing", &[], "", 404, "NOT_FOUND"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = node.send(method.clone(), path, headers, body).await;
        assert_eq!(answer.status().as_u16(), *status, "{method} {path}");
        assert_eq!(json(answer).await["error"]["code"], *code, "{method} {path}");
    }
    assert_eq!(engine.stats().requests, 0);
    node.registry.idle().await;
}
