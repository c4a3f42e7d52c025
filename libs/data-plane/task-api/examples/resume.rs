//! Enqueues a task and reads it over a connection that breaks after every event: `cargo run -p task-api --example resume`.
//!
//! A stand-in engine answers; nothing else is needed.

use std::{error::Error, sync::Arc, time::Duration};

use admission::Admission;
use axum::{Router, body::Body};
use fake_engine::{FakeEngine, Script};
use futures_util::StreamExt as _;
use http::{Method, Request};
use inference_gateway::{Gateway, GatewayConfig, GatewayMetrics};
use pool_registry_types::{HttpUrl, NodeId, PoolId};
use routing_table::{Availability, Endpoint, EndpointKey, Hop, RoutingTable};
use service_runtime::{Shutdown, Tasks};
use stream_proxy::StreamProxy;
use task_api::{TaskApi, TaskConfig};
use tokio::sync::watch;
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
        // A new connection each time, that goes on where the one before broke.
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

/// What a control plane wires: a table, admission, the gateway, and the task API before it.
fn service(engine: &FakeEngine) -> Result<Router, Box<dyn Error>> {
    let endpoint = Endpoint {
        key: EndpointKey {
            node: NodeId::new("local")?,
            pool: PoolId::new("pool-0")?,
            replica: None,
        },
        incarnation: 1,
        target: HttpUrl::new(&engine.url())?,
        hop: Hop::Engine,
        availability: Availability::Ready,
        slots_total: 4,
        slots_free: 4,
        report: 1,
        vram_free_bytes: 0,
        models: Some(["tiny".to_owned()].into()),
        engine: None,
        engine_version: None,
    };
    // A table that never changes needs no sender.
    let (_, tables) = watch::channel(Arc::new(RoutingTable::new(1, vec![endpoint])));
    let tasks = Tasks::new(Shutdown::new());
    let admission = Admission::new(admission::Config {
        warm_up: Duration::from_secs(1),
        ..admission::Config::default()
    });
    tasks.spawn("admission", admission.clone().run(tables.clone()));
    let gateway = Gateway::new(
        GatewayConfig::default(),
        admission.clone(),
        tables,
        StreamProxy::new(),
        GatewayMetrics::default(),
    );
    Ok(TaskApi::new(TaskConfig::default(), gateway, admission, tasks).router())
}
