//! Requests to nodes over real sockets: the headers they get, and how the responses of each version
//! are read. The responses of version 0.1.0 are recorded ones.

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
    NodeRefusal, NodeReport, NodeRequest, NodeResponse, NodeTransport as _, Slots, TcpTransport,
    TransportError,
};
use pool_registry_types::{ErrorCode, HttpUrl, ReplicaId};
use routing_table::Endpoint;
use stream_proxy::{Outbound, StreamProxy, Timeouts};
use test_fixtures::TestEndpoint;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

fn endpoint(replica: Option<&str>, url: &HttpUrl) -> Arc<Endpoint> {
    let endpoint = TestEndpoint {
        replica: replica.map(str::to_owned),
        target: url.clone(),
        ..TestEndpoint::of_pool("gpu-1", 1)
    };
    endpoint.endpoint()
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

/// Sends a request to a node that responds with `raw`. Returns the result and the bytes that the
/// node received.
async fn send(
    replica: Option<&str>,
    outbound: &mut Outbound,
    raw: &str,
) -> (Result<NodeResponse, TransportError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!(
        "http://{}/v2/pools/pool-0/engine",
        listener.local_addr().unwrap()
    );
    let endpoint = endpoint(replica, &HttpUrl::new(&target).unwrap());
    let tcp = TcpTransport::new(
        StreamProxy::new(),
        Some(HeaderValue::from_static("Bearer token")),
    );
    let sent = tcp.send(NodeRequest {
        endpoint: &endpoint,
        is_bound: false,
        model: "tiny",
        outbound,
        timeouts: Timeouts::default(),
    });
    tokio::join!(sent, async {
        let (mut node, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"{}") {
            node.read_buf(&mut received).await.unwrap();
        }
        node.write_all(raw.as_bytes()).await.unwrap();
        String::from_utf8(received).unwrap()
    })
}

const CURRENT: &str = "HTTP/1.1 200 OK\r\nx-llorch-replica: r1\r\nx-llorch-slots-free: 5\r\n\
                       x-llorch-slots-total: 8\r\nx-llorch-replica-slots-free: 1\r\n\
                       x-llorch-replica-slots-total: 4\r\ncontent-type: application/json\r\n\
                       content-length: 2\r\n\r\n{}";

/// A response of version 0.1.0.
const VERSION_0_1_0: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                             x-llorch-slots-free: 3\r\nx-llorch-slots-total: 4\r\n\
                             x-llorch-replica: r0\r\nx-request-id: r-1\r\n\
                             content-length: 2\r\n\r\n{}";

// spec: PATH-61
#[tokio::test]
async fn a_node_gets_the_token_the_model_and_the_replica_hint() {
    let mut outbound = request();
    for (replica, hint) in [
        (Some("r1"), Some("x-llorch-replica-hint: r1\r\n")),
        (None, None),
        (Some("r2"), Some("x-llorch-replica-hint: r2\r\n")),
    ] {
        let (result, received) = send(replica, &mut outbound, CURRENT).await;
        assert!(result.is_ok());
        assert!(
            received.starts_with("POST /v2/pools/pool-0/engine/v1/chat/completions "),
            "{received}"
        );
        for line in [
            "authorization: Bearer token\r\n",
            "x-llorch-via: gateway\r\n",
            "x-llorch-model: tiny\r\n",
        ] {
            assert_eq!(received.matches(line).count(), 1, "{line} in {received}");
        }
        let hints = received.matches("x-llorch-replica-hint:").count();
        assert_eq!(hints, usize::from(hint.is_some()), "{received}");
        assert!(
            hint.is_none_or(|hint| received.contains(hint)),
            "{received}"
        );
    }
}

// spec: PATH-64
#[tokio::test]
async fn a_nodes_report_is_read_and_removed() {
    let (answer, _) = send(Some("r0"), &mut request(), CURRENT).await;
    let NodeResponse { response, report } = answer.unwrap();
    let expected = NodeReport {
        replica: Some(ReplicaId::new("r1").unwrap()),
        slots: Some(Slots { free: 1, total: 4 }),
    };
    assert_eq!(report, expected, "the node did not use the hinted replica");
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
async fn responses_of_0_1_0_are_understood() {
    // It reports only the slots of its pool, which say nothing about one replica.
    let of_pool = Slots { free: 3, total: 4 };
    for (replica, slots) in [(None, Some(of_pool)), (Some("r1"), None)] {
        let (answer, _) = send(replica, &mut request(), VERSION_0_1_0).await;
        let expected = NodeReport {
            replica: Some(ReplicaId::new("r0").unwrap()),
            slots,
        };
        assert_eq!(answer.unwrap().report, expected);
    }
    let refusal = "HTTP/1.1 503 Service Unavailable\r\n\
                   content-type: application/json\r\nx-llorch-refusal: POOL_BUSY\r\n\
                   x-llorch-slots-free: 0\r\nx-llorch-slots-total: 4\r\n\
                   x-llorch-executions: 1\r\ncontent-length: 2\r\n\r\n{}";
    let (refused, _) = send(None, &mut request(), refusal).await;
    let TransportError::Refused(refused) = refused.unwrap_err() else {
        panic!("not a refusal");
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
async fn other_servers_are_not_nodes() {
    for answer in [
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nx-llorch-slots-free: many\r\nx-llorch-slots-total: 1\r\n\
         content-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-llorch-replica-slots-free: 1\r\nx-llorch-replica-slots-total: 1\r\n\
         content-length: 0\r\n\r\n",
    ] {
        let (result, _) = send(None, &mut request(), answer).await;
        assert!(
            matches!(result, Err(TransportError::NotANode(_))),
            "{result:?}"
        );
    }
}
