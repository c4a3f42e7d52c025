//! The parts of the control plane, how they are connected, and in which order they stop.

use std::{sync::Arc, time::Duration};

use admission::{AbandonedSlot, Admission, AdmissionMetrics};
use anyhow::Context as _;
use control_api::ControlApi;
use daemon::Daemon;
use dashboard::{Live, LiveConfig, Page, Sources};
use event_log::EventLog;
use http_server::{Authenticated, BoundServer, ServerHandle, service_routes_of, with_fallbacks};
use inference_gateway::{Front, Gateway, GatewayMetrics, explain_routes};
use local_node::{Aftercare, LocalNode, Visit};
use pool_registry_types::{HealthAnswer, NodeId, ORCHESTRATORD};
use registry_runtime::{NodesMetrics, RegistryHandle};
use registry_store::FileStore;
use routing_table::RoutingTable;
use serde_json::{Value, json};
use service_runtime::{Readiness, Shutdown, Tasks};
use task_api::{TaskApi, TaskConfig};
use tokio::sync::watch;

use crate::{
    api,
    config::{Config, Profile},
    watching,
};

/// How long before the drain deadline tasks are told that it is over: their readers need a moment to hear of it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the control plane until it is told to stop.
pub(crate) async fn run(config: Config, daemon: Daemon) -> anyhow::Result<()> {
    let (tasks, parts) = (daemon.tasks.clone(), daemon.parts.clone());
    let bound = daemon.bind(&config.settings)?;
    let addr = bound.local_addr();
    let metrics_door = daemon.bind_metrics(&config.settings)?;

    let events = EventLog::new();
    let Endpoints {
        tables,
        registry,
        local,
    } = endpoints(config.profile, &events, &tasks, &parts)?;
    let admission = Admission::new(config.admission);
    let trust = events.clone();
    admission.on_trust_change(move |change| trust.tell(watching::trust_news(&change)));
    if let Some((_, local)) = &local {
        look_after(&admission, local.aftercare().clone());
    }
    tasks.spawn("admission", admission.clone().run(tables.clone()));
    let proxy = daemon.proxy();
    let metrics = daemon.metrics();
    let gateway_metrics = GatewayMetrics::default();
    let slots = AdmissionMetrics::new(admission.clone(), tables.clone());
    metrics.register(|families| {
        gateway_metrics.register(families);
        families.register_collector(Box::new(slots));
        if let Some(registry) = &registry {
            families.register_collector(Box::new(NodesMetrics::new(registry.clone())));
        }
        if let Some((_, local)) = &local {
            local.register_metrics(families);
        }
    });
    let explain = explain_routes(admission.clone(), &config.gateway);
    let gateway = Gateway::new(
        config.gateway,
        admission.clone(),
        tables.clone(),
        proxy,
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
        task_api.clone().sweep(async move { old_tasks.requested().await }),
    );

    let (shown, watched) = (tables.clone(), registry.clone());
    let readiness = Readiness::new();
    let (seen, trusted, counted) = (tables.clone(), admission.clone(), admission.clone());
    let mut control = ControlApi::new(registry, tables)
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_metrics_at(metrics_door.as_ref().map(BoundServer::local_addr))
        .with_events(events.clone())
        .with_quarantine(move |endpoint| watching::quarantine(&trusted, endpoint))
        .with_requests_running(move |endpoint| counted.in_flight_at(endpoint).map(u64::from))
        .with_data_path(move || watching::data_path(&admission, &gateway_metrics, &seen.borrow().clone()));
    if let Some((node_id, local)) = &local {
        local.hold_until_scanned(readiness.latch("handoffs"), &tasks, parts.clone());
        control = control.with_gpus(node_id.clone(), local.gpus());
    }
    let live = Live::new(LiveConfig::default(), daemon.stop.clone());
    tasks.spawn("live", live.clone().run(sources(&control)));
    if let Some(door) = metrics_door {
        daemon
            .serve_metrics(door, metrics.clone())
            .context("serve metrics")?;
    }
    let health = Arc::new(|| HealthAnswer::of(ORCHESTRATORD));
    let service = service_routes_of(health, readiness.clone(), Arc::new(move || metrics.render()));
    let others = [explain, task_api.clone().routes(), live.routes(), service];
    let others = with_fallbacks(api::routes(control, others).into_router());
    let front = Front::new(gateway, others);
    let guarded = Authenticated::new(config.settings.auth, config.settings.allowed_hosts, front);
    let guarded = guarded.opening(&api_reference::OPEN_PATHS);
    let service = Page::new(guarded);
    let server = bound.serve(service, &tasks, parts.clone()).context("serve")?;
    daemon.listening(addr);
    daemon.show(shown, |table| {
        let (models, endpoints) = (table.models().count(), table.endpoints().len());
        format!("models: {models}, endpoints: {endpoints}")
    });
    daemon.watched(move || {
        let registry = watched.clone();
        // In HOME there is no registry to wait for.
        async move {
            if let Some(registry) = registry {
                // One that has stopped does so because everything does.
                let _ = registry.alive().await;
            }
        }
    });

    let within = config.shutdown_grace + config.settings.drain_timeout;
    daemon.asked_to_stop(within).await;
    Stopping {
        readiness,
        server,
        task_api,
        events,
        daemon,
    }
    .run(config.shutdown_grace, config.settings.drain_timeout)
    .await;
    Ok(())
}

/// What the page is told. Our answers are JSON; null would only leave it without news.
fn sources(control: &ControlApi) -> Sources {
    let (status, nodes) = (control.clone(), control.clone());
    Sources {
        status: Box::new(move || serde_json::to_value(status.status()).unwrap_or_default()),
        nodes: Box::new(move || match nodes.nodes() {
            Some(answer) => serde_json::to_value(answer).unwrap_or_default(),
            None => this_machine(&nodes).unwrap_or_default(),
        }),
    }
}

/// In HOME there is one machine: its engines, and the GPUs that it has for them.
fn this_machine(control: &ControlApi) -> serde_json::Result<Value> {
    Ok(json!({
        "pools": serde_json::to_value(control.pools().pools)?,
        "gpus": serde_json::to_value(control.gpus().gpus)?,
    }))
}

/// Where endpoints come from.
struct Endpoints {
    tables: watch::Receiver<Arc<RoutingTable>>,
    registry: Option<RegistryHandle>,
    /// Watches the handoff directory for as long as it is held.
    local: Option<(NodeId, LocalNode)>,
}

fn endpoints(
    profile: Profile,
    events: &EventLog,
    tasks: &Tasks,
    parts: &Shutdown,
) -> anyhow::Result<Endpoints> {
    match profile {
        Profile::Home { runtime_dir, node_id } => {
            let local = LocalNode::start(local_node::Config::new(&runtime_dir), tasks, parts)
                .context("start the handoff watcher")?;
            tracing::info!(dir = %runtime_dir.display(), "Handoff watcher started");
            let tables = local.routing_tables(node_id.clone(), events.clone(), tasks, parts.clone());
            Ok(Endpoints {
                tables,
                registry: None,
                local: Some((node_id, local)),
            })
        }
        Profile::Cloud { registry, state_dir } => {
            let store = FileStore::open(&state_dir)?;
            let built = registry_runtime::build(registry, Arc::new(store))?;
            tasks.spawn("registry", built.task.telling(events.clone()).run(parts.clone()));
            tasks.spawn("registry-keeper", built.keeper.run());
            if let Some(prober) = built.prober {
                tasks.spawn("node-probe", prober.run(parts.clone()));
            }
            Ok(Endpoints {
                tables: built.handle.table(),
                registry: Some(built.handle),
                local: None,
            })
        }
    }
}

/// Engines of this machine keep the slots of requests that were given up until they have stopped.
fn look_after(admission: &Admission, aftercare: Aftercare) {
    admission.set_visits(move |endpoint| {
        let engine = endpoint.engine.as_ref()?;
        Some(Box::new(AtEngine(aftercare.visit(engine, &endpoint.target))))
    });
}

/// The data path's request at an engine is the node libraries' visit to it.
struct AtEngine(Visit);

impl admission::Visit for AtEngine {
    fn answered(&self) {
        self.0.answered();
    }

    fn given_up(self: Box<Self>, slot: AbandonedSlot) {
        self.0.give_up(Box::new(slot));
    }
}

/// What is left to do after the first signal.
struct Stopping {
    readiness: Readiness,
    server: ServerHandle,
    task_api: TaskApi,
    events: EventLog,
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
            self.task_api.close(drain_timeout.saturating_sub(LAST_WORDS)),
        );
        if cut > 0 {
            tracing::warn!(
                cut,
                "the drain deadline passed, and requests that still ran were cut off; where they need longer, raise ORCHESTRATORD_DRAIN_TIMEOUT_SECS"
            );
        }
        // 5. Then everything behind the doors ends.
        self.daemon.end().await;
    }
}
