//! The state of the data path, translated into views of the control API and into events.

use admission::{Admission, BreakerChange, EndpointFailure};
use control_api::{
    DataPathSource, DataPathView, ModelLoad, PercentilesAnswer, QuarantineView, RecentErrorAnswer,
    TrafficAnswer,
};
use event_log::{EventKind, NewEvent};
use inference_gateway::{GatewayMetrics, Percentiles, RecentError, Traffic};
use routing_table::EndpointKey;

/// Reads the current state of the data path for the control API.
pub(crate) struct LiveDataPath {
    admission: Admission,
    metrics: GatewayMetrics,
}

impl LiveDataPath {
    pub(crate) fn new(admission: Admission, metrics: GatewayMetrics) -> Self {
        Self { admission, metrics }
    }

    /// One line about the fleet, for the service manager.
    pub(crate) fn status_line(&self) -> String {
        let (models, endpoints) = self.admission.size();
        format!("models: {models}, endpoints: {endpoints}")
    }
}

impl DataPathSource for LiveDataPath {
    fn quarantine(&self, endpoint: &EndpointKey) -> Option<QuarantineView> {
        let quarantine = self.admission.open_breaker_of(endpoint)?;
        Some(QuarantineView {
            reason: reason(quarantine.cause).to_owned(),
            retry_in_ms: pool_registry_types::millis(quarantine.retry_in),
        })
    }

    fn requests_running(&self, endpoint: &EndpointKey) -> Option<u64> {
        self.admission.in_flight_at(endpoint).map(u64::from)
    }

    fn slots_free(&self, endpoint: &EndpointKey) -> Option<u32> {
        self.admission.slots_free_at(endpoint)
    }

    fn view(&self) -> DataPathView {
        let snapshot = self.admission.snapshot();
        let mut view = DataPathView {
            traffic: traffic(self.metrics.traffic()),
            recent_errors: self
                .metrics
                .recent_errors()
                .into_iter()
                .map(recent_error)
                .collect(),
            ..DataPathView::default()
        };
        for endpoint in snapshot.endpoints {
            if endpoint.state.is_routable() {
                let used = endpoint.in_flight.saturating_add(endpoint.used_by_others);
                let free = endpoint.slots_total.saturating_sub(used);
                view.slots.total = view.slots.total.saturating_add(endpoint.slots_total.into());
                view.slots.free = view.slots.free.saturating_add(free.into());
            }
        }
        for model in self.admission.models() {
            let load = ModelLoad {
                endpoints: model.endpoints_ready,
                slots_total: model.slots_total,
                slots_free: model.slots_free,
                running: self.metrics.running(&model.model),
                ..ModelLoad::default()
            };
            view.models.insert(model.model, load);
        }
        for (model, waiting) in snapshot.waiting {
            let load = view.models.entry(model).or_default();
            load.queued_interactive = count(waiting.interactive);
            load.queued_batch = count(waiting.batch);
        }
        view
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn traffic(traffic: Traffic) -> TrafficAnswer {
    TrafficAnswer {
        window_ms: traffic.window_ms,
        requests_per_s: traffic.requests_per_s,
        errors_per_s: traffic.errors_per_s,
        tokens_per_s: traffic.tokens_per_s,
        first_token_ms: percentiles(traffic.first_token_ms),
        inter_token_ms: percentiles(traffic.inter_token_ms),
        queue_ms: percentiles(traffic.queue_ms),
    }
}

fn percentiles(Percentiles { p50, p90, p99 }: Percentiles) -> PercentilesAnswer {
    PercentilesAnswer { p50, p90, p99 }
}

fn recent_error(error: RecentError) -> RecentErrorAnswer {
    RecentErrorAnswer {
        at: error.at,
        request_id: error.request_id,
        code: error.code.as_str(),
        message: error.message,
        model: error.model,
        node_id: error.node_id,
    }
}

fn reason(failure: EndpointFailure) -> &'static str {
    match failure {
        EndpointFailure::Unreachable => "connections were refused",
        EndpointFailure::NodeUnreachable => "its node could not be reached",
        EndpointFailure::Broken => "requests failed in a row",
        EndpointFailure::BadResponse => "responses were no engine's",
    }
}

/// The event for a circuit breaker that opened or closed.
pub(crate) fn breaker_event(change: &BreakerChange) -> NewEvent {
    let EndpointKey {
        node,
        pool,
        replica,
    } = &change.endpoint;
    let engine = replica
        .as_ref()
        .map_or_else(String::new, |replica| format!("engine {replica}: "));
    let event = match change.opened_by {
        Some(failure) => {
            let message = format!(
                "{engine}{}; it is tried again after a while",
                reason(failure)
            );
            NewEvent::new(EventKind::Quarantined, message)
        }
        None => NewEvent::new(EventKind::Readmitted, format!("{engine}it answers again")),
    };
    event.node(node).pool(pool)
}
