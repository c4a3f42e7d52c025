//! Builds the components of the agent, connects them, and stops them in order.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use daemon::{Daemon, JOIN_TIMEOUT, Listeners, Metrics};
use http_server::{Authenticated, Routes, ServerHandle, with_fallbacks};
use local_node::{LocalNode, Node};
use node_api::DataPath;
use node_registration::{NodeRegistration, NodeReport, RegistrationHandle};
use pool_registry_types::{HealthAnswer, NodeId, POOL_MANAGERD, PoolStatus};
use service_runtime::Readiness;
use tls_config::IdentityFiles;

use crate::{
    api,
    config::{CloudConfig, Config},
};

/// How long the deregistration may take. Without it the control plane waits for its timeout.
const DEREGISTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the agent until a stop is requested.
pub(crate) async fn run(config: Config, daemon: Daemon) -> anyhow::Result<()> {
    let listeners = daemon.bind(&config.settings)?;
    daemon.follow_keys(&config.settings);
    let node = start_node(&config, &listeners, &daemon)?;
    let readiness = Readiness::new();
    let scanned = readiness.latch("handoffs");
    node.hold_until_scanned(scanned, &daemon.tasks, daemon.shutdown.clone());
    let metrics = daemon.metrics();
    metrics.register(|families| node.register_metrics(families));
    // The listen address is bound, so the control plane can connect at once.
    let registration = register(config.cloud, &node, &listeners, &daemon)?;
    let identity = registration.as_ref().map(Registration::identity);
    let routes = api::routes(
        node.routes(),
        service_routes(identity, &readiness, &metrics),
    );
    let service = DataPath::new(
        node.dispatcher().clone(),
        with_fallbacks(routes.into_router()),
    );
    let settings = config.settings;
    let service = Authenticated::new(settings.auth, settings.allowed_hosts, service)
        .opening(&api_reference::OPEN_PATHS);
    let server = daemon.serve(listeners, service, &metrics)?;
    if let Some(renewal) = config.renewal {
        let files = IdentityFiles::in_one(renewal.files.identity());
        daemon.keep_renewed(files, move || node_join::renew(&renewal));
    }
    show_progress(&node, &daemon);
    daemon
        .stop_requested(settings.drain_timeout + DEREGISTER_TIMEOUT + JOIN_TIMEOUT)
        .await;
    Stopping {
        readiness,
        registration: registration.map(|registration| registration.handle),
        server,
        node,
        daemon,
    }
    .run(settings.drain_timeout)
    .await;
    Ok(())
}

/// Starts the node. It refuses a handoff with an address of this process.
fn start_node(config: &Config, listeners: &Listeners, daemon: &Daemon) -> anyhow::Result<Node> {
    match &config.cloud {
        Some(cloud) => {
            let mut node = cloud.node.clone();
            node.watch.own_addresses = listeners.addresses();
            Node::start(node, daemon.proxy(), &daemon.tasks, &daemon.shutdown).context(
                "start the node; see POOL_MANAGERD_RUNTIME_DIR and POOL_MANAGERD_STATE_DIR",
            )
        }
        None => Ok(Node::unwatched(
            config.pools.clone(),
            config.placeholder.clone(),
            config.data_path,
            daemon.proxy(),
        )),
    }
}

/// `/health`, `/ready` and `/metrics`. The control plane probes `/health`, and checks the identity
/// of the node in it.
fn service_routes(
    identity: Option<(NodeId, u64)>,
    readiness: &Readiness,
    metrics: &Metrics,
) -> Routes {
    let (node_id, incarnation) = identity.unzip();
    let metrics = metrics.clone();
    http_server::service_routes_of(
        Arc::new(move || {
            let mut health = HealthAnswer::of(POOL_MANAGERD);
            health.node_id = node_id.clone();
            health.incarnation = incarnation;
            health
        }),
        readiness.clone(),
        Arc::new(move || metrics.render()),
    )
}

/// Shows the state to the service manager, and feeds its watchdog.
fn show_progress(node: &Node, daemon: &Daemon) {
    let registry = node.registry().clone();
    daemon.show(registry.subscribe(), move |_| {
        status_line(&registry.statuses())
    });
    let registry = node.registry().clone();
    daemon.watch_progress(move || {
        let registry = registry.clone();
        // Every request takes this lock.
        async move { drop(registry.statuses()) }
    });
}

/// One line about the pools, for the service manager.
fn status_line(pools: &[PoolStatus]) -> String {
    let ready = pools.iter().filter(|pool| pool.ready).count();
    let slots: u32 = pools.iter().map(|pool| pool.slots_total()).sum();
    format!("pools ready: {ready} of {}, slots: {slots}", pools.len())
}

/// A node that registers with the control plane.
struct Registration {
    node_id: NodeId,
    handle: RegistrationHandle,
}

impl Registration {
    fn identity(&self) -> (NodeId, u64) {
        (self.node_id.clone(), self.handle.status().incarnation)
    }
}

/// Starts the registration; `None` when the node joins no control plane.
fn register(
    cloud: Option<CloudConfig>,
    node: &Node,
    listeners: &Listeners,
    daemon: &Daemon,
) -> anyhow::Result<Option<Registration>> {
    let registration = cloud.and_then(|cloud| cloud.registration);
    let (Some(mut config), Some(local)) = (registration, node.local()) else {
        return Ok(None);
    };
    // The system may have chosen the port.
    let metrics_addr = listeners.metrics_addr();
    if let Some(metrics) = metrics_addr.and_then(|bound| config.address().beside(bound)) {
        config = config.with_metrics_address(metrics);
    }
    let node_id = config.node_id().clone();
    let (reported, capabilities) = (local.clone(), local.clone());
    let handle = NodeRegistration::new(config)
        .with_capabilities(move || capabilities.capabilities())
        .start(move || {
            let (pools, gpus) = reported.report();
            let refused = reported.registry().refused();
            NodeReport::new(pools)
                .with_gpus(gpus)
                .with_refused_handoffs(refused)
        })
        .context("start the registration")?;
    notify_changes(local, &handle, daemon);
    Ok(Some(Registration { node_id, handle }))
}

/// Reports changes of pools at once.
fn notify_changes(node: &LocalNode, registration: &RegistrationHandle, daemon: &Daemon) {
    let notifier = registration.notifier();
    let mut changes = node.registry().subscribe();
    let shutdown = daemon.shutdown.clone();
    daemon.tasks.spawn("heartbeat-on-change", async move {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            notifier.notify();
        }
    });
}

/// The components that a stop ends.
struct Stopping {
    readiness: Readiness,
    registration: Option<RegistrationHandle>,
    server: ServerHandle,
    node: Node,
    daemon: Daemon,
}

impl Stopping {
    async fn run(self, drain_timeout: Duration) {
        // 1. No new requests: the next heartbeat says so at once, and others are refused.
        self.readiness.stopping();
        let registry = self.node.registry();
        registry.drain_all();
        // 2. Running requests finish.
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
        // 3. The node leaves the control plane, because no request needs it now.
        if let Some(registration) = self.registration {
            deregister(registration).await;
        }
        // 4. The server closes, and then the engines end.
        self.server.close(JOIN_TIMEOUT).await;
        if let Some(limit) = self.node.stop_limit().await {
            self.daemon.stops_within(limit);
            self.node.stop_engines().await;
        }
        // 5. All background tasks end.
        self.daemon.end().await;
    }
}

async fn deregister(registration: RegistrationHandle) {
    let result =
        tokio::task::spawn_blocking(move || registration.deregister(DEREGISTER_TIMEOUT)).await;
    match result {
        Ok(Ok(())) => tracing::info!("deregistered"),
        Ok(Err(error)) => {
            tracing::info!(%error, "not deregistered; the control plane waits for its timeout");
        }
        Err(error) => tracing::error!(%error, "the registration thread failed"),
    }
}
