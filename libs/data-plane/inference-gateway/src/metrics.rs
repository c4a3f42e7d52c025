//! The gateway's metrics by route, model and node, with a bounded number of labels.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64},
    },
    time::SystemTime,
};

use foldhash::fast::RandomState;
use key_limits::LimitKind;
use parking_lot::{Mutex, RwLock};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use routing_table::EndpointKey;
use telemetry::{Histogram, LATENCY_SECONDS, TOKEN_GAP_SECONDS};
use tokio::time::Instant;

use crate::traffic::{RecentError, RecentErrors, Traffic, TrafficSample, TrafficWindow};

/// Models with labels of their own. Engines name their models, so there are few. The bound protects
/// against an engine that names a new model every day.
const MAX_MODELS: usize = 200;
/// Pairs of endpoint and model with labels of their own. Each has some fifty time series.
const MAX_SERIES: usize = 2000;
/// The label of everything beyond the bounds.
const OTHER: &str = "other";
/// The label of a request without a node.
const NONE: &str = "";

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RequestOutcome {
    /// An engine responded.
    Served,
    /// An engine responded with an error: a status of 500 or above, or an error event.
    Failed,
    /// The gateway refused the request, or no endpoint served it.
    Refused,
    /// The response broke off.
    Broken,
    /// The client left.
    Cancelled,
}

impl RequestOutcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// The route, never the client's path.
    endpoint: &'static str,
    model: Arc<str>,
    node: Arc<str>,
    pool: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    model: Arc<str>,
    node: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

fn limit_counter(
    counters: &Family<LimitLabels, Counter<u64, AtomicU64>>,
    kind: LimitKind,
) -> Counter<u64, AtomicU64> {
    let limit = kind.as_str();
    counters.get_or_create_owned(&LimitLabels { limit })
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn latency() -> Histogram {
    Histogram::new(LATENCY_SECONDS)
}

fn token_gap() -> Histogram {
    Histogram::new(TOKEN_GAP_SECONDS)
}

/// The gateway's metrics, recent traffic and recent errors. Clones share them.
#[derive(Clone, Default)]
pub struct GatewayMetrics(Arc<Inner>);

struct Inner {
    requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
    in_flight: Gauge<i64, AtomicI64>,
    running: Family<ModelLabels, Gauge<i64, AtomicI64>>,
    retries: Counter<u64, AtomicU64>,
    limits_reached: Family<LimitLabels, Counter<u64, AtomicU64>>,
    tokens: Family<NodeLabels, Counter<u64, AtomicU64>>,
    duration: Histograms<ModelLabels>,
    queue_wait: Histograms<ModelLabels>,
    first_token: Histograms<NodeLabels>,
    token_gap: Histograms<NodeLabels>,
    series: RwLock<SeriesCache>,
    origin: Instant,
    window: Mutex<TrafficWindow>,
    errors: Mutex<RecentErrors>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            in_flight: Gauge::default(),
            running: Family::default(),
            retries: Counter::default(),
            limits_reached: Family::default(),
            tokens: Family::default(),
            duration: Family::new_with_constructor(latency),
            queue_wait: Family::new_with_constructor(latency),
            first_token: Family::new_with_constructor(latency),
            token_gap: Family::new_with_constructor(token_gap),
            series: RwLock::default(),
            origin: Instant::now(),
            window: Mutex::new(TrafficWindow::new()),
            errors: Mutex::default(),
        }
    }
}

impl fmt::Debug for GatewayMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayMetrics")
    }
}

/// The metrics of one model at one endpoint. A request looks them up once.
pub(crate) struct EndpointSeries {
    model: Arc<str>,
    node: Arc<str>,
    pool: Arc<str>,
    pub(crate) running: Gauge<i64, AtomicI64>,
    pub(crate) tokens: Counter<u64, AtomicU64>,
    pub(crate) duration: Histogram,
    pub(crate) queue_wait: Histogram,
    pub(crate) first_token: Histogram,
    pub(crate) token_gap: Histogram,
    /// The route of the first served request, and its counter. Most later requests have the same
    /// route.
    served: OnceLock<(&'static str, Counter<u64, AtomicU64>)>,
}

impl EndpointSeries {
    /// The model, or `other`.
    pub(crate) fn model(&self) -> &Arc<str> {
        &self.model
    }
}

#[derive(Default)]
struct SeriesCache {
    by_model:
        HashMap<Arc<str>, HashMap<EndpointKey, Arc<EndpointSeries>, RandomState>, RandomState>,
    count: usize,
    /// Everything beyond the bounds.
    other: Option<Arc<EndpointSeries>>,
}

impl SeriesCache {
    fn find(&self, model: &str, key: &EndpointKey) -> Option<&Arc<EndpointSeries>> {
        self.by_model.get(model)?.get(key)
    }
}

impl GatewayMetrics {
    /// Adds the metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let Inner {
            requests,
            in_flight,
            running,
            retries,
            limits_reached,
            tokens,
            duration,
            queue_wait,
            first_token,
            token_gap,
            ..
        } = &*self.0;
        registry.register(
            "llorch_requests",
            "Inference requests that ended, by route, model, place and outcome",
            requests.clone(),
        );
        registry.register(
            "llorch_requests_in_flight",
            "Inference requests being served or waiting",
            in_flight.clone(),
        );
        registry.register(
            "llorch_requests_running",
            "Inference requests that hold a slot",
            running.clone(),
        );
        registry.register(
            "llorch_request_retries",
            "Attempts beyond the first of a request",
            retries.clone(),
        );
        // Each is on the page from the start, so that its first increase is seen.
        for kind in LimitKind::ALL {
            limit_counter(limits_reached, kind);
        }
        registry.register(
            "llorch_key_limits_reached",
            "Requests that were refused because a limit of their key was reached, by limit",
            limits_reached.clone(),
        );
        registry.register(
            "llorch_tokens",
            "Generated tokens; where the engine reports no count, the pieces of content",
            tokens.clone(),
        );
        registry.register_with_unit(
            "llorch_request_duration",
            "From a request to the end of its response, in seconds",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register_with_unit(
            "llorch_queue_wait",
            "Time in the queue of requests that got a slot, in seconds",
            Unit::Seconds,
            queue_wait.clone(),
        );
        registry.register_with_unit(
            "llorch_first_token",
            "From a request to the first text of its stream, in seconds",
            Unit::Seconds,
            first_token.clone(),
        );
        registry.register_with_unit(
            "llorch_token_gap",
            "From one event of a stream to the next, in seconds",
            Unit::Seconds,
            token_gap.clone(),
        );
    }

    /// The traffic of the last ten seconds.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.0.window.lock().traffic(self.0.origin.elapsed())
    }

    /// The most recent errors, newest first.
    #[must_use]
    pub fn recent_errors(&self) -> Vec<RecentError> {
        self.0.errors.lock().newest_first()
    }

    /// The number of requests for a model that hold a slot.
    #[must_use]
    pub fn running(&self, model: &str) -> u64 {
        let model = Arc::from(model);
        let running = self
            .0
            .running
            .get(&ModelLabels { model })
            .map_or(0, |gauge| gauge.get());
        u64::try_from(running).unwrap_or(0)
    }

    pub(crate) fn request_retried(&self) {
        self.0.retries.inc();
    }

    pub(crate) fn limit_reached(&self, kind: LimitKind) {
        limit_counter(&self.0.limits_reached, kind).inc();
    }

    pub(crate) fn request_started(&self) {
        self.0.in_flight.inc();
    }

    /// Counts a request that has ended.
    pub(crate) fn request_ended(
        &self,
        endpoint: &'static str,
        series: &EndpointSeries,
        outcome: RequestOutcome,
    ) {
        self.0.in_flight.dec();
        if outcome == RequestOutcome::Served
            && let Some((route, count)) = series.served.get()
            && *route == endpoint
        {
            count.inc();
            return;
        }
        let count = self.0.requests.get_or_create_owned(&RequestLabels {
            endpoint,
            model: Arc::clone(&series.model),
            node: Arc::clone(&series.node),
            pool: Arc::clone(&series.pool),
            outcome: outcome.as_str(),
        });
        count.inc();
        if outcome == RequestOutcome::Served {
            // Another thread may have set another route.
            let _ = series.served.set((endpoint, count));
        }
    }

    pub(crate) fn add_sample(&self, sample: &TrafficSample<'_>, now: Instant) {
        let since = now.saturating_duration_since(self.0.origin);
        self.0.window.lock().add(sample, since);
    }

    pub(crate) fn add_error(&self, error: RecentError) {
        self.0.errors.lock().push(error, SystemTime::now());
    }

    /// The metrics of a model at an endpoint that serves it.
    pub(crate) fn series(&self, model: &str, key: &EndpointKey) -> Arc<EndpointSeries> {
        if let Some(series) = self.0.series.read().find(model, key) {
            return Arc::clone(series);
        }
        let mut cache = self.0.series.write();
        if let Some(series) = cache.find(model, key) {
            return Arc::clone(series);
        }
        let is_new_model = !cache.by_model.contains_key(model);
        if cache.count >= MAX_SERIES || (is_new_model && cache.by_model.len() >= MAX_MODELS) {
            let other = || Arc::new(self.make(OTHER, OTHER, OTHER));
            return Arc::clone(cache.other.get_or_insert_with(other));
        }
        let series = Arc::new(self.make(model, key.node.as_str(), key.pool.as_str()));
        cache
            .by_model
            .entry(Arc::from(model))
            .or_default()
            .insert(key.clone(), Arc::clone(&series));
        cache.count += 1;
        series
    }

    /// The metrics of a request that got no endpoint. `model` is `None` when no endpoint names it:
    /// clients must not make up labels.
    pub(crate) fn unplaced_series(&self, model: Option<&str>) -> EndpointSeries {
        self.make(model.unwrap_or(OTHER), NONE, NONE)
    }

    fn make(&self, model: &str, node: &str, pool: &str) -> EndpointSeries {
        let (model, node, pool) = (
            Arc::<str>::from(model),
            Arc::<str>::from(node),
            Arc::<str>::from(pool),
        );
        let of_model = ModelLabels {
            model: Arc::clone(&model),
        };
        let of_node = NodeLabels {
            model: Arc::clone(&model),
            node: Arc::clone(&node),
        };
        EndpointSeries {
            running: self.0.running.get_or_create_owned(&of_model),
            tokens: self.0.tokens.get_or_create_owned(&of_node),
            duration: self.0.duration.get_or_create_owned(&of_model),
            queue_wait: self.0.queue_wait.get_or_create_owned(&of_model),
            first_token: self.0.first_token.get_or_create_owned(&of_node),
            token_gap: self.0.token_gap.get_or_create_owned(&of_node),
            model,
            node,
            pool,
            served: OnceLock::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use pool_registry_types::{NodeId, PoolId};

    use super::*;

    fn key(node: &str) -> EndpointKey {
        EndpointKey {
            node: NodeId::new(node).unwrap(),
            pool: PoolId::new("p").unwrap(),
            replica: None,
        }
    }

    // spec: SEE-7
    #[test]
    fn labels_are_bounded() {
        let metrics = GatewayMetrics::default();
        for number in 0..MAX_MODELS + 50 {
            metrics.series(&format!("model-{number}"), &key("n"));
        }
        for number in 0..MAX_SERIES {
            metrics.series("model-0", &key(&format!("n{number}")));
        }
        let cache = metrics.0.series.read();
        assert_eq!(
            (cache.by_model.len(), cache.count),
            (MAX_MODELS, MAX_SERIES)
        );
        drop(cache);
        assert_eq!(&*metrics.series("one-more", &key("n")).model, OTHER);
        assert_eq!(&*metrics.series("model-0", &key("n")).model, "model-0");
    }
}
