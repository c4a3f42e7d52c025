//! Only allowed addresses are connected to, whatever a name resolves to.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::time::Duration;

use address_ranges::AddressRanges;
use bytes::Bytes;
use http::{HeaderMap, Method, uri::PathAndQuery};
use pool_registry_types::{HttpUrl, NodeId};
use stream_proxy::{GetError, Outbound, StreamProxy, Timeouts, get_as};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const PATH: &str = "/health";
/// Longer than any answer here takes.
const LONG: Duration = Duration::from_secs(60);

fn everything() -> AddressRanges {
    AddressRanges::new(["0.0.0.0/0", "::/0"].map(|range| range.parse().unwrap()))
}

fn nothing_here() -> AddressRanges {
    AddressRanges::new(["10.0.0.0/8".parse().unwrap()])
}

/// The error of a request to `target`, with all causes.
async fn refusal(allowed: AddressRanges, target: &str) -> String {
    let target = HttpUrl::new(target).unwrap();
    let path = PathAndQuery::from_static(PATH);
    let request = Outbound::new(Method::GET, path.clone(), HeaderMap::new(), Bytes::new());
    let proxy = StreamProxy::new().within(allowed);
    let forwarded = proxy.forward(&target, &request, Timeouts::default()).await;
    let forwarded = GetError::from(forwarded.map(drop).unwrap_err());
    assert!(!forwarded.is_own(), "{}", forwarded.with_causes());
    // Probes have the same rule.
    let probed = get_as(&proxy, &node(), &target, path, LONG, 1000)
        .await
        .unwrap_err();
    assert_eq!(probed.with_causes(), forwarded.with_causes());
    probed.with_causes()
}

fn node() -> NodeId {
    NodeId::new("gpu-1").unwrap()
}

// spec: JOIN-41, JOIN-43
#[tokio::test]
async fn addresses_that_no_node_has_are_not_connected_to() {
    for (target, kind) in [
        ("http://169.254.169.254", "link-local"),
        ("https://169.254.169.254", "link-local"),
        ("http://[::ffff:169.254.169.254]:80", "link-local"),
        ("http://[fe80::1]:80", "link-local"),
        ("http://[fd00:ec2::254]", "a metadata service"),
        ("http://224.0.0.1:9200", "multicast"),
        ("http://0.0.0.0:9200", "unspecified"),
    ] {
        let error = refusal(everything(), target).await;
        assert!(error.contains(kind), "{target}: {error}");
    }
}

// spec: JOIN-40, JOIN-43
#[tokio::test]
async fn a_name_is_judged_by_what_it_resolves_to_at_each_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    // Such a name resolved into an allowed range when the node registered.
    let error = refusal(nothing_here(), &target).await;
    let says = "127.0.0.1 is not in the ranges that nodes may have; see ORCHESTRATORD_NODE_RANGES";
    assert!(
        error.contains(says) || error.contains("::1 is not in"),
        "{error}"
    );
    // Nothing has connected: the first connection is that of the allowed request.
    let answering = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 1000];
        let count = stream.read(&mut head).await.unwrap();
        assert!(head[..count].starts_with(b"GET /health"));
        let redirect = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\
                        content-length: 0\r\n\r\n";
        stream.write_all(redirect.as_bytes()).await.unwrap();
        stream
    };
    let proxy = StreamProxy::new().within(AddressRanges::default());
    let (target, path) = (
        HttpUrl::new(&target).unwrap(),
        PathAndQuery::from_static(PATH),
    );
    let node = node();
    let getting = get_as(&proxy, &node, &target, path, LONG, 1000);
    let (got, _open) = tokio::join!(getting, answering);
    // A redirect is an answer, and is not followed.
    assert_eq!(got.unwrap().0, 302);
}
