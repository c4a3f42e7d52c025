//! Requests for a sleeping engine.

use std::time::Duration;

use fake_engine::{FakeEngine, Script};
use http::Method;
use http_body_util::BodyExt as _;
use node_api::DataPathConfig;
use pool_registry::DrainTarget;
use pool_registry_types::{Handoff, PoolId, ReplicaId, headers};
use stream_proxy::Timeouts;

use crate::support::{CHAT, Node, TEST_TIMEOUT, handoff_of, header, json, slots};

/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(50);

fn pool() -> PoolId {
    PoolId::new("pool-0").unwrap()
}

fn replica(id: &str) -> ReplicaId {
    ReplicaId::new(id).unwrap()
}

/// A node whose replicas sleep, with two slots each.
fn asleep(replicas: &[&str]) -> Node {
    let node = Node::over(&[]);
    for id in replicas {
        node.registry.set_scaled_to_zero(sleeper(id));
    }
    node
}

fn sleeper(id: &str) -> Handoff {
    handoff_of("http://127.0.0.1:1", id, 2)
}

/// Waits until this many requests of the node wait or run.
async fn running(node: &Node, count: usize) {
    let reached = async {
        while node.registry.in_flight() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, reached).await.unwrap();
}

// spec: PROV-20
#[tokio::test]
async fn the_first_request_wakes_an_engine_and_all_waiting_ones_are_served() {
    let engine = FakeEngine::start(Script {
        slots: 2,
        ..Script::default()
    })
    .unwrap();
    let node = asleep(&["r0"]);
    let wakes = async {
        node.registry.wait_for_demand(&pool(), &replica("r0")).await;
        running(&node, 2).await;
        // As many requests wait as there will be slots; the next one is refused at once.
        let refused = node.chat("").await;
        assert_eq!(header(&refused, "x-llorch-refusal"), "POOL_BUSY");
        assert_eq!(slots(&refused), ("0", "2"));
        assert_eq!(engine.stats().requests, 0);
        node.registry
            .upsert(handoff_of(&engine.url(), "r0", 2))
            .unwrap();
    };
    let (first, second, ()) = tokio::join!(node.chat(""), node.chat(""), wakes);
    for answer in [first, second] {
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-replica")
            ),
            (200, "r0")
        );
        answer.into_body().collect().await.unwrap();
    }
    node.registry.idle().await;
    assert_eq!(engine.stats().requests, 2);
}

// spec: PROV-20
#[tokio::test]
async fn a_client_that_leaves_while_an_engine_wakes_holds_no_slot() {
    let node = asleep(&["r0"]);
    let waits = node.chat("");
    tokio::select! {
        _ = waits => panic!("the engine never wakes"),
        () = running(&node, 1) => {}
    }
    running(&node, 0).await;
    let status = node.registry.statuses().remove(0);
    assert!(status.sleeping && status.slots_free() == 2, "{status:?}");
}

// spec: PROV-21
#[tokio::test]
async fn a_failed_wake_up_is_reported_after_another_engine_was_tried() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let node = asleep(&["r0", "r1"]);
    let fails = async {
        node.registry.wait_for_demand(&pool(), &replica("r0")).await;
        node.registry
            .withdraw_offer(&sleeper("r0"), Some("backoff: out of memory"));
        node.registry.wait_for_demand(&pool(), &replica("r1")).await;
        node.registry
            .upsert(handoff_of(&engine.url(), "r1", 2))
            .unwrap();
    };
    let (answer, ()) = tokio::join!(node.chat(""), fails);
    assert_eq!(
        (
            answer.status().as_u16(),
            header(&answer, "x-llorch-replica")
        ),
        (200, "r1")
    );
    answer.into_body().collect().await.unwrap();

    let node = asleep(&["r0"]);
    let fails = async {
        node.registry.wait_for_demand(&pool(), &replica("r0")).await;
        node.registry
            .withdraw_offer(&sleeper("r0"), Some("backoff: out of memory"));
    };
    let (answer, ()) = tokio::join!(node.chat(""), fails);
    assert_eq!(answer.status().as_u16(), 503);
    assert_eq!(header(&answer, "x-llorch-refusal"), "POOL_UNAVAILABLE");
    let error = json(answer).await;
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("out of memory"), "{message}");
}

// spec: PROV-21
#[tokio::test]
async fn a_drain_refuses_waiting_requests() {
    let node = asleep(&["r0"]);
    let drains = async {
        node.registry.wait_for_demand(&pool(), &replica("r0")).await;
        node.registry.drain(&DrainTarget::Pool(pool())).unwrap();
    };
    let (answer, ()) = tokio::join!(node.chat(""), drains);
    assert_eq!(header(&answer, "x-llorch-refusal"), "POOL_DRAINING");
    node.registry.undrain(&DrainTarget::Pool(pool())).unwrap();
    let stops = async {
        node.registry.wait_for_demand(&pool(), &replica("r0")).await;
        node.registry.drain_all();
    };
    let (answer, ()) = tokio::join!(node.chat(""), stops);
    assert_eq!(header(&answer, "x-llorch-refusal"), "POOL_DRAINING");
}

/// The wait for an engine that never starts ends, also where the request itself has more time.
// spec: PROV-43
#[tokio::test]
async fn the_wait_for_an_engine_that_never_starts_has_an_end() {
    for (own, of_pool) in [(SHORT, None), (TEST_TIMEOUT, Some(SHORT))] {
        let config = DataPathConfig {
            timeouts: Timeouts {
                first_byte: own,
                ..Timeouts::default()
            },
            ..DataPathConfig::default()
        };
        let node = Node::with(config, &[]);
        node.registry.set_scaled_to_zero(sleeper("r0"));
        node.registry.set_queue_timeout(&pool(), of_pool);
        let first_byte = headers::FIRST_BYTE_MS;
        let hour = [(first_byte.as_str(), "3600000")];
        let body = r#"{"model":"tiny","messages":[]}"#;
        let answer = node.send(Method::POST, CHAT, &hour, body).await;
        let shown = (
            answer.status().as_u16(),
            header(&answer, "x-llorch-refusal"),
        );
        assert_eq!(shown, (504, "DEADLINE_EXCEEDED"), "{of_pool:?}");
        node.registry.idle().await;
        assert_eq!(node.registry.statuses()[0].slots_free(), 2);
    }
}
