//! The parts of the agent, how they are connected, and in which order they stop.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use daemon::{Daemon, JOIN_TIMEOUT};
use http_server::{
    Authenticated, BoundServer, Health, ServerHandle, service_routes_of, with_fallbacks,
};
use local_node::{LocalNode, Node};
use node_api::DataPath;
use node_registration::{NodeRegistration, NodeReport, RegistrationConfig, RegistrationHandle};
use pool_registry_types::{HealthAnswer, POOL_MANAGERD, PoolStatus};
use service_runtime::{Readiness, Shutdown, Tasks};

use crate::{api, config::Config};

/// How long the control plane gets to take note that we leave. Without it, its own deadline tells.
const DEREGISTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the agent until it is told to stop.
pub(crate) async fn run(config: Config, daemon: Daemon) -> anyhow::Result<()> {
    let (tasks, parts) = (daemon.tasks.clone(), daemon.parts.clone());
    let bound = daemon.bind(&config.settings)?;
    let addr = bound.local_addr();
    let metrics_door = daemon.bind_metrics(&config.settings)?;
    let metrics_addr = metrics_door.as_ref().map(BoundServer::local_addr);

    let node = match &config.cloud {
        Some(cloud) => {
            let mut config = cloud.node.clone();
            config.watch.own_addresses = [Some(addr), metrics_addr].into_iter().flatten().collect();
            Node::start(config, daemon.proxy(), &tasks, &parts).context(
                "start the node; see POOL_MANAGERD_RUNTIME_DIR and POOL_MANAGERD_STATE_DIR",
            )?
        }
        None => Node::unwatched(config.pools.clone(), config.data_path, daemon.proxy()),
    };
    let registry = node.registry().clone();
    let readiness = Readiness::new();
    node.hold_until_scanned(readiness.latch("handoffs"), &tasks, parts.clone());
    let metrics = daemon.metrics();
    metrics.register(|families| node.register_metrics(families));
    if let Some(door) = metrics_door {
        daemon
            .serve_metrics(door, metrics.clone())
            .context("serve metrics")?;
    }
    let incarnation = Arc::new(OnceLock::new());
    let health = health(&config, incarnation.clone());
    let service = service_routes_of(
        health,
        readiness.clone(),
        Arc::new(move || metrics.render()),
    );
    let control = api::routes(node.routes(), service).into_router();
    let service = DataPath::new(node.dispatcher().clone(), with_fallbacks(control));
    let server = bound
        .serve(
            Authenticated::new(config.settings.auth, config.settings.allowed_hosts, service)
                .opening(&api_reference::OPEN_PATHS),
            &tasks,
            parts.clone(),
        )
        .context("serve")?;
    daemon.listening(addr);
    let shown = registry.clone();
    daemon.show(registry.subscribe(), move |_| {
        status_line(&shown.statuses())
    });
    let watched = registry.clone();
    daemon.watched(move || {
        let registry = watched.clone();
        // Every request needs its lock.
        async move { drop(registry.statuses()) }
    });

    // Last, so that whoever hears of us can reach us.
    let registration = match (
        config.cloud.and_then(|cloud| cloud.registration),
        node.local(),
    ) {
        (Some(mut registration), Some(node)) => {
            // With the port that the system chose, if that was left to it.
            let address = registration.address();
            if let Some(metrics) = metrics_addr.and_then(|bound| address.beside(bound)) {
                registration = registration.with_metrics_address(metrics);
            }
            let registration = register(registration, node, &tasks, parts.clone())?;
            let _ = incarnation.set(registration.status().incarnation);
            Some(registration)
        }
        _ => None,
    };
    daemon
        .asked_to_stop(config.settings.drain_timeout + DEREGISTER_TIMEOUT + JOIN_TIMEOUT)
        .await;
    Stopping {
        readiness,
        registration,
        server,
        node,
        daemon,
    }
    .run(config.settings.drain_timeout)
    .await;
    Ok(())
}

/// Who answers here: the control plane asks, so that it never takes another process for this node.
fn health(config: &Config, incarnation: Arc<OnceLock<u64>>) -> Health {
    let registration = config
        .cloud
        .as_ref()
        .and_then(|cloud| cloud.registration.as_ref());
    let node_id = registration.map(|registration| registration.node_id().clone());
    Arc::new(move || {
        let mut health = HealthAnswer::of(POOL_MANAGERD);
        health.node_id = node_id.clone();
        health.incarnation = incarnation.get().copied();
        health
    })
}

/// The pools in a line, for people.
fn status_line(pools: &[PoolStatus]) -> String {
    let ready = pools.iter().filter(|pool| pool.ready).count();
    let slots: u32 = pools.iter().map(|pool| pool.slots_total()).sum();
    format!("pools ready: {ready} of {}, slots: {slots}", pools.len())
}

fn register(
    config: RegistrationConfig,
    node: &LocalNode,
    tasks: &Tasks,
    parts: Shutdown,
) -> anyhow::Result<RegistrationHandle> {
    let (reported, capabilities) = (node.clone(), node.clone());
    let registration = NodeRegistration::new(config)
        .with_capabilities(move || capabilities.capabilities())
        .start(move || {
            let (pools, gpus) = reported.report();
            NodeReport::new(pools).with_gpus(gpus)
        })
        .context("start the registration")?;
    let notifier = registration.notifier();
    let mut changes = node.registry().subscribe();
    tasks.spawn("heartbeat-on-change", async move {
        loop {
            tokio::select! {
                () = parts.requested() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            notifier.notify();
        }
    });
    Ok(registration)
}

/// What is left to do after the first signal.
struct Stopping {
    readiness: Readiness,
    registration: Option<RegistrationHandle>,
    server: ServerHandle,
    node: Node,
    daemon: Daemon,
}

impl Stopping {
    async fn run(self, drain_timeout: Duration) {
        // 1. No new work: the heartbeat says so at once, and who comes anyway is sent elsewhere.
        self.readiness.stopping();
        let registry = self.node.registry();
        registry.drain_all();
        // 2. What runs may finish.
        let running = registry.in_flight();
        if running > 0 {
            tracing::info!(
                running,
                deadline_secs = drain_timeout.as_secs(),
                "waiting for running requests"
            );
        }
        if tokio::time::timeout(drain_timeout, registry.idle())
            .await
            .is_err()
        {
            let running = registry.in_flight();
            tracing::warn!(
                running,
                "the drain deadline passed, and requests that still run are cut off; where they \
                 need longer, raise POOL_MANAGERD_DRAIN_TIMEOUT_SECS"
            );
        }
        // 3. The control plane forgets us, now that nothing is lost by it.
        if let Some(registration) = self.registration {
            match tokio::task::spawn_blocking(move || registration.deregister(DEREGISTER_TIMEOUT))
                .await
            {
                Ok(Ok(())) => tracing::info!("deregistered"),
                Ok(Err(error)) => {
                    tracing::info!(%error, "not deregistered; the control plane will notice by itself");
                }
                Err(error) => tracing::error!(%error, "the registration thread failed"),
            }
        }
        // 4. The doors close, so that nobody is with an engine any more, and the engines end.
        self.server.close(JOIN_TIMEOUT).await;
        if let Some(limit) = self.node.stop_limit().await {
            self.daemon.stops_within(limit);
            self.node.stop_engines().await;
        }
        // 5. Everything else ends.
        self.daemon.end().await;
    }
}
