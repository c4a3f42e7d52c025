//! A daemon in miniature: `cargo run -p http-server --example hello`, then
//! `curl -i http://127.0.0.1:8080/hello/world`. Ctrl-C drains it; a second one ends it at once.

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use http_server::{
    Access, ApiPath, Limits, Routes, bind, service_routes, unguarded_router, with_fallbacks,
};
use service_runtime::{Readiness, Shutdown, Tasks, signals};

/// Streams that take longer than this to finish are cut at shutdown.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    signals(shutdown.clone(), &tasks)?;

    let readiness = Readiness::new();
    let routes = Routes::new()
        .get(
            "/hello/{name}",
            Access::Open,
            async |ApiPath(name): ApiPath<String>| format!("Hello, {name}!\n"),
        )
        .merge(service_routes(
            readiness.clone(),
            Arc::new(|| "# EOF\n".to_owned()),
        ));
    let server = bind(SocketAddr::from(([127, 0, 0, 1], 8080)), Limits::default())?;
    let handle = server.serve(
        unguarded_router(with_fallbacks(routes.into_router())),
        &tasks,
        shutdown.clone(),
    )?;

    shutdown.requested().await;
    readiness.stopping();
    handle.close(DRAIN_DEADLINE).await;
    tasks.join(DRAIN_DEADLINE).await?;
    Ok(())
}
