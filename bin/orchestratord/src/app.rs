//! The parts of the control plane, how they are connected, and in which order they stop.

use std::{sync::Arc, time::Duration};

use admission::{Admission, Failure};
use anyhow::Context as _;
use control_api::{ControlApi, QuarantineView};
use http_server::{Authenticated, Limits, ServerHandle, service_routes, with_fallbacks};
use inference_gateway::{Front, Gateway, GatewayMetrics, explain_router};
use local_node::{Abandoned, Aftercare, LocalNode};
use registry_runtime::RegistryHandle;
use registry_store::FileStore;
use routing_table::RoutingTable;
use service_runtime::{Readiness, Shutdown, Tasks, raise_descriptor_limit, signals};
use stream_proxy::StreamProxy;
use task_api::{TaskApi, TaskConfig};
use telemetry::Metrics;
use tokio::sync::watch;

use crate::config::{Config, Profile};

/// How long tasks get to end once nothing is left to do.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long before the drain deadline tasks are told that it is over: their readers need a moment to hear of it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the control plane until it is told to stop.
pub(crate) fn main(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(run(config));
    // Not dropped: that would wait for a disk that hangs.
    runtime.shutdown_timeout(JOIN_TIMEOUT);
    result
}

async fn run(config: Config) -> anyhow::Result<()> {
    let is_cloud = matches!(config.profile, Profile::Cloud { .. });
    tracing::info!("Configuration loaded. Cloud profile: {is_cloud}");
    tracing::info!("{}", config.auth.describe());
    // Asked to stop by a signal; the parts stop by their own token, in the order below.
    let stop = Shutdown::new();
    let parts = Shutdown::new();
    let tasks = Tasks::new(stop.clone());
    signals(stop.clone(), &tasks).context("listen for signals")?;
    let limits = Limits::default().within_descriptors(raise_descriptor_limit());
    let bound = http_server::bind(config.addr, limits)
        .with_context(|| format!("listen on {}, as ORCHESTRATORD_ADDR says", config.addr))?;
    let addr = bound.local_addr();

    let Endpoints {
        tables,
        registry,
        local,
    } = endpoints(config.profile, &tasks, &parts)?;
    let admission = Admission::new(config.admission);
    if let Some(local) = &local {
        look_after(&admission, local.aftercare().clone());
    }
    tasks.spawn("admission", admission.clone().run(tables.clone()));
    let proxy = StreamProxy::new();
    let idle_connections = parts.clone();
    tasks.spawn(
        "idle-connections",
        proxy
            .clone()
            .sweep(async move { idle_connections.requested().await }),
    );
    let metrics = Metrics::new("orchestratord", env!("CARGO_PKG_VERSION"));
    let gateway_metrics = GatewayMetrics::default();
    metrics.register(|registry| gateway_metrics.register(registry));
    let explain = explain_router(admission.clone(), &config.gateway);
    let gateway = Gateway::new(
        config.gateway,
        admission.clone(),
        tables.clone(),
        proxy,
        gateway_metrics,
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

    let readiness = Readiness::new();
    let control = ControlApi::new(registry, tables)
        .with_quarantine(move |endpoint| quarantine(&admission, endpoint))
        .router()
        .merge(explain)
        .merge(task_api.clone().router())
        .merge(service_routes(
            readiness.clone(),
            Arc::new(move || metrics.render()),
        ));
    let service = Authenticated::new(config.auth, Front::new(gateway, with_fallbacks(control)));
    let server = bound.serve(service, &tasks, parts.clone()).context("serve")?;
    tracing::info!("orchestratord listening on {addr}");

    stop.requested().await;
    Stopping {
        readiness,
        server,
        task_api,
        tasks: tasks.clone(),
        parts,
    }
    .run(config.shutdown_grace, config.drain_timeout)
    .await;
    // Stopped in order, but not always because somebody asked.
    Ok(tasks.outcome()?)
}

/// Where endpoints come from.
struct Endpoints {
    tables: watch::Receiver<Arc<RoutingTable>>,
    registry: Option<RegistryHandle>,
    /// Watches the handoff directory for as long as it is held.
    local: Option<LocalNode>,
}

fn endpoints(profile: Profile, tasks: &Tasks, parts: &Shutdown) -> anyhow::Result<Endpoints> {
    match profile {
        Profile::Home { runtime_dir, node_id } => {
            let local = LocalNode::start(local_node::Config::new(&runtime_dir), tasks, parts)
                .context("start the handoff watcher")?;
            tracing::info!(dir = %runtime_dir.display(), "Handoff watcher started");
            let tables = local.routing_tables(node_id, tasks, parts.clone());
            Ok(Endpoints {
                tables,
                registry: None,
                local: Some(local),
            })
        }
        Profile::Cloud { registry, state_dir } => {
            let store = FileStore::open(&state_dir)?;
            let built = registry_runtime::build(registry, Arc::new(store))?;
            tasks.spawn("registry", built.task.run(parts.clone()));
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
    let counts = admission.clone();
    admission.set_aftercare(move |lease| {
        let Some(endpoint) = lease.endpoint().cloned() else {
            return;
        };
        let Some(engine) = endpoint.engine else { return };
        let counts = counts.clone();
        aftercare.take(Abandoned {
            engine,
            url: endpoint.target,
            held: Box::new(move || counts.in_flight_at(&endpoint.key)),
            slot: Box::new(lease),
        });
    });
}

/// What the data path holds against an endpoint, for people.
fn quarantine(admission: &Admission, endpoint: &routing_table::EndpointKey) -> Option<QuarantineView> {
    let quarantine = admission.quarantine_of(endpoint)?;
    let reason = match quarantine.cause {
        Failure::Unreachable => "connections were refused",
        Failure::Broken => "requests failed in a row",
    };
    let retry_in_ms = u64::try_from(quarantine.retry_in.as_millis()).unwrap_or(u64::MAX);
    Some(QuarantineView {
        reason: reason.to_owned(),
        retry_in_ms,
    })
}

/// What is left to do after the first signal.
struct Stopping {
    readiness: Readiness,
    server: ServerHandle,
    task_api: TaskApi,
    tasks: Tasks,
    parts: Shutdown,
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
        // 3. What runs may finish. The registry goes on meanwhile: retries need it.
        let (cut, ()) = tokio::join!(
            self.server.close(drain_timeout),
            self.task_api.close(drain_timeout.saturating_sub(LAST_WORDS)),
        );
        if cut > 0 {
            tracing::warn!(
                cut,
                "the drain deadline passed; requests that still ran were cut off"
            );
        }
        // 4. Then everything behind the doors ends.
        self.parts.request();
        if let Err(still_running) = self.tasks.join(JOIN_TIMEOUT).await {
            tracing::warn!(%still_running, "tasks did not end in time");
        }
        tracing::info!("orchestratord stopped");
    }
}
