//! Mounts the node API in a service of your own: nodes register and report, and can be probed and
//! drained.
//!
//! ```sh
//! cargo run -p service-registry --example node-api   # listens on 127.0.0.1:8080, or -- ADDRESS
//! curl -s localhost:8080/v2/nodes/register \
//!   -d '{"node_id":"a","machine_id":"m","address":"http://127.0.0.1:9200"}'
//! curl -s localhost:8080/v2/nodes/a/heartbeat -d '{"timestamp":"now","pools":[
//!   {"pool_id":"pool-0","ready":true,"draining":false,"slots_free":4,"slots_total":4}]}'
//! curl -s localhost:8080/v2/nodes
//! ```
//!
//! The example has no authentication; put a layer around the router before you listen beyond
//! loopback.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use control_api::ControlApi;
use event_log::EventLog;
use http_server::{Limits, bind, unguarded_router, with_fallbacks};
use registry_store::MemoryStore;
use routing_table::{RouteChange, RouteSink};
use service_runtime::{Shutdown, Tasks, signals};

/// How long open requests may take during a stop.
const DRAIN: Duration = Duration::from_secs(5);

/// A sink without a data path.
#[derive(Debug)]
struct NoDataPath;

impl RouteSink for NoDataPath {
    fn apply(&self, _: &[RouteChange]) {}
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let addr: SocketAddr = match std::env::args().nth(1) {
        Some(addr) => addr.parse()?,
        None => SocketAddr::from(([127, 0, 0, 1], 8080)),
    };
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    signals(shutdown.clone(), &tasks)?;

    // The registry: a handle, and three tasks to run. With a `FileStore` it survives a restart.
    let store = Arc::new(MemoryStore::default());
    let config = registry_runtime::Config::default();
    let parts = registry_runtime::build(config, store, Arc::new(NoDataPath), EventLog::new())?;
    tasks.spawn("registry", parts.timer.run(shutdown.clone()));
    tasks.spawn("registry-writer", parts.writer.run());
    if let Some(prober) = parts.prober {
        tasks.spawn("node-prober", prober.run(shutdown.clone()));
    }

    // The API: a router, which you can merge with your own routes.
    let api = ControlApi::new(parts.handle);
    let server = bind(addr, Limits::default())?;
    tracing::info!(addr = %server.local_addr(), "Listening");
    let server = server.serve(
        unguarded_router(with_fallbacks(api.router())),
        &tasks,
        shutdown.clone(),
    )?;

    shutdown.requested().await;
    server.close(DRAIN).await;
    tasks.join(DRAIN).await?;
    Ok(())
}
