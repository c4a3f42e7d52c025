//! Protection against clients and engines that misbehave, and engines that are unreachable.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use fake_engine::{FakeEngine, Fault, Script};
use http::Method;
use http_body_util::BodyExt as _;
use service_runtime::{Shutdown, Tasks};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use crate::support::{CHAT, Node, TEST_TIMEOUT, handoff_of, header, json, raw_engine, slots};

// spec: SLOT-8
#[tokio::test]
async fn another_engine_of_the_pool_replaces_an_unreachable_one() {
    let gone = FakeEngine::start(Script::default()).unwrap();
    let healthy = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&gone, &healthy]);
    gone.stop();
    for _ in 0..10 {
        let answer = node.chat("").await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-replica")
            ),
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
async fn an_engine_that_dies_before_its_first_byte_is_replaced_once() {
    let silent = || {
        FakeEngine::start(Script {
            fault: Some(Fault::Silent),
            ..Script::default()
        })
        .unwrap()
    };
    let (doomed, healthy) = (silent(), FakeEngine::start(Script::default()).unwrap());
    let node = Node::over(&[&doomed, &healthy]);
    let (answer, ()) = tokio::join!(node.chat(""), async {
        doomed.until(|stats| stats.running == 1).await;
        doomed.stop();
    });
    let replica = header(&answer, "x-llorch-replica");
    assert_eq!((answer.status().as_u16(), replica), (200, "r1"));

    // After two engines died of the request, no third one gets it.
    let (first, second, third) = (
        silent(),
        silent(),
        FakeEngine::start(Script::default()).unwrap(),
    );
    let node = Node::over(&[&first, &second, &third]);
    let (answer, ()) = tokio::join!(node.chat(""), async {
        first.until(|stats| stats.running == 1).await;
        first.stop();
        second.until(|stats| stats.running == 1).await;
        second.stop();
    });
    assert_eq!(header(&answer, "x-llorch-refusal"), "WORKER_RESET");
    assert_eq!(third.stats().requests, 0);
}

#[tokio::test]
async fn a_full_pool_is_reported_rather_than_an_unreachable_engine() {
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
async fn a_slot_is_not_claimed_before_the_body_has_arrived() {
    let engine = FakeEngine::start(Script {
        slots: 2,
        ..Script::default()
    })
    .unwrap();
    let node = Node::over(&[&engine]);
    let slow = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n{{"
    );
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
async fn a_full_pool_refuses_before_reading_the_body() {
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
    timeout(TEST_TIMEOUT, stream.read_exact(&mut status))
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
    let url = raw_engine(
        "HTTP/1.1 200 OK\r\nx-llorch-refusal: POOL_BUSY\r\nx-llorch-slots-free: 99\r\n\
         x-llorch-node: other\r\nx-llorch-anything: 1\r\nx-request-id: kept\r\n\
         content-length: 2\r\nconnection: close\r\n\r\n{}",
    )
    .await;
    node.registry.upsert(handoff_of(&url, "r0", 2)).unwrap();
    let answer = node.chat("").await;
    assert_eq!(
        (answer.status().as_u16(), slots(&answer)),
        (200, ("1", "2"))
    );
    for name in ["x-llorch-refusal", "x-llorch-node", "x-llorch-anything"] {
        assert_eq!(header(&answer, name), "", "{name}");
    }
    assert_eq!(header(&answer, "x-llorch-replica"), "r0");
}

// spec: SLOT-10
#[tokio::test]
async fn an_engine_that_switches_protocols_is_broken() {
    let node = Node::over(&[]);
    let url =
        raw_engine("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
            .await;
    node.registry.upsert(handoff_of(&url, "r0", 2)).unwrap();
    let answer = timeout(TEST_TIMEOUT, node.chat("")).await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            header(&answer, "x-llorch-refusal")
        ),
        (502, "WORKER_RESET")
    );
    node.registry.idle().await;
}

// spec: SLOT-10
#[tokio::test]
async fn connect_and_trace_are_refused() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&engine]);
    for request in [
        format!("TRACE {CHAT} HTTP/1.1\r\nhost: h\r\n\r\n"),
        format!("CONNECT {CHAT} HTTP/1.1\r\nhost: h\r\n\r\n"),
        "CONNECT example.org:80 HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(),
    ] {
        let mut status = [0; 12];
        node.raw(&request)
            .await
            .read_exact(&mut status)
            .await
            .unwrap();
        assert_eq!(&status, b"HTTP/1.1 405", "{request}");
    }
    assert_eq!(engine.stats().requests, 0);
}

#[tokio::test]
async fn the_connection_header_cannot_remove_the_nodes_headers() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[]);
    node.registry
        .upsert(handoff_of(&engine.url(), "r0", 2))
        .unwrap();
    for (model, status) in [("unheard-of", "404"), ("tiny", "200")] {
        let mut stream = node
            .raw(&format!(
                "POST {CHAT} HTTP/1.1\r\nhost: h\r\n\
                 connection: close, x-llorch-model, x-request-id, x-mine\r\n\
                 x-llorch-model: {model}\r\nx-request-id: r-7\r\nx-mine: 1\r\n\
                 content-length: 2\r\n\r\n{{}}"
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

// spec: PATH-25
#[tokio::test]
async fn a_node_does_not_forward_engine_administration() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&engine]);
    for (path, status, refusal) in [
        ("v1/load_lora_adapter", 404, "NOT_FOUND"),
        ("v1/Unload_lora_adapter/", 404, "NOT_FOUND"),
        ("load_lora_adapter", 404, "NOT_FOUND"),
        ("v1/chat/completions/control?x=1", 404, "NOT_FOUND"),
        ("v1/%6coad_lora_adapter", 400, "INVALID_REQUEST"),
        ("v1/%256coad_lora_adapter", 400, "INVALID_REQUEST"),
        ("/v1/chat/completions", 400, "INVALID_REQUEST"),
        ("v1/../slots", 400, "INVALID_REQUEST"),
        ("v1/x%2Fy", 400, "INVALID_REQUEST"),
        ("v1/x;y", 400, "INVALID_REQUEST"),
        ("v1\\x", 400, "INVALID_REQUEST"),
    ] {
        let path = format!("/v2/pools/pool-0/engine/{path}");
        let answer = node.send(Method::POST, &path, &[], "{}").await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-refusal")
            ),
            (status, refusal),
            "{path}"
        );
    }
    assert_eq!(engine.stats().requests, 0);
}

// spec: PATH-26
#[tokio::test]
async fn the_mark_of_a_gateway_is_not_forwarded() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = Node::over(&[&engine]);
    let marked = [("x-llorch-via", "gateway"), ("via", "1.1 front")];
    let answer = node
        .send(Method::POST, CHAT, &marked, r#"{"model":"tiny"}"#)
        .await;
    assert_eq!(answer.status(), 200);
    let seen = engine.records().pop().unwrap();
    assert_eq!(
        (seen.header("x-llorch-via"), seen.header("via")),
        (None, Some("1.1 front"))
    );
}

// spec: PATH-27
#[tokio::test]
async fn a_request_reaches_at_most_two_engines() {
    let executions = Arc::new(AtomicUsize::new(0));
    let is_dying = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let tasks = Tasks::new(Shutdown::new());
    let (count, dying) = (Arc::clone(&executions), Arc::clone(&is_dying));
    tasks.spawn("engine", async move {
        loop {
            let mut stream = listener.accept().await.unwrap().0;
            // A request is small enough for one read.
            let mut request = [0; 4096];
            while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                count.fetch_add(1, Ordering::SeqCst);
                if dying.load(Ordering::SeqCst) {
                    break;
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(answer).await.unwrap();
            }
        }
    });
    let node = Node::over(&[]);
    for replica in ["r0", "r1", "r2"] {
        node.registry.upsert(handoff_of(&url, replica, 2)).unwrap();
    }
    for idle in [true, false] {
        is_dying.store(false, Ordering::SeqCst);
        if idle {
            assert_eq!(json(node.chat("").await).await, serde_json::json!({}));
        }
        is_dying.store(true, Ordering::SeqCst);
        executions.store(0, Ordering::SeqCst);
        let answer = timeout(TEST_TIMEOUT, node.chat("")).await.unwrap();
        assert_eq!(header(&answer, "x-llorch-refusal"), "WORKER_RESET");
        assert_eq!(
            executions.load(Ordering::SeqCst),
            2,
            "idle connection: {idle}"
        );
    }
}

// spec: PATH-27
#[tokio::test]
async fn a_busy_node_reports_that_an_engine_may_have_started_the_request() {
    let silent = Script {
        slots: 1,
        fault: Some(Fault::Silent),
        ..Script::default()
    };
    let (doomed, busy) = (
        FakeEngine::start(silent.clone()).unwrap(),
        FakeEngine::start(silent).unwrap(),
    );
    let node = Node::over(&[&doomed, &busy]);
    let both_run = async {
        doomed.until(|stats| stats.running == 1).await;
        busy.until(|stats| stats.running == 1).await;
        doomed.stop();
        std::future::pending::<()>().await;
    };
    // The request on the other engine continues. The one that ends is the one whose engine died.
    let answer = tokio::select! {
        answer = node.chat("") => answer,
        answer = node.chat("") => answer,
        () = both_run => unreachable!("this future never ends"),
    };
    assert_eq!(header(&answer, "x-llorch-refusal"), "POOL_BUSY");
    assert_eq!(header(&answer, "x-llorch-executions"), "1");
}
