//! The data path: admission, the gateway and the tasks.

use std::sync::Arc;

use admission::{Admission, AdmissionConfig, AdmissionMetrics};
use daemon::{Daemon, Metrics};
use event_log::EventLog;
use http_server::Routes;
use inference_gateway::{Gateway, GatewayConfig, GatewayMetrics, explain_routes};
use node_transport::NodeTransport;
use task_api::{TaskApi, TaskConfig};

use crate::data_path_view::{LiveDataPath, breaker_event};

/// Starts admission, whose circuit breakers report to `events`.
pub(crate) fn start_admission(
    config: AdmissionConfig,
    events: &EventLog,
    daemon: &Daemon,
) -> Admission {
    let admission = Admission::new(config);
    let events = events.clone();
    admission.on_breaker_change(move |change| events.publish(breaker_event(&change)));
    let (timer, shutdown) = (admission.clone().run(), daemon.shutdown.clone());
    daemon.tasks.spawn("admission", async move {
        tokio::select! {
            () = timer => {}
            () = shutdown.requested() => {}
        }
    });
    admission
}

/// Serves `/v1`, tasks, and the explanation of placements.
pub(crate) struct DataPath {
    pub(crate) gateway: Gateway,
    pub(crate) task_api: TaskApi,
    /// Its state, for the control API.
    pub(crate) view: Arc<LiveDataPath>,
    admission: Admission,
    metrics: GatewayMetrics,
}

impl DataPath {
    /// Starts the data path. Returns it with its routes beside `/v1`.
    pub(crate) fn start(
        config: GatewayConfig,
        admission: Admission,
        transport: Arc<dyn NodeTransport>,
        daemon: &Daemon,
    ) -> (Self, Routes) {
        let metrics = GatewayMetrics::default();
        let explain = explain_routes(admission.clone(), &config);
        let gateway = Gateway::new(config, admission.clone(), transport, metrics.clone());
        let task_api = TaskApi::new(
            TaskConfig::default(),
            gateway.clone(),
            admission.clone(),
            daemon.tasks.clone(),
        );
        let shutdown = daemon.shutdown.clone();
        let sweep = task_api
            .clone()
            .sweep(async move { shutdown.requested().await });
        daemon.tasks.spawn("old-tasks", sweep);
        let routes = explain.merge(task_api.clone().routes());
        let data_path = Self {
            gateway,
            task_api,
            view: Arc::new(LiveDataPath::new(admission.clone(), metrics.clone())),
            admission,
            metrics,
        };
        (data_path, routes)
    }

    pub(crate) fn register_metrics(&self, metrics: &Metrics) {
        metrics.register(|families| {
            self.metrics.register(families);
            families.register_collector(Box::new(AdmissionMetrics::new(self.admission.clone())));
        });
    }
}
