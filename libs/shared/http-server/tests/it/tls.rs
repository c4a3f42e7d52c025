//! TLS and plain HTTP on one port, and clients that do not finish their handshakes.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use bearer_auth::AuthPolicy;
use http::{Request, Response};
use http_server::{
    Access, AllowedHosts, Authenticated, Limits, PlainHttp, RequestBody, Routes,
    UnauthenticatedLimits, with_fallbacks,
};
use tokio::time::Instant;

use crate::{
    support::{Answering, Client, Server, assert_elapsed, full, hello},
    tls_support::Pki,
};

/// The beginning of a handshake: the type of the record, its version, and a length.
const HALF_A_HANDSHAKE: &[u8] = &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00];

/// Says whether the request came over TLS, and with which certificate.
fn who() -> impl http_server::HttpService {
    Answering(async |request: Request<RequestBody>| {
        let body = request.body();
        let names = body.peer_certificate().map(|peer| peer.names().to_vec());
        Response::new(full(format!("{} {names:?}", body.is_tls())))
    })
}

// spec: TLS-10, TLS-13
#[tokio::test]
async fn one_port_serves_tls_and_plain_http() {
    let pki = Pki::new();
    let server = pki.start(Limits::default(), who());
    let mut plain = server.connect();
    for _ in 0..2 {
        assert_eq!(plain.get("/").await.text(), "false None");
    }
    let tls = pki.connect(server.pipe(), b"http/1.1", None).await;
    let mut tls = Client::new(tls);
    for _ in 0..2 {
        assert_eq!(tls.get("/").await.text(), "true None");
    }
    let node = pki.connect(server.pipe(), b"http/1.1", Some("gpu-1")).await;
    let reply = Client::new(node).get("/").await;
    assert_eq!(reply.text(), "true Some([\"gpu-1\"])");
}

// spec: TLS-10
#[tokio::test]
async fn a_header_that_begins_byte_by_byte_is_plain_http() {
    let pki = Pki::new();
    let server = pki.start(Limits::default(), hello());
    let mut client = server.connect();
    for byte in b"GET / HTTP/1.1\r\nhost: h\r\n\r\n" {
        client.send([*byte]).await;
    }
    assert_eq!(client.reply().await.text(), "hello");
}

// spec: TLS-11
#[tokio::test(start_paused = true)]
async fn unfinished_handshakes_end_at_the_deadline_of_a_header() {
    let pki = Pki::new();
    let limits = Limits::default();
    let server = pki.start(limits, hello());
    let mut slow = Vec::new();
    for count in 0..1000 {
        let mut client = server.connect();
        client
            .send(&HALF_A_HANDSHAKE[..=count % (HALF_A_HANDSHAKE.len() - 1)])
            .await;
        slow.push(client);
    }
    let mut good = server.connect();
    assert_eq!(good.get("/health").await.text(), "hello");
    assert_eq!(server.handle.connections(), 1001);
    let start = Instant::now();
    // Another byte does not extend the deadline.
    tokio::time::sleep(limits.header / 2).await;
    slow[0].send(b"x").await;
    for client in &mut slow {
        client.until_closed().await;
    }
    assert_elapsed(start, limits.header);
    assert_eq!(good.get("/health").await.text(), "hello");
    assert_eq!(server.handle.connections(), 1);
}

// spec: TLS-11
#[tokio::test]
async fn unfinished_handshakes_make_room_for_new_connections() {
    let pki = Pki::new();
    let limits = Limits {
        unauthenticated: Some(UnauthenticatedLimits {
            max_connections: 2,
            grace: Duration::ZERO,
            ..UnauthenticatedLimits::default()
        }),
        ..Limits::default()
    };
    let server = pki.start(limits, hello());
    let mut first = server.connect();
    let mut second = server.connect();
    first.send(HALF_A_HANDSHAKE).await;
    second.send(HALF_A_HANDSHAKE).await;
    let tls = pki.connect(server.pipe(), b"http/1.1", None).await;
    first.until_closed().await;
    assert_eq!(Client::new(tls).get("/").await.text(), "hello");
}

// spec: TLS-11
#[tokio::test(start_paused = true)]
async fn a_finished_handshake_without_a_request_is_closed() {
    let pki = Pki::new();
    let limits = Limits::default();
    let server = pki.start(limits, hello());
    let tls = pki.connect(server.pipe(), b"http/1.1", None).await;
    let start = Instant::now();
    Client::new(tls).until_closed().await;
    assert_elapsed(start, limits.first_byte);
}

// spec: TLS-12
#[tokio::test]
async fn plain_http_from_another_machine_is_refused_with_tls() {
    let pki = Pki::new();
    let tls = (pki.server(), PlainHttp::FromLoopback);
    let server = Server::start_with(Some(tls), Limits::default(), hello());
    let mut plain = server.connect();
    let (status, code, message) = plain.get("/v2/nodes").await.error();
    assert_eq!((status, &*code), (403, "FORBIDDEN"));
    assert!(message.contains("https://"), "{message}");
    assert_eq!(plain.until_closed().await, b"");
    let tls = pki.connect(server.pipe(), b"http/1.1", None).await;
    assert_eq!(Client::new(tls).get("/v2/nodes").await.text(), "hello");
}

// spec: TLS-11
#[tokio::test]
async fn a_stop_ends_unfinished_handshakes_at_once() {
    let pki = Pki::new();
    let server = pki.start(Limits::default(), hello());
    let mut slow = server.connect();
    slow.send(HALF_A_HANDSHAKE).await;
    let mut good = server.connect();
    assert_eq!(good.get("/").await.text(), "hello");
    assert_eq!(server.handle.close(Duration::from_secs(60)).await, 0);
    slow.until_closed().await;
}

// spec: JOIN-20, JOIN-21
#[tokio::test]
async fn a_certificate_of_a_node_is_an_identity() {
    let pki = Pki::new();
    let routes = Routes::new()
        .get("/v2/x", Access::OPERATOR, async || "x")
        .get("/v2/nodes/{node_id}", Access::NODE, async || "node");
    // Every peer must present something.
    let policy = AuthPolicy::with_keys_only(None);
    let hosts = AllowedHosts::new([], "DEMO_ALLOWED_HOSTS");
    let router = with_fallbacks(routes.into_router());
    let service = Authenticated::new(policy.clone(), hosts, router);
    let server = pki.start(Limits::default(), service);
    let connect = |name: Option<&'static str>, protocol| {
        let (pki, io) = (&pki, server.pipe());
        async move { Client::new(pki.connect(io, protocol, name).await) }
    };
    let protocol = b"http/1.1";
    for (name, own, other, operator) in [
        (None, 401, 401, 401),
        (Some("gpu-1"), 401, 401, 401),
        (Some("spiffe://llorch/node/a"), 200, 403, 403),
        (Some("spiffe://llorch/node/b"), 403, 200, 403),
        (Some("spiffe://llorch/control-plane"), 403, 403, 200),
        (Some("spiffe://elsewhere/node/a"), 401, 401, 401),
    ] {
        let mut client = connect(name, protocol).await;
        for (path, status) in [
            ("/v2/nodes/a", own),
            ("/v2/nodes/b", other),
            ("/v2/x", operator),
        ] {
            assert_eq!(client.get(path).await.status, status, "{name:?} {path}");
        }
    }
    // A token beside the certificate is not looked at.
    let mut client = connect(Some("spiffe://llorch/node/a"), protocol).await;
    let request = "GET /v2/nodes/a HTTP/1.1\r\nhost: h\r\nx-api-key: wrong-token\r\n\r\n";
    client.send(request).await;
    assert_eq!(client.reply().await.status, 200);
    // A revocation ends it on the open connection.
    let revoked = HashMap::from([("a".parse().unwrap(), SystemTime::now())]);
    policy.replace_revoked_certificates(revoked);
    let reply = client.get("/v2/nodes/a").await;
    assert_eq!(reply.status, 401);
    assert!(reply.text().contains("was revoked"), "{}", reply.text());
}
