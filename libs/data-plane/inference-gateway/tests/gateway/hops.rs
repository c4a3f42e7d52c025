//! Duties of a hop: no loops, no needless executions, no engine administration.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use fake_engine::{FakeEngine, Script};
use http::Method;
use pool_registry_types::HttpUrl;
use service_runtime::{Shutdown, Tasks};
use test_fixtures::TestEndpoint;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Service, endpoint, engines, error_of, header, over_tcp, text};

const CHAT: &str = r#"{"model":"tiny","messages":[]}"#;

/// A service with itself, below `path`, as a node, next to `others`.
async fn looped(path: &str, others: Vec<TestEndpoint>) -> Service {
    let model = FakeEngine::start(Script::default()).unwrap();
    let service = Service::with(Default::default(), Default::default(), others).await;
    let itself = TestEndpoint {
        target: HttpUrl::new(&format!("{}{path}", service.url)).unwrap(),
        ..over_tcp(endpoint(&model, "itself"))
    };
    service.add(&[itself]);
    service
}

// spec: PATH-26
#[tokio::test]
async fn a_loop_is_detected_at_once() {
    for path in ["", "/v1", "/v2/pools/pool-0/engine"] {
        let service = looped(path, Vec::new()).await;
        let answer = service.chat(false, "").await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-attempts")
            ),
            (508, "1"),
            "{path:?}"
        );
        assert_eq!(
            error_of(&text(answer).await.0)["code"],
            "LOOP_DETECTED",
            "{path:?}"
        );
        assert!(
            service.admission.snapshot().endpoints[0]
                .open_breaker
                .is_some(),
            "{path:?}"
        );
    }
}

// spec: PATH-26
#[tokio::test]
async fn another_node_serves_a_request_that_looped() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let mut busy = endpoint(&engine, "other");
    // The loop has less load, so it is chosen first.
    busy.slots = 2;
    busy.free = 1;
    let service = looped("/v1", vec![busy]).await;
    let mut attempts = Vec::new();
    for _ in 0..2 {
        let answer = service.chat(false, "").await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-replica")
            ),
            (200, "other")
        );
        attempts.push(header(&answer, "x-llorch-attempts").to_owned());
    }
    assert_eq!(attempts, ["2", "1"], "the loop is not chosen again");
}

// spec: PATH-26
#[tokio::test]
async fn a_request_for_a_node_is_refused_before_its_body_is_read() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    for path in [
        "/v1/chat/completions",
        "/v1/models",
        "/v2/pools/p/engine/v1/x",
        "/health",
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = service
                .send(
                    method.clone(),
                    path,
                    &[("x-llorch-via", "gateway")],
                    "not even JSON",
                )
                .await;
            assert_eq!(
                (
                    answer.status().as_u16(),
                    header(&answer, "x-llorch-refusal")
                ),
                (508, "LOOP_DETECTED"),
                "{method} {path}"
            );
        }
    }
    assert_eq!(engines[0].stats().requests, 0);
}

// spec: PATH-24
#[tokio::test]
async fn no_spelling_of_an_administrative_path_reaches_an_engine() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    for (path, status) in [
        ("/v1/load_lora_adapter", 404),
        ("/v1/Load_LoRA_Adapter/", 404),
        ("/v1/load_lora_adapter?x=1", 404),
        ("/v1/%6coad_lora_adapter", 400),
        ("/v1/%256coad_lora_adapter", 400),
        ("/v1//load_lora_adapter", 400),
        ("/v1/./load_lora_adapter", 400),
        ("/v1/x/../load_lora_adapter", 400),
        ("/v1/%2e%2e/v1/load_lora_adapter", 400),
        ("/v1/x%2F..%2Fload_lora_adapter", 400),
        ("/v1/load_lora_adapter;x=1", 400),
        ("/v1/\\load_lora_adapter", 400),
        ("/v1/chat/completions/contro%6C", 400),
        ("/v1/chat/%63ompletions", 400),
    ] {
        let answer = service.send(Method::POST, path, &[], CHAT).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let error = error_of(&text(answer).await.0);
        let names_the_path = error["message"]
            .as_str()
            .unwrap()
            .contains("the path \"/v1/");
        assert_eq!(names_the_path, status == 400, "{error}");
    }
    assert_eq!(engines[0].stats().requests, 0);
    // The engine itself does not know this path.
    let answer = service
        .send(Method::POST, "/v1/files/my%20file", &[], CHAT)
        .await;
    assert_eq!(
        (
            answer.status().as_u16(),
            header(&answer, "x-llorch-replica")
        ),
        (404, "r0")
    );
}

/// An engine that can close each connection once it has a whole request, like one that crashes.
struct CrashingEngine {
    url: String,
    executions: AtomicUsize,
    is_crashing: AtomicBool,
}

impl CrashingEngine {
    async fn start(tasks: &Tasks) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let engine = Arc::new(Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            executions: AtomicUsize::new(0),
            is_crashing: AtomicBool::new(false),
        });
        let (serving, children) = (Arc::clone(&engine), tasks.clone());
        tasks.spawn("engine", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let engine = Arc::clone(&serving);
                children.spawn("connection", async move { engine.serve(stream).await });
            }
        });
        engine
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut seen = Vec::new();
        while stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
            if !seen.ends_with(CHAT.as_bytes()) {
                continue;
            }
            seen.clear();
            self.executions.fetch_add(1, Ordering::SeqCst);
            if self.is_crashing.load(Ordering::SeqCst) {
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(answer).await.unwrap();
        }
    }
}

// spec: PATH-27
#[tokio::test]
async fn a_request_is_executed_three_times_at_most() {
    let tasks = Tasks::new(Shutdown::new());
    let engine = CrashingEngine::start(&tasks).await;
    let model = FakeEngine::start(Script::default()).unwrap();
    let endpoints = (0..5).map(|number| TestEndpoint {
        target: HttpUrl::new(&engine.url).unwrap(),
        ..endpoint(&model, &format!("r{number}"))
    });
    let service = Service::with(Default::default(), Default::default(), endpoints.collect()).await;
    for (idle, attempts) in [(true, "2"), (false, "3")] {
        engine.is_crashing.store(false, Ordering::SeqCst);
        if idle {
            let warm = service
                .send(Method::POST, "/v1/chat/completions", &[], CHAT)
                .await;
            assert_eq!(text(warm).await, ("{}".to_owned(), true));
        }
        engine.is_crashing.store(true, Ordering::SeqCst);
        engine.executions.store(0, Ordering::SeqCst);
        let answer = service
            .send(Method::POST, "/v1/chat/completions", &[], CHAT)
            .await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-attempts")
            ),
            (502, attempts),
            "idle connection: {idle}"
        );
        assert_eq!(
            engine.executions.load(Ordering::SeqCst),
            3,
            "idle connection: {idle}"
        );
    }
}
