//! Requests to nodes over real sockets: what they are told, and how each version's answers are
//! read. The answers of version 0.1.0 are as it sent them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt as _;
use node_transport::{
    NoAnswer, NodeAnswer, NodeRefusal, NodeReport, NodeRequest, NodeTransport as _, Slots, Tcp,
};
use pool_registry_types::{ErrorCode, HttpUrl, NodeId, PoolId, ReplicaId};
use routing_table::{Endpoint, EndpointKey};
use stream_proxy::{Outbound, StreamProxy, Timeouts};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

fn endpoint(replica: Option<&str>, url: &HttpUrl) -> Endpoint {
    let key = EndpointKey {
        node: NodeId::new("gpu-1").unwrap(),
        pool: PoolId::new("pool-0").unwrap(),
        replica: replica.map(|id| ReplicaId::new(id).unwrap()),
    };
    Endpoint::new(key, 1, 0, Arc::new(url.clone()), None)
}

fn request() -> Outbound {
    let path = "/v1/chat/completions".parse().unwrap();
    Outbound::new(
        Method::POST,
        path,
        HeaderMap::new(),
        Bytes::from_static(b"{}"),
    )
}

/// Sends a request for an endpoint to a node that answers with `answer`; returns what came of it,
/// and what the node saw.
async fn ask(
    replica: Option<&str>,
    outbound: &mut Outbound,
    answer: &str,
) -> (Result<NodeAnswer, NoAnswer>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!(
        "http://{}/v2/pools/pool-0/engine",
        listener.local_addr().unwrap()
    );
    let endpoint = endpoint(replica, &HttpUrl::new(&target).unwrap());
    let tcp = Tcp::new(
        StreamProxy::new(),
        Some(HeaderValue::from_static("Bearer token")),
    );
    let sent = tcp.send(NodeRequest {
        endpoint: &endpoint,
        model: "tiny",
        outbound,
        clocks: Timeouts::default(),
    });
    tokio::join!(sent, async {
        let (mut node, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"{}") {
            node.read_buf(&mut seen).await.unwrap();
        }
        node.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(seen).unwrap()
    })
}

const NEW: &str = "HTTP/1.1 200 OK\r\nx-llorch-replica: r1\r\nx-llorch-slots-free: 5\r\nx-llorch-slots-total: 8\r\n\
                   x-llorch-replica-slots-free: 1\r\nx-llorch-replica-slots-total: 4\r\n\
                   content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// As 0.1.0 answers.
const OF_0_1_0: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-llorch-slots-free: 3\r\n\
                        x-llorch-slots-total: 4\r\nx-llorch-replica: r0\r\nx-request-id: r-1\r\ncontent-length: 2\r\n\r\n{}";

// spec: PATH-61
#[tokio::test]
async fn a_node_is_told_who_asks_for_which_model_and_which_replica() {
    let mut outbound = request();
    for (replica, hint) in [
        (Some("r1"), Some("x-llorch-replica-hint: r1\r\n")),
        (None, None),
        (Some("r2"), Some("x-llorch-replica-hint: r2\r\n")),
    ] {
        let (answer, seen) = ask(replica, &mut outbound, NEW).await;
        assert!(answer.is_ok());
        assert!(
            seen.starts_with("POST /v2/pools/pool-0/engine/v1/chat/completions "),
            "{seen}"
        );
        for line in [
            "authorization: Bearer token\r\n",
            "x-llorch-via: gateway\r\n",
            "x-llorch-model: tiny\r\n",
        ] {
            assert_eq!(seen.matches(line).count(), 1, "{line} in {seen}");
        }
        let hints = seen.matches("x-llorch-replica-hint:").count();
        assert_eq!(hints, usize::from(hint.is_some()), "{seen}");
        assert!(hint.is_none_or(|hint| seen.contains(hint)), "{seen}");
    }
}

// spec: PATH-64
#[tokio::test]
async fn what_a_node_says_of_itself_is_read_and_goes_no_further() {
    let (answer, _) = ask(Some("r0"), &mut request(), NEW).await;
    let NodeAnswer { response, report } = answer.unwrap();
    let expected = NodeReport {
        replica: Some(ReplicaId::new("r1").unwrap()),
        slots: Some(Slots { free: 1, total: 4 }),
    };
    assert_eq!(report, expected, "it used another one than it was asked to");
    let ours = response
        .headers()
        .keys()
        .find(|name| name.as_str().starts_with("x-llorch-"));
    assert_eq!(ours, None);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "{}"
    );
}

// spec: PATH-65
#[tokio::test]
async fn answers_of_0_1_0_are_understood() {
    // It tells the slots of its pool alone, which say nothing of one of its replicas.
    let of_pool = Slots { free: 3, total: 4 };
    for (replica, slots) in [(None, Some(of_pool)), (Some("r1"), None)] {
        let (answer, _) = ask(replica, &mut request(), OF_0_1_0).await;
        let expected = NodeReport {
            replica: Some(ReplicaId::new("r0").unwrap()),
            slots,
        };
        assert_eq!(answer.unwrap().report, expected);
    }
    let refusal = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nx-llorch-refusal: POOL_BUSY\r\n\
                   x-llorch-slots-free: 0\r\nx-llorch-slots-total: 4\r\nx-llorch-executions: 1\r\ncontent-length: 2\r\n\r\n{}";
    let (refused, _) = ask(None, &mut request(), refusal).await;
    let NoAnswer::Refused(refused) = refused.unwrap_err() else {
        panic!("it refused");
    };
    let expected = NodeRefusal {
        code: Some(ErrorCode::PoolBusy),
        pause: None,
        executed: true,
        replica: None,
    };
    assert_eq!(refused, expected);
}

// spec: PATH-62
#[tokio::test]
async fn whatever_else_answers_is_not_a_node() {
    for answer in [
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nx-llorch-slots-free: many\r\nx-llorch-slots-total: 1\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-llorch-replica-slots-free: 1\r\nx-llorch-replica-slots-total: 1\r\ncontent-length: 0\r\n\r\n",
    ] {
        let (result, _) = ask(None, &mut request(), answer).await;
        assert!(matches!(result, Err(NoAnswer::NotANode(_))), "{result:?}");
    }
}
