//! What control routes share: extractors, fallbacks, request ids, service routes.

use std::sync::Arc;

use axum::{
    Extension, Router,
    routing::{get, post},
};
use http_server::{
    ApiJson, ApiPath, Limits, PeerAddr, RequestId, service_routes, unguarded_router, with_fallbacks,
};
use pool_registry_types::{HeartbeatRequest, NodeId, PoolId};
use service_runtime::Readiness;
use tokio::io::DuplexStream;

use crate::support::{Client, PEER, Server};

fn routes() -> Router {
    with_fallbacks(
        Router::new()
            .route(
                "/heartbeat",
                post(async |ApiJson(body): ApiJson<HeartbeatRequest>| body.pools.len().to_string()),
            )
            .route(
                "/tiny",
                post(async |ApiJson(body): ApiJson<String, 10>| body),
            )
            .route(
                "/nodes/{node}/pools/{pool}",
                get(async |ApiPath((node, pool)): ApiPath<(NodeId, PoolId)>| {
                    format!("{node} {pool}")
                }),
            )
            .route(
                "/who",
                get(
                    async |Extension(peer): Extension<PeerAddr>,
                           Extension(id): Extension<RequestId>| {
                        format!("{} {id}", peer.0)
                    },
                ),
            ),
    )
}

fn client() -> (Server, Client<DuplexStream>) {
    let server = Server::start(Limits::default(), routes());
    let client = server.connect();
    (server, client)
}

const GOOD: &str = r#"{"timestamp":"2025-09-30T22:00:00Z",
    "pools":[{"pool_id":"p","ready":true,"draining":false,"slots_free":3,"slots_total":4}]}"#;

// spec: WIRE-4, DOOR-32
#[tokio::test]
async fn json_errors_name_the_field() {
    let (_server, mut client) = client();
    assert_eq!(client.post("/heartbeat", GOOD).await.text(), "1");
    for (body, parts) in [
        (
            GOOD.replace(
                "\"slots_free\":3",
                "\"slots_free\":\"secret\\\", expected \"",
            ),
            &["pools[0].slots_free: invalid type: string, expected u32 at line "][..],
        ),
        (
            GOOD.replace("\"slots_free\":3", "\"slots_free\":9"),
            &["pools[0]", "slots_free must be at most"],
        ),
        (
            GOOD.replace("\"p\"", "\"a/b\""),
            &["pools[0].pool_id", "must be 1 to 128 characters"],
        ),
        (
            GOOD.replace("\"ready\":true,", ""),
            &["pools[0]", "missing field `ready`"],
        ),
        (
            GOOD[..GOOD.len() - 2].to_owned(),
            &["not valid JSON", "EOF", "line 2 column"],
        ),
        (
            format!("{GOOD}x"),
            &["not valid JSON", "trailing characters", "line 2"],
        ),
        (
            "{nonsense}".to_owned(),
            &["not valid JSON", "line 1 column 2"],
        ),
        (" \n".to_owned(), &["the body is empty"]),
        (String::new(), &["the body is empty"]),
        ("[]".to_owned(), &["the body is a list; a JSON object"]),
    ] {
        let (status, code, message) = client.post("/heartbeat", &body).await.error();
        assert_eq!((status, code.as_str()), (400, "INVALID_REQUEST"), "{body}");
        assert!(!message.contains("secret"), "{message:?}");
        for part in parts {
            assert!(message.contains(part), "{part:?} in {message:?}");
        }
    }
}

#[tokio::test]
async fn a_message_is_no_echo_of_a_long_value() {
    let (_server, mut client) = client();
    let long = GOOD.replace("true", &format!("\"{}\"", "ä".repeat(5000)));
    let (_, _, message) = client.post("/heartbeat", &long).await.error();
    assert!(message.len() < 600 && !message.contains('ä'), "{message}");
}

#[tokio::test]
async fn a_route_has_its_own_cap() {
    let (_server, mut client) = client();
    assert_eq!(
        client.post("/tiny", "\"12345678\"").await.text(),
        "12345678"
    );
    let (status, code, message) = client.post("/tiny", "\"123456789\"").await.error();
    assert_eq!((status, code.as_str()), (413, "PAYLOAD_TOO_LARGE"));
    assert!(message.contains("10 bytes"), "{message}");
}

// spec: WIRE-1
#[tokio::test]
async fn ids_in_paths_are_checked() {
    let (_server, mut client) = client();
    assert_eq!(
        client.get("/nodes/gpu-1/pools/p%2e0").await.text(),
        "gpu-1 p.0"
    );
    for (path, part) in [
        ("/nodes/gpu-1/pools/a%2Fb", "pool_id must be"),
        ("/nodes/..%2f/pools/p", "node_id must be"),
        ("/nodes/a%00b/pools/p", "node_id must be"),
        ("/nodes/%ff/pools/p", "UTF-8"),
    ] {
        let (status, code, message) = client.get(path).await.error();
        assert_eq!((status, code.as_str()), (400, "INVALID_REQUEST"), "{path}");
        assert!(message.contains(part), "{path}: {message}");
    }
}

// spec: DOOR-9
#[tokio::test]
async fn unknown_routes_and_methods() {
    let (_server, mut client) = client();
    let reply = client.get("/nothing").await;
    assert_eq!((reply.status, reply.error().1.as_str()), (404, "NOT_FOUND"));
    let reply = client.get("/heartbeat").await;
    assert_eq!(
        (reply.status, reply.error().1.as_str()),
        (405, "METHOD_NOT_ALLOWED")
    );
    assert_eq!(reply.headers["allow"], "POST");
    let reply = client.post("/who", "").await;
    assert_eq!(
        (reply.status, reply.headers["allow"].as_str()),
        (405, "GET,HEAD")
    );
}

#[tokio::test]
async fn every_request_has_an_id_and_a_peer() {
    let (_server, mut client) = client();
    let reply = client.get("/who").await;
    let id = &reply.headers["x-request-id"];
    assert_eq!(reply.text(), format!("{PEER} {id}"));
    assert_eq!(id.len(), 32);

    client
        .send("GET /who HTTP/1.1\r\nhost: h\r\nx-request-id: mine.1\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.text(), format!("{PEER} mine.1"));
    assert_eq!(reply.headers["x-request-id"], "mine.1");

    client
        .send("GET /nothing HTTP/1.1\r\nhost: h\r\nx-request-id: not a name\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.headers["x-request-id"].len(), 32);
}

#[tokio::test]
async fn service_routes_report() {
    let readiness = Readiness::new();
    let latch = readiness.latch("first heartbeat");
    let page = || "# EOF\n".to_owned();
    let server = Server::start(
        Limits::default(),
        unguarded_router(service_routes::<()>(readiness.clone(), Arc::new(page)).into_router()),
    );
    let mut client = server.connect();
    let reply = client.get("/health").await;
    assert_eq!((reply.status, reply.text()), (200, r#"{"status":"ok"}"#));
    let reply = client.get("/ready").await;
    assert_eq!(
        (reply.status, reply.text()),
        (
            503,
            r#"{"status":"starting","pending":["first heartbeat"]}"#
        )
    );
    latch.release();
    let reply = client.get("/ready").await;
    assert_eq!((reply.status, reply.text()), (200, r#"{"status":"ready"}"#));
    readiness.stopping();
    let reply = client.get("/ready").await;
    assert_eq!(
        (reply.status, reply.text()),
        (503, r#"{"status":"stopping"}"#)
    );
    let reply = client.get("/metrics").await;
    assert_eq!(reply.text(), "");
    assert!(reply.headers["content-type"].starts_with("text/plain; version=0.0.4"));
}
