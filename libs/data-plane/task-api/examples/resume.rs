//! Submits a task and reads it over connections that break after every event:
//! `cargo run -p task-api --example resume`.
//!
//! A fake engine generates the answer; no other set-up is needed.

use std::{error::Error, sync::Arc, time::Duration};

use admission::Admission;
use axum::{Router, body::Body};
use fake_engine::{FakeEngine, Script};
use futures_util::{StreamExt as _, future::BoxFuture};
use http::{Method, Request};
use inference_gateway::{Gateway, GatewayConfig, GatewayMetrics};
use node_transport::{NodeReport, NodeRequest, NodeResponse, NodeTransport, TransportError};
use pool_registry_types::{HttpUrl, NodeId, PoolId};
use routing_table::{
    Endpoint, EndpointKey, EndpointReport, EndpointState, RouteChange, RouteSink as _,
};
use service_runtime::{Shutdown, Tasks};
use stream_proxy::StreamProxy;
use task_api::{TaskApi, TaskConfig};
use tower::ServiceExt as _;

const TASK: &str = r#"{"task_id":"example","workload":"chat","model_ref":"tiny","max_tokens":5,
    "messages":[{"role":"user","content":"count"}]}"#;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn Error>> {
    let engine = FakeEngine::start(Script {
        token_delay: Duration::from_millis(50),
        ..Script::default()
    })?;
    let router = service(&engine)?;

    let accepted = call(&router, Method::POST, "/v2/tasks", None, TASK).await?;
    let accepted = axum::body::to_bytes(accepted, 64 * 1024).await?;
    println!("{}\n", std::str::from_utf8(&accepted)?);

    let mut last: Option<String> = None;
    loop {
        // A new connection that resumes where the previous one broke.
        let events = call(
            &router,
            Method::GET,
            "/v2/tasks/example/events",
            last.as_deref(),
            "",
        )
        .await?;
        let Some(piece) = events.into_data_stream().next().await else {
            break;
        };
        let piece = piece?;
        let Some(event) = std::str::from_utf8(&piece)?.split("\n\n").next() else {
            break;
        };
        println!("{event}\n");
        last = event
            .lines()
            .find_map(|line| line.strip_prefix("id: "))
            .map(str::to_owned)
            .or(last);
    }
    Ok(())
}

async fn call(
    router: &Router,
    method: Method,
    path: &str,
    last: Option<&str>,
    body: &'static str,
) -> Result<Body, Box<dyn Error>> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("last-event-id", last.unwrap_or_default())
        .body(Body::from(body))?;
    Ok(router.clone().oneshot(request).await?.into_body())
}

/// Sends requests directly to the engine. A control plane sends them to nodes.
#[derive(Debug)]
struct Direct(StreamProxy);

impl NodeTransport for Direct {
    fn send<'a>(
        &'a self,
        request: NodeRequest<'a>,
    ) -> BoxFuture<'a, Result<NodeResponse, TransportError>> {
        Box::pin(async move {
            let target = request.endpoint.target();
            let sent = self.0.forward(target, request.outbound, request.timeouts);
            Ok(NodeResponse {
                response: sent.await.map_err(TransportError::failed)?,
                report: NodeReport::default(),
            })
        })
    }
}

/// The parts that a control plane connects: the admission, the gateway and the task API.
fn service(engine: &FakeEngine) -> Result<Router, Box<dyn Error>> {
    let key = EndpointKey {
        node: NodeId::new("local")?,
        pool: PoolId::new("pool-0")?,
        replica: None,
    };
    let report = EndpointReport {
        number: 1,
        state: EndpointState::Ready,
        slots_total: 4,
        slots_free: 4,
        vram_free_bytes: 0,
    };
    let target = Arc::new(HttpUrl::new(&engine.url())?);
    let endpoint = Endpoint::new(key, 1, 0, target, Some(["tiny".parse()?].into()));
    let tasks = Tasks::new(Shutdown::new());
    let admission = Admission::new(admission::AdmissionConfig::default());
    admission.apply(&[RouteChange::Set(Arc::new(endpoint), report)]);
    tasks.spawn_unjoined("admission", admission.clone().run());
    let gateway = Gateway::new(
        GatewayConfig::default(),
        admission.clone(),
        Arc::new(Direct(StreamProxy::new())),
        GatewayMetrics::default(),
    );
    Ok(TaskApi::new(TaskConfig::default(), gateway, admission, tasks).router())
}
