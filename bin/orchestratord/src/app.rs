//! The parts of the control plane, how they are connected, and in which order they stop.

use std::{sync::Arc, time::Duration};

use admission::{Admission, AdmissionMetrics};
use anyhow::Context as _;
use control_api::ControlApi;
use daemon::Daemon;
use dashboard::{Live, LiveConfig, Page, Sources};
use event_log::EventLog;
use http_server::{Authenticated, BoundServer, ServerHandle, service_routes_of, with_fallbacks};
use inference_gateway::{Gateway, GatewayMetrics, PathRouter, explain_routes};
use local_node::Node;
use node_transport::{NodeTransport, TcpTransport};
use pool_registry_types::{HealthAnswer, ORCHESTRATORD};
use registry_runtime::NodesMetrics;
use service_runtime::Readiness;
use task_api::{TaskApi, TaskConfig};

use crate::{
    api,
    config::{Config, Home},
    control_plane::{self, Keeping},
    node_control::{InProcess, OverTcp},
    watching,
};

/// How long before the drain deadline tasks are told that it is over: their readers need a moment
/// to hear of it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the control plane until it is told to stop.
pub(crate) async fn run(config: Config, daemon: Daemon) -> anyhow::Result<()> {
    let (tasks, parts) = (daemon.tasks.clone(), daemon.parts.clone());
    let bound = daemon.bind(&config.settings)?;
    let addr = bound.local_addr();
    let metrics_door = daemon.bind_metrics(&config.settings)?;
    let metrics_addr = metrics_door.as_ref().map(BoundServer::local_addr);
    let readiness = Readiness::new();

    let events = EventLog::new();
    let admission = Admission::new(config.admission);
    let trust = events.clone();
    admission.on_breaker_change(move |change| trust.publish(watching::breaker_event(&change)));
    let (watched, over) = (admission.clone(), parts.clone());
    tasks.spawn("admission", async move {
        tokio::select! {
            () = watched.run() => {}
            () = over.requested() => {}
        }
    });
    let proxy = daemon.proxy();
    let token = config.node_token;
    let (keeping, home) = match &config.home {
        Some(Home {
            node_id,
            node,
            kept,
        }) => {
            let mut node = node.clone();
            node.watch.own_addresses = [Some(addr), metrics_addr].into_iter().flatten().collect();
            let node = Node::start(node, proxy.clone(), &tasks, &parts).context(
                "start the node; see ORCHESTRATORD_RUNTIME_DIR and ORCHESTRATORD_STATE_DIR",
            )?;
            (Keeping::Optional(kept), Some((node_id, node)))
        }
        None => (Keeping::Required(&config.settings.state_dir), None),
    };
    let registered = control_plane::start(config.registry, &keeping, &admission, &events, &daemon)?;
    let registry = registered.registry.clone();
    let (transport, node_control): (Arc<dyn NodeTransport>, Arc<dyn control_api::NodeControl>) =
        match &home {
            Some((node_id, node)) => {
                let known = readiness.latch("handoffs");
                control_plane::join(node, node_id, addr, metrics_addr, &registry, known, &daemon)?;
                (
                    Arc::new(node.dispatcher().clone()),
                    Arc::new(InProcess(node.control())),
                )
            }
            None => (
                Arc::new(TcpTransport::new(proxy.clone(), token.clone())),
                Arc::new(OverTcp { proxy, token }),
            ),
        };

    let metrics = daemon.metrics();
    let gateway_metrics = GatewayMetrics::default();
    metrics.register(|families| {
        gateway_metrics.register(families);
        families.register_collector(Box::new(AdmissionMetrics::new(admission.clone())));
        families.register_collector(Box::new(NodesMetrics::new(registry.clone())));
        if let Some((_, node)) = &home {
            node.register_metrics(families);
        }
    });
    let explain = explain_routes(admission.clone(), &config.gateway);
    let gateway = Gateway::new(
        config.gateway,
        admission.clone(),
        transport,
        gateway_metrics.clone(),
    );

    let task_api = TaskApi::new(
        TaskConfig::default(),
        gateway.clone(),
        admission.clone(),
        tasks.clone(),
    );
    let old_tasks = parts.clone();
    tasks.spawn(
        "old-tasks",
        task_api
            .clone()
            .sweep(async move { old_tasks.requested().await }),
    );

    let (trusted, counted, shown) = (admission.clone(), admission.clone(), admission.clone());
    let mut control = ControlApi::new(registry.clone())
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_metrics_at(metrics_addr)
        .with_events(events.clone())
        .with_node_control(node_control)
        .with_quarantine(move |endpoint| watching::quarantine(&trusted, endpoint))
        .with_requests_running(move |endpoint| counted.in_flight_at(endpoint).map(u64::from))
        .with_data_path(move || watching::data_path(&admission, &gateway_metrics));
    if home.is_some() {
        control = control.refusing_registrations();
    }
    let live = Live::new(LiveConfig::default(), daemon.stop.clone());
    tasks.spawn("live", live.clone().run(sources(&control)));
    if let Some(door) = metrics_door {
        daemon
            .serve_metrics(door, metrics.clone())
            .context("serve metrics")?;
    }
    let health = Arc::new(|| HealthAnswer::of(ORCHESTRATORD));
    let service = service_routes_of(
        health,
        readiness.clone(),
        Arc::new(move || metrics.render()),
    );
    let others = [explain, task_api.clone().routes(), live.routes(), service];
    let others = with_fallbacks(api::routes(control.clone(), others).into_router());
    let front = control.heartbeats_before(PathRouter::new(gateway, others));
    let guarded = Authenticated::new(config.settings.auth, config.settings.allowed_hosts, front);
    let guarded = guarded.opening(&api_reference::OPEN_PATHS);
    let service = Page::new(guarded);
    let server = bound
        .serve(service, &tasks, parts.clone())
        .context("serve")?;
    daemon.listening(addr);
    daemon.show(registry.revisions(), move |_| watching::status_line(&shown));
    daemon.watched(move || {
        let registry = registry.clone();
        async move {
            // One that has stopped does so because everything does.
            let _ = registry.alive().await;
        }
    });

    let within = config.shutdown_grace + config.settings.drain_timeout;
    daemon.asked_to_stop(within).await;
    Stopping {
        readiness,
        server,
        task_api,
        events,
        node: home.map(|(_, node)| node),
        daemon,
    }
    .run(config.shutdown_grace, config.settings.drain_timeout)
    .await;
    drop(registered);
    Ok(())
}

/// What the page is told. Our answers are JSON; null would only leave it without news.
fn sources(control: &ControlApi) -> Sources {
    let (status, nodes) = (control.clone(), control.clone());
    Sources {
        status: Box::new(move || serde_json::to_value(status.status()).unwrap_or_default()),
        nodes: Box::new(move |limit| {
            serde_json::to_value(nodes.nodes_worst_first(limit)).unwrap_or_default()
        }),
    }
}

/// What is left to do after the first signal.
struct Stopping {
    readiness: Readiness,
    server: ServerHandle,
    task_api: TaskApi,
    events: EventLog,
    /// The one in this process, in HOME.
    node: Option<Node>,
    daemon: Daemon,
}

impl Stopping {
    async fn run(self, grace: Duration, drain_timeout: Duration) {
        // 1. Whoever asks is told to go elsewhere, and has the time to do so.
        self.readiness.stopping();
        tokio::time::sleep(grace).await;
        // 2. No new connections, no new requests on old ones.
        let open = self.server.connections();
        tracing::info!(
            open,
            deadline_secs = drain_timeout.as_secs(),
            "waiting for running requests"
        );
        // 3. Who only watches has nothing to finish.
        self.events.close();
        // 4. What runs may finish. The registry goes on meanwhile: retries need it.
        let (cut, ()) = tokio::join!(
            self.server.close(drain_timeout),
            self.task_api
                .close(drain_timeout.saturating_sub(LAST_WORDS)),
        );
        if cut > 0 {
            tracing::warn!(
                cut,
                "the drain deadline passed, and requests that still ran were cut off; where they \
                 need longer, raise ORCHESTRATORD_DRAIN_TIMEOUT_SECS"
            );
        }
        // 5. Nobody is with an engine any more, and those that this process has started end.
        if let Some(node) = &self.node
            && let Some(limit) = node.stop_limit().await
        {
            self.daemon.stops_within(limit);
            node.stop_engines().await;
        }
        // 6. Then everything else ends.
        self.daemon.end().await;
    }
}
