//! Requests with a replica hint, over HTTP and from the same process.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fake_engine::{FakeEngine, Fault, Script};
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use node_transport::{
    NodeRefusal, NodeReport, NodeRequest, NodeResponse, NodeTransport as _, Slots, TransportError,
};
use pool_registry::DrainTarget;
use pool_registry_types::{ErrorCode, PoolId, ReplicaId};
use routing_table::Endpoint;
use stream_proxy::{ForwardError, Outbound, Timeouts};
use test_fixtures::TestEndpoint;
use tokio::time::Instant;

use crate::support::{CHAT, Node, handoff_of, header, slots};

const BODY: &str = r#"{"model":"tiny","stream":true,"messages":[]}"#;

fn engine(slots: u32) -> FakeEngine {
    FakeEngine::start(Script {
        slots,
        ..Script::default()
    })
    .unwrap()
}

fn pool() -> PoolId {
    PoolId::new("pool-0").unwrap()
}

fn endpoint(pool: &PoolId, replica: Option<&str>) -> Arc<Endpoint> {
    let endpoint = TestEndpoint {
        pool: pool.to_string(),
        replica: replica.map(str::to_owned),
        ..TestEndpoint::of_pool("here", 1)
    };
    endpoint.endpoint()
}

fn outbound(x_fake: &str) -> Outbound {
    let mut headers = HeaderMap::new();
    headers.insert("x-fake", x_fake.parse().unwrap());
    let path = "/v1/chat/completions".parse().unwrap();
    Outbound::new(
        Method::POST,
        path,
        headers,
        Bytes::from_static(BODY.as_bytes()),
    )
}

/// A request from a gateway in this process.
async fn send(
    node: &Node,
    replica: Option<&str>,
    x_fake: &str,
) -> Result<NodeResponse, TransportError> {
    let request = NodeRequest {
        endpoint: &endpoint(&pool(), replica),
        is_bound: false,
        model: "tiny",
        outbound: &mut outbound(x_fake),
        timeouts: Timeouts::default(),
    };
    node.dispatcher.send(request).await
}

/// The replica that served a request with this hint, over HTTP.
async fn used(node: &Node, hint: &str) -> String {
    let answer = node
        .send(Method::POST, CHAT, &[("x-llorch-replica-hint", hint)], BODY)
        .await;
    assert_eq!(answer.status(), 200, "{hint}");
    let replica = header(&answer, "x-llorch-replica").to_owned();
    answer.into_body().collect().await.unwrap();
    replica
}

// spec: SLOT-40, SLOT-42
#[tokio::test]
async fn a_hint_is_followed_and_not_forwarded() {
    let engines = [engine(4), engine(2)];
    let node = Node::over(&[&engines[0], &engines[1]]);
    let answer = node
        .send(Method::POST, CHAT, &[("x-llorch-replica-hint", "r1")], BODY)
        .await;
    assert_eq!(header(&answer, "x-llorch-replica"), "r1");
    assert_eq!(slots(&answer), ("5", "6"), "the slots of the pool");
    let of_replica = [
        "x-llorch-replica-slots-free",
        "x-llorch-replica-slots-total",
    ];
    assert_eq!(of_replica.map(|name| header(&answer, name)), ["1", "2"]);
    answer.into_body().collect().await.unwrap();
    let seen = engines[1].records().pop().unwrap();
    assert_eq!(seen.header("x-llorch-replica-hint"), None);
}

// spec: SLOT-45
#[tokio::test]
async fn a_bound_request_is_served_by_its_replica_alone() {
    let engines = [engine(4), engine(1)];
    let node = Node::over(&[&engines[0], &engines[1]]);
    let bound = [
        ("x-llorch-replica-hint", "r1"),
        ("x-llorch-replica-only", "true"),
    ];
    let answer = node.send(Method::POST, CHAT, &bound, BODY).await;
    assert_eq!(header(&answer, "x-llorch-replica"), "r1");
    answer.into_body().collect().await.unwrap();
    let seen = engines[1].records().pop().unwrap();
    assert_eq!(seen.header("x-llorch-replica-only"), None);

    let held = send(&node, Some("r1"), "tokens=100000,token_ms=1")
        .await
        .unwrap();
    let answer = node.send(Method::POST, CHAT, &bound, BODY).await;
    assert_eq!(header(&answer, "x-llorch-refusal"), "POOL_BUSY");
    let request = NodeRequest {
        endpoint: &endpoint(&pool(), Some("r1")),
        is_bound: true,
        model: "tiny",
        outbound: &mut outbound(""),
        timeouts: Timeouts::default(),
    };
    let refused = node.dispatcher.send(request).await.unwrap_err();
    assert!(
        matches!(&refused, TransportError::Refused(refusal)
            if refusal.code == Some(ErrorCode::PoolBusy)),
        "{refused:?}"
    );
    drop(held);
    node.registry.idle().await;
    let unknown = [bound[1], ("x-llorch-replica-hint", "gone")];
    let answer = node.send(Method::POST, CHAT, &unknown, BODY).await;
    assert_eq!(header(&answer, "x-llorch-refusal"), "POOL_UNAVAILABLE");
    assert_eq!(engines[0].stats().requests, 0);
}

// spec: SLOT-41
#[tokio::test]
async fn without_a_usable_hint_the_node_chooses() {
    let engines = [engine(4), engine(1)];
    let node = Node::over(&[&engines[0], &engines[1]]);
    // Another pool's replica, and names of other versions.
    let other = handoff_of("http://127.0.0.1:1", "elsewhere", 1);
    node.registry
        .upsert({
            let mut handoff = other;
            handoff.pool_id = PoolId::new("pool-1").unwrap();
            handoff
        })
        .unwrap();
    for hint in ["unknown", "elsewhere", "r1/gpu0", "r1 ; v=2", ""] {
        assert_eq!(used(&node, hint).await, "r0", "{hint:?}");
    }
    let held = send(&node, Some("r1"), "tokens=100000,token_ms=1")
        .await
        .unwrap();
    assert_eq!(used(&node, "r1").await, "r0", "the hinted replica is full");
    drop(held);
    let target = DrainTarget::Replica(pool(), ReplicaId::new("r1").unwrap());
    node.registry.drain(&target).unwrap();
    assert_eq!(used(&node, "r1").await, "r0", "the hinted replica drains");
}

// spec: SLOT-41
#[tokio::test]
async fn a_gateway_in_the_same_process_gets_the_same_choice() {
    let engines = [engine(4), engine(1)];
    let node = Node::over(&[&engines[0], &engines[1]]);
    let replica = |answer: &NodeResponse| answer.report.replica.as_ref().unwrap().to_string();
    let held = send(&node, Some("r1"), "tokens=100000,token_ms=1")
        .await
        .unwrap();
    assert_eq!(held.report, NodeReport::default(), "the chosen replica");
    assert_eq!(node.registry.in_flight(), 1);
    let ours = held
        .response
        .headers()
        .keys()
        .find(|name| name.as_str().starts_with("x-llorch-"));
    assert_eq!(ours, None, "no header carries the report");
    for hint in [Some("r1"), Some("unknown"), None] {
        let answer = send(&node, hint, "").await.unwrap();
        assert_eq!(replica(&answer), "r0", "{hint:?}");
        assert_eq!(answer.report.slots, Some(Slots { free: 3, total: 4 }));
        answer.response.into_body().collect().await.unwrap();
    }
    drop(held);
    node.registry.idle().await;
}

// spec: SLOT-44
#[tokio::test]
async fn a_slot_is_free_once_the_whole_response_has_arrived() {
    let engine = engine(1);
    let node = Node::over(&[&engine]);
    let mut request = outbound("");
    request.body = Bytes::from_static(br#"{"model":"tiny","messages":[]}"#);
    let answer = node
        .dispatcher
        .send(NodeRequest {
            endpoint: &endpoint(&pool(), Some("r0")),
            is_bound: false,
            model: "tiny",
            outbound: &mut request,
            timeouts: Timeouts::default(),
        })
        .await
        .unwrap();
    assert!(
        answer.response.body().is_complete(),
        "a small response is complete"
    );
    assert_eq!(node.registry.in_flight(), 0);
    let text = answer
        .response
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    assert!(text.ends_with(b"}"));
}

// spec: PATH-67
#[tokio::test]
async fn a_gateway_in_the_same_process_gets_the_same_refusals() {
    let engine = engine(1);
    let node = Node::over(&[&engine]);
    let refusal = |code| NodeRefusal {
        code: Some(code),
        pause: None,
        executed: false,
        replica: None,
    };
    let refused = |result: Result<NodeResponse, TransportError>| match result.unwrap_err() {
        TransportError::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    let held = send(&node, None, "tokens=100000,token_ms=1").await.unwrap();
    assert_eq!(
        refused(send(&node, Some("r0"), "").await),
        refusal(ErrorCode::PoolBusy)
    );
    drop(held);
    node.registry.drain_all();
    assert_eq!(
        refused(send(&node, None, "").await),
        refusal(ErrorCode::PoolDraining)
    );
    let request = NodeRequest {
        endpoint: &endpoint(&PoolId::new("other").unwrap(), None),
        is_bound: false,
        model: "tiny",
        outbound: &mut outbound(""),
        timeouts: Timeouts::default(),
    };
    let unknown = node.dispatcher.send(request).await;
    assert_eq!(refused(unknown), refusal(ErrorCode::NotFound));
}

// spec: PATH-67
#[tokio::test]
async fn a_gateway_in_the_same_process_gets_the_engines_failure() {
    let gone = engine(2);
    let node = Node::over(&[&gone]);
    gone.stop();
    let failed = send(&node, Some("r0"), "").await.unwrap_err();
    assert!(
        matches!(
            &failed,
            TransportError::Failed {
                error: ForwardError::Connect { .. },
                replica: Some(replica),
            } if replica.as_str() == "r0"
        ),
        "{failed:?}"
    );

    let node = Node::over(&[]);
    node.registry
        .set_scaled_to_zero(handoff_of("http://127.0.0.1:1", "r0", 1));
    let timeouts = Timeouts {
        deadline: Some(Instant::now() + Duration::from_millis(1)),
        ..Timeouts::default()
    };
    let request = NodeRequest {
        endpoint: &endpoint(&pool(), Some("r0")),
        is_bound: false,
        model: "tiny",
        outbound: &mut outbound(""),
        timeouts,
    };
    let late = node.dispatcher.send(request).await.unwrap_err();
    assert!(
        matches!(
            late,
            TransportError::Failed {
                error: ForwardError::Deadline { .. },
                ..
            }
        ),
        "{late:?}"
    );
}

// spec: PATH-68
#[tokio::test]
async fn the_failure_of_a_hinted_engine_is_reported_to_the_gateway() {
    let silent = || {
        FakeEngine::start(Script {
            fault: Some(Fault::Silent),
            ..Script::default()
        })
        .unwrap()
    };
    let (doomed, healthy) = (silent(), engine(4));
    let node = Node::over(&[&doomed, &healthy]);
    let hinted = node.send(Method::POST, CHAT, &[("x-llorch-replica-hint", "r0")], BODY);
    let (answer, ()) = tokio::join!(hinted, async {
        doomed.until(|stats| stats.running == 1).await;
        doomed.stop();
    });
    assert_eq!(header(&answer, "x-llorch-refusal"), "WORKER_RESET");
    assert_eq!(healthy.stats().requests, 0);
    // The connection is refused now, which costs nothing: another engine serves the request.
    assert_eq!(used(&node, "r0").await, "r1");
}
