//! Nodes that use another replica than the hinted one.

use std::sync::Arc;

use fake_engine::Script;
use futures_util::future::BoxFuture;
use http::Method;
use node_transport::{NodeReport, NodeRequest, NodeResponse, NodeTransport, Slots, TransportError};
use parking_lot::Mutex;
use pool_registry_types::{HttpUrl, ReplicaId};
use stream_proxy::StreamProxy;
use test_fixtures::TestEndpoint;

use crate::harness::{Service, endpoint, engines, header, text};

const CHAT: &str = r#"{"model":"tiny","messages":[]}"#;

/// A node that always uses the same replica.
#[derive(Debug)]
struct FixedReplica {
    engines: StreamProxy,
    target: HttpUrl,
    uses: ReplicaId,
    /// The hints that it got.
    hints: Mutex<Vec<Option<String>>>,
}

impl NodeTransport for FixedReplica {
    fn send<'a>(
        &'a self,
        request: NodeRequest<'a>,
    ) -> BoxFuture<'a, Result<NodeResponse, TransportError>> {
        let hint = request.endpoint.key().replica.as_ref();
        self.hints.lock().push(hint.map(ToString::to_string));
        Box::pin(async move {
            let sent = self
                .engines
                .forward(&self.target, request.outbound, request.timeouts);
            Ok(NodeResponse {
                response: sent.await.map_err(TransportError::failed)?,
                report: NodeReport {
                    replica: Some(self.uses.clone()),
                    slots: Some(Slots { free: 3, total: 4 }),
                },
            })
        })
    }
}

// spec: PATH-69
#[tokio::test]
async fn the_response_names_the_replica_that_was_used() {
    let engines = engines([Script::default(), Script::default()]);
    let r1 = endpoint(&engines[1], "r1");
    let nodes = Arc::new(FixedReplica {
        engines: StreamProxy::new(),
        target: r1.target.clone(),
        uses: ReplicaId::new("r1").unwrap(),
        hints: Mutex::default(),
    });
    let pool = TestEndpoint {
        replica: None,
        ..endpoint(&engines[0], "r0")
    };
    for (table, chosen) in [
        // A known replica, one that is not known yet, and an endpoint that is a whole pool.
        (vec![endpoint(&engines[0], "r0"), r1.clone()], Some("r0")),
        (vec![endpoint(&engines[0], "r0")], Some("r0")),
        (vec![pool], None),
    ] {
        let service = Service::behind(
            nodes.clone(),
            Default::default(),
            Default::default(),
            &table,
        );
        let answer = service.chat(false, "").await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-replica")
            ),
            (200, "r1")
        );
        assert!(text(answer).await.1);
        assert_eq!(nodes.hints.lock().pop().unwrap().as_deref(), chosen);
        service
            .until("the slot is returned where it was taken", |service| {
                let endpoints = service.admission.snapshot().endpoints;
                endpoints.iter().all(|status| status.in_flight == 0)
            })
            .await;
    }
}

// spec: PATH-69
#[tokio::test]
async fn a_running_request_counts_at_the_replica_that_serves_it() {
    let engines = engines([Script::default(), Script::default()]);
    let r1 = endpoint(&engines[1], "r1");
    let nodes = FixedReplica {
        engines: StreamProxy::new(),
        target: r1.target.clone(),
        uses: ReplicaId::new("r1").unwrap(),
        hints: Mutex::default(),
    };
    let table = vec![endpoint(&engines[0], "r0"), r1];
    let service = Service::behind(
        Arc::new(nodes),
        Default::default(),
        Default::default(),
        &table,
    );
    let held = service.chat(true, "tokens=100000,token_ms=1").await;
    assert_eq!(held.status(), 200);
    let in_flight = service.in_flight();
    assert_eq!((in_flight["r0"], in_flight["r1"]), (0, 1));
    drop(held);
    service.all_slots_back().await;
}

// spec: PATH-70
#[tokio::test]
async fn a_client_cannot_choose_a_replica() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let hint = [("x-llorch-replica-hint", "r7")];
    let answer = service
        .send(Method::POST, "/v1/chat/completions", &hint, CHAT)
        .await;
    assert_eq!(
        (
            answer.status().as_u16(),
            header(&answer, "x-llorch-replica")
        ),
        (200, "r0")
    );
    let seen = engines[0].records().pop().unwrap();
    assert_eq!(seen.header("x-llorch-replica-hint"), None);
}
