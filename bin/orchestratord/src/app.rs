//! Builds the components of the control plane, connects them, and stops them in order.

use std::{sync::Arc, time::Duration};

use control_api::ControlApi;
use daemon::{Daemon, Metrics, Settings};
use dashboard::{Live, LiveConfig, Page, SessionApi, Sources};
use event_log::EventLog;
use http_server::{
    AllowedOrigins, Authenticated, CrossOrigin, HttpService, Routes, ServerHandle, with_fallbacks,
};
use inference_gateway::PathRouter;
use join_api::{JOIN_PATH, JoinApi};
use key_api::KeyApi;
use local_node::Node;
use pool_registry_types::{HealthAnswer, ORCHESTRATORD};
use registry_runtime::NodesMetrics;
use service_runtime::Readiness;
use state_export::{LiveState, Profile};
use task_api::TaskApi;
use usage_log::{UsageLog, UsageMetrics};

use crate::{
    api, ca,
    config::Config,
    control_plane::ControlPlane,
    data_path::{DataPath, start_admission},
    data_path_view::LiveDataPath,
    home,
    node_access::NodeAccess,
    usage,
};

/// Tasks end this long before the drain deadline, so that their readers still get the last events.
const TASKS_END_BEFORE_DEADLINE: Duration = Duration::from_secs(1);

/// What is served without a credential: the reference, and joining, where the credential is in the
/// body.
const OPEN_PATHS: [&str; 4] = {
    let [document, page, style] = api_reference::OPEN_PATHS;
    [document, page, style, JOIN_PATH]
};

/// Runs the control plane until a stop is requested.
pub(crate) async fn run(config: Config, daemon: Daemon) -> anyhow::Result<()> {
    let listeners = daemon.bind(&config.settings)?;
    daemon.follow_keys(&config.settings);
    let store = config.store_location();
    let (settings, grace) = (config.settings, config.shutdown_grace);
    let usage_days = config.usage_retention_days;
    let origins = config.allowed_origins;
    let (readiness, events) = (Readiness::new(), EventLog::new());
    let node = config
        .home
        .map(|home| home::start_node(home.node, &listeners, &daemon));
    let node = node.transpose()?;
    let admission = start_admission(config.admission, &events, &daemon);
    let control_plane = ControlPlane::start(config.registry, store, &admission, &events, &daemon)?;
    let nodes = match &node {
        Some(node) => {
            let known = readiness.latch("handoffs");
            home::join(node, &control_plane, &listeners, known, &daemon)?;
            NodeAccess::in_process(node)
        }
        None => NodeAccess::over_tcp(
            daemon.proxy().within(config.joining.addresses.clone()),
            config.node_token,
        ),
    };
    let (data_path, routes) = DataPath::start(config.gateway, admission, nodes.transport, &daemon);
    let usage = usage::start(&control_plane, usage_days, &daemon);
    usage::connect(&data_path.gateway, &usage);
    data_path.gateway.check_keys_with(settings.auth.clone());
    let control_api = ControlApi::new(control_plane.registry.clone())
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_metrics_at(listeners.metrics_addr())
        .with_events(events.clone())
        .with_registrations(node.is_none())
        .with_join_hint("start it with ORCHESTRATORD_CLOUD_PROFILE=true")
        .with_node_addresses(config.joining.addresses.clone())
        .with_node_control(nodes.control)
        .with_data_path(data_path.view.clone());
    let metrics = register_metrics(&control_plane, &data_path, node.as_ref(), &usage, &daemon);
    let live = start_live(&control_api, &daemon);
    let keys = KeyApi::load(Arc::clone(&control_plane.keys), settings.auth.clone())?
        .before_new_limits(usage::counted_today(&data_path.gateway, &usage));
    if let Some(ca) = &config.joining.ca {
        ca::keep_renewed(ca, &daemon);
        // Not the line itself: it has a token, and a log is read by many.
        tracing::info!("`llorch join-command` prints the line that makes a machine a node");
    }
    let state = LiveState {
        store: Arc::clone(&control_plane.state),
        usage: usage.clone(),
        directory: control_plane.directory.clone(),
        profile: if settings.is_cloud {
            Profile::Cloud
        } else {
            Profile::Home
        },
        ca_sha256: (config.joining.ca.as_ref()).map(|ca| ca.fingerprint()),
        made_by: env!("CARGO_PKG_VERSION"),
    };
    let joins = Arc::clone(&control_plane.joins);
    let joins = JoinApi::load(joins, settings.auth.clone(), keys.clone(), config.joining)?;
    let others = [
        routes
            .merge(keys.routes())
            .merge(joins.routes())
            .merge(usage_api::routes(usage.clone()))
            .merge(state_api::routes(state)),
        live.merge(SessionApi::new(settings.auth.clone()).routes()),
        service_routes(&readiness, &metrics),
    ];
    let service = service(&control_api, &data_path, others, &settings, origins);
    let server = daemon.serve(listeners, service, &metrics)?;
    show_progress(&control_plane, data_path.view, &daemon);
    daemon.stop_requested(grace + settings.drain_timeout).await;
    Stopping {
        readiness,
        server,
        task_api: data_path.task_api,
        events,
        node,
        daemon,
        _control_plane: control_plane,
    }
    .run(grace, settings.drain_timeout)
    .await;
    Ok(())
}

/// The whole HTTP service: preflights of other origins, the dashboard, then authentication, then
/// heartbeats, the gateway and all other routes.
fn service(
    control_api: &ControlApi,
    data_path: &DataPath,
    others: [Routes; 3],
    settings: &Settings,
    origins: AllowedOrigins,
) -> impl HttpService + use<> {
    let routes = with_fallbacks(api::routes(control_api.clone(), others).into_router());
    let router = control_api.heartbeats_before(PathRouter::new(data_path.gateway.clone(), routes));
    let (auth, hosts) = (settings.auth.clone(), settings.allowed_hosts.clone());
    let refusals = control_api.clone();
    let authenticated = Authenticated::new(auth, hosts, router)
        .opening(&OPEN_PATHS)
        .on_refusal(move |path, peer, error| refusals.request_refused(path, peer, error))
        .serving_pages_of(origins.clone());
    CrossOrigin::new(origins, Page::new(authenticated))
}

/// The metrics of all components.
fn register_metrics(
    control_plane: &ControlPlane,
    data_path: &DataPath,
    node: Option<&Node>,
    usage: &UsageLog,
    daemon: &Daemon,
) -> Metrics {
    let metrics = daemon.metrics();
    data_path.register_metrics(&metrics);
    metrics.register(|families| {
        families.register_collector(Box::new(NodesMetrics::new(control_plane.registry.clone())));
        families.register_collector(Box::new(UsageMetrics::new(usage.clone())));
        if let Some(node) = node {
            node.register_metrics(families);
        }
    });
    metrics
}

/// Shows the state to the service manager, and feeds its watchdog.
fn show_progress(control_plane: &ControlPlane, view: Arc<LiveDataPath>, daemon: &Daemon) {
    let registry = control_plane.registry.clone();
    daemon.show(registry.revisions(), move |_| view.status_line());
    daemon.watch_progress(move || {
        let registry = registry.clone();
        async move {
            // False means that the registry has ended, because the whole process ends.
            let _ = registry.alive().await;
        }
    });
}

/// `/health`, `/ready` and `/metrics`.
fn service_routes(readiness: &Readiness, metrics: &Metrics) -> Routes {
    let metrics = metrics.clone();
    http_server::service_routes_of(
        Arc::new(|| HealthAnswer::of(ORCHESTRATORD)),
        readiness.clone(),
        Arc::new(move || metrics.render()),
    )
}

/// Starts the event stream of the dashboard. The answers of the API are JSON; if one were not, the
/// dashboard would show no change.
fn start_live(control_api: &ControlApi, daemon: &Daemon) -> Routes {
    let live = Live::new(LiveConfig::default(), daemon.stop.clone());
    let (status, nodes) = (control_api.clone(), control_api.clone());
    let sources = Sources {
        status: Box::new(move || serde_json::to_value(status.status()).unwrap_or_default()),
        nodes: Box::new(move |limit| {
            serde_json::to_value(nodes.nodes_worst_first(limit)).unwrap_or_default()
        }),
    };
    daemon.tasks.spawn("live", live.clone().run(sources));
    live.routes()
}

/// The components that a stop ends.
struct Stopping {
    readiness: Readiness,
    server: ServerHandle,
    task_api: TaskApi,
    events: EventLog,
    /// The node in this process, in HOME.
    node: Option<Node>,
    daemon: Daemon,
    /// Keeps its directory locked until the end.
    _control_plane: ControlPlane,
}

impl Stopping {
    async fn run(self, grace: Duration, drain_timeout: Duration) {
        // 1. `/ready` answers 503, and load balancers turn to other servers.
        self.readiness.stopping();
        tokio::time::sleep(grace).await;
        // 2. No new connections, and no new requests on old ones.
        let open = self.server.connections();
        tracing::info!(
            open,
            deadline_secs = drain_timeout.as_secs(),
            "waiting for running requests"
        );
        // 3. Readers of events have nothing to finish.
        self.events.close();
        // 4. Running requests finish. The registry still runs, because retries need it.
        let (cut, ()) = tokio::join!(
            self.server.close(drain_timeout),
            self.task_api
                .close(drain_timeout.saturating_sub(TASKS_END_BEFORE_DEADLINE)),
        );
        if cut > 0 {
            tracing::warn!(
                cut,
                "the drain deadline passed, and requests that still ran were cut off; where they \
                 need longer, raise ORCHESTRATORD_DRAIN_TIMEOUT_SECS"
            );
        }
        // 5. No request is with an engine now, so the engines that this process started can end.
        if let Some(node) = &self.node
            && let Some(limit) = node.stop_limit().await
        {
            self.daemon.stops_within(limit);
            node.stop_engines().await;
        }
        // 6. All background tasks end.
        self.daemon.end().await;
    }
}
