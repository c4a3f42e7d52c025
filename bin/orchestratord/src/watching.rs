//! What the data path tells people: the one place where its words become the control plane's.

use admission::{Admission, BreakerChange, EndpointFailure};
use control_api::{
    DataPathView, ModelLoad, PercentilesAnswer, QuarantineView, RecentErrorAnswer, TrafficAnswer,
};
use event_log::{EventKind, NewEvent};
use inference_gateway::{GatewayMetrics, Percentiles, RecentError, Traffic};
use routing_table::EndpointKey;

/// Slots, lines and traffic at this moment.
pub(crate) fn data_path(admission: &Admission, metrics: &GatewayMetrics) -> DataPathView {
    let snapshot = admission.snapshot();
    let mut view = DataPathView {
        traffic: traffic(metrics.traffic()),
        recent_errors: metrics
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
    for model in admission.models() {
        let load = ModelLoad {
            endpoints: model.endpoints_ready,
            slots_total: model.slots_total,
            slots_free: model.slots_free,
            running: metrics.running(&model.model),
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

/// The fleet in a line, for people.
pub(crate) fn status_line(admission: &Admission) -> String {
    let (models, endpoints) = admission.size();
    format!("models: {models}, endpoints: {endpoints}")
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

/// What the data path holds against an endpoint.
pub(crate) fn quarantine(admission: &Admission, endpoint: &EndpointKey) -> Option<QuarantineView> {
    let quarantine = admission.open_breaker_of(endpoint)?;
    Some(QuarantineView {
        reason: reason(quarantine.cause).to_owned(),
        retry_in_ms: u64::try_from(quarantine.retry_in.as_millis()).unwrap_or(u64::MAX),
    })
}

fn reason(failure: EndpointFailure) -> &'static str {
    match failure {
        EndpointFailure::Unreachable => "connections were refused",
        EndpointFailure::NodeUnreachable => "its node could not be reached",
        EndpointFailure::Broken => "requests failed in a row",
    }
}

/// Trust in an endpoint has ended, or is back.
pub(crate) fn breaker_event(change: &BreakerChange) -> NewEvent {
    let EndpointKey {
        node,
        pool,
        replica,
    } = &change.endpoint;
    let engine = replica
        .as_ref()
        .map_or_else(String::new, |replica| format!("engine {replica}: "));
    let news = match change.opened_by {
        Some(failure) => {
            let message = format!(
                "{engine}{}; it is tried again after a while",
                reason(failure)
            );
            NewEvent::new(EventKind::Quarantined, message)
        }
        None => NewEvent::new(EventKind::Readmitted, format!("{engine}it answers again")),
    };
    news.node(node).pool(pool)
}
