//! What only the node can do is passed on to it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use common::{Api, FakeDataPath, code, message};
use control_api::{NodeControl, NodeReply};
use http::{Method, StatusCode};
use http_server::ApiError;
use parking_lot::Mutex;
use pool_registry_types::ErrorCode;
use serde_json::{Value, json};
use service_registry::NodeView;

/// Nodes that answer as the test says, and what they were asked.
#[derive(Clone)]
struct Nodes {
    answer: Result<(u16, &'static str), ErrorCode>,
    asked: Arc<Mutex<Vec<(String, String, String)>>>,
}

impl NodeControl for Nodes {
    fn post(&self, node: &NodeView, path: &str, body: Bytes) -> NodeReply {
        let body = String::from_utf8(body.to_vec()).unwrap();
        let asked = (node.address.to_string(), path.to_owned(), body);
        self.asked.lock().push(asked);
        let answer = self.answer;
        Box::pin(async move {
            match answer {
                Ok((status, body)) => {
                    Ok((StatusCode::from_u16(status).unwrap(), Bytes::from(body)))
                }
                Err(code) => Err(ApiError::new(code, "no connection")),
            }
        })
    }
}

async fn api(answer: Result<(u16, &'static str), ErrorCode>) -> (Api, Nodes) {
    let nodes = Nodes {
        answer,
        asked: Arc::default(),
    };
    let control = nodes.clone();
    let api = Api::with(|api| {
        api.with_node_control(Arc::new(control))
            .with_data_path(Arc::new(FakeDataPath::default().with_running(|_| Some(2))))
    });
    api.join_with_replicas("a").await;
    (api, nodes)
}

const DONE: Result<(u16, &str), ErrorCode> =
    Ok((200, r#"{"pool_id":"pool-0","requests_running":7}"#));

// spec: SEE-33
#[tokio::test(start_paused = true)]
async fn a_replica_is_drained_by_its_node() {
    let (api, nodes) = api(DONE).await;
    let drain = "/v2/pools/a/pool-0/replicas/r0/drain";
    for (path, body, expected) in [
        (drain, "", json!({"success": true, "requests_running": 2})),
        (
            drain,
            r#"{"deadline_ms":5000,"later":1}"#,
            json!({"success": true, "requests_running": 2}),
        ),
        (
            "/v2/pools/a/pool-0/replicas/r0/undrain",
            "",
            json!({"success": true}),
        ),
    ] {
        let (status, answer) = api.call(Method::POST, path, body).await;
        assert_eq!((status, answer), (200, expected), "{path} {body}");
    }
    let node = "http://192.168.1.100:9200";
    let asked = |path: &str, body: &str| (node.to_owned(), path.to_owned(), body.to_owned());
    assert_eq!(
        *nodes.asked.lock(),
        [
            asked(
                "/v2/pools/pool-0/replicas/r0/drain",
                r#"{"deadline_ms":null}"#
            ),
            asked(
                "/v2/pools/pool-0/replicas/r0/drain",
                r#"{"deadline_ms":5000}"#
            ),
            asked("/v2/pools/pool-0/replicas/r0/undrain", ""),
        ]
    );
}

// spec: SEE-33
#[tokio::test(start_paused = true)]
async fn engines_are_restarted_and_reloaded_by_their_node() {
    let (api, nodes) = api(DONE).await;
    for what in ["restart", "reload"] {
        let path = format!("/v2/pools/a/pool-0/{what}");
        let (status, answer) = api.call(Method::POST, &path, Body::empty()).await;
        let said: Value = serde_json::from_str(DONE.unwrap().1).unwrap();
        assert_eq!((status, answer), (200, said), "{path}");
    }
    let paths: Vec<String> = nodes
        .asked
        .lock()
        .iter()
        .map(|(_, path, _)| path.clone())
        .collect();
    assert_eq!(
        paths,
        ["/v2/pools/pool-0/restart", "/v2/pools/pool-0/reload"]
    );
}

// spec: SEE-33
#[tokio::test(start_paused = true)]
async fn a_refusal_is_passed_on_and_a_node_that_cannot_answer_is_unavailable() {
    let not_ours = concat!(
        r#"{"error":{"code":"ENGINES_NOT_OURS","#,
        r#""message":"another program starts them","retriable":false}}"#
    );
    let unknown = r#"{"error":{"code":"NOT_FOUND","message":"no replica r0","retriable":false}}"#;
    let token = r#"{"error":{"code":"UNAUTHORIZED","message":"no","retriable":false}}"#;
    for (answer, status, expected, piece) in [
        (
            Ok((409, not_ours)),
            409,
            "ENGINES_NOT_OURS",
            "another program starts them",
        ),
        (Ok((404, unknown)), 404, "NOT_FOUND", "no replica r0"),
        // Neither is about the operator's request.
        (
            Ok((401, token)),
            503,
            "NODE_UNAVAILABLE",
            "does not accept the token",
        ),
        (
            Ok((200, "<html>")),
            503,
            "NODE_UNAVAILABLE",
            "something else than JSON",
        ),
        (
            Err(ErrorCode::NodeUnavailable),
            503,
            "NODE_UNAVAILABLE",
            "no connection",
        ),
    ] {
        let (api, _) = api(answer).await;
        for path in [
            "/v2/pools/a/pool-0/replicas/r0/drain",
            "/v2/pools/a/pool-0/replicas/r0/undrain",
            "/v2/pools/a/pool-0/restart",
            "/v2/pools/a/pool-0/reload",
        ] {
            let (found, answer) = api.call(Method::POST, path, Body::empty()).await;
            assert_eq!((found, code(&answer)), (status, expected), "{path}");
            assert!(message(&answer).contains(piece), "{answer}");
        }
    }
}

// spec: SEE-33
#[tokio::test(start_paused = true)]
async fn what_is_wrong_here_does_not_reach_the_node() {
    let (api, nodes) = api(DONE).await;
    for (path, body, status, expected) in [
        ("/v2/pools/b/pool-0/restart", "", 404, "UNKNOWN_NODE"),
        (
            "/v2/pools/b/pool-0/replicas/r0/drain",
            "",
            404,
            "UNKNOWN_NODE",
        ),
        (
            "/v2/pools/a/pool-0/replicas/r%2F0/drain",
            "",
            400,
            "INVALID_REQUEST",
        ),
        (
            "/v2/pools/a/pool-0/replicas/r0/drain",
            "{",
            400,
            "INVALID_REQUEST",
        ),
        (
            "/v2/pools/a/pool-0/replicas/r0/drain",
            r#"{"deadline_ms":-1}"#,
            400,
            "INVALID_REQUEST",
        ),
    ] {
        let (found, answer) = api.call(Method::POST, path, body).await;
        assert_eq!((found, code(&answer)), (status, expected), "{path}");
    }
    assert_eq!(*nodes.asked.lock(), []);
}
