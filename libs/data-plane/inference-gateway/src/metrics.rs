//! What the gateway counts, by endpoint, model and node, within bounds.

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
use parking_lot::{Mutex, RwLock};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use routing_table::EndpointKey;
use telemetry::{Histogram, LATENCY_SECONDS, TOKEN_GAP_SECONDS};
use tokio::time::Instant;

use crate::traffic::{RecentError, RecentErrors, Seen, Traffic, Window};

/// Models with labels of their own. Engines name their models, so there are few; the bound is
/// against one that names a new one every day.
const MAX_MODELS: usize = 200;
/// Endpoints and models with labels of their own: each has some fifty time series.
const MAX_SERIES: usize = 2000;
/// What stands for everything beyond.
const OTHER: &str = "other";
/// Where no node was found.
const NONE: &str = "";

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// An engine answered.
    Served,
    /// We refused it or could not get it served.
    Refused,
    /// Its answer broke off.
    Broken,
    /// The client left.
    Cancelled,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// The route, never the path a client made up.
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
struct PlaceLabels {
    model: Arc<str>,
    node: Arc<str>,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn latency() -> Histogram {
    Histogram::new(LATENCY_SECONDS)
}

fn token_gap() -> Histogram {
    Histogram::new(TOKEN_GAP_SECONDS)
}

/// Counters of the gateway, and what went through it lately; clones share them.
#[derive(Clone, Default)]
pub struct GatewayMetrics(Arc<Inner>);

struct Inner {
    requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
    in_flight: Gauge<i64, AtomicI64>,
    running: Family<ModelLabels, Gauge<i64, AtomicI64>>,
    retries: Counter<u64, AtomicU64>,
    tokens: Family<PlaceLabels, Counter<u64, AtomicU64>>,
    duration: Histograms<ModelLabels>,
    queue_wait: Histograms<ModelLabels>,
    first_token: Histograms<PlaceLabels>,
    token_gap: Histograms<PlaceLabels>,
    series: RwLock<Known>,
    origin: Instant,
    window: Mutex<Window>,
    errors: Mutex<RecentErrors>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            in_flight: Gauge::default(),
            running: Family::default(),
            retries: Counter::default(),
            tokens: Family::default(),
            duration: Family::new_with_constructor(latency),
            queue_wait: Family::new_with_constructor(latency),
            first_token: Family::new_with_constructor(latency),
            token_gap: Family::new_with_constructor(token_gap),
            series: RwLock::default(),
            origin: Instant::now(),
            window: Mutex::new(Window::new()),
            errors: Mutex::default(),
        }
    }
}

impl fmt::Debug for GatewayMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayMetrics")
    }
}

/// The metrics of one model at one endpoint, found once for each request.
pub(crate) struct Series {
    model: Arc<str>,
    node: Arc<str>,
    pool: Arc<str>,
    pub(crate) running: Gauge<i64, AtomicI64>,
    pub(crate) tokens: Counter<u64, AtomicU64>,
    pub(crate) duration: Histogram,
    pub(crate) queue_wait: Histogram,
    pub(crate) first_token: Histogram,
    pub(crate) token_gap: Histogram,
    /// The route of the first request that was served, and its count: most of those that follow
    /// are like it.
    served: OnceLock<(&'static str, Counter<u64, AtomicU64>)>,
}

#[derive(Default)]
struct Known {
    by_model: HashMap<Arc<str>, HashMap<EndpointKey, Arc<Series>, RandomState>, RandomState>,
    count: usize,
    /// For what is beyond the bounds.
    other: Option<Arc<Series>>,
}

impl Known {
    fn find(&self, model: &str, key: &EndpointKey) -> Option<&Arc<Series>> {
        self.by_model.get(model)?.get(key)
    }
}

impl GatewayMetrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let Inner {
            requests,
            in_flight,
            running,
            retries,
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
            "Tries beyond the first of a request",
            retries.clone(),
        );
        registry.register(
            "llorch_tokens",
            "Generated tokens; of streams whose engine tells no count, their events",
            tokens.clone(),
        );
        registry.register_with_unit(
            "llorch_request_duration",
            "From a request to the end of its answer, in seconds",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register_with_unit(
            "llorch_queue_wait",
            "Time in the waiting line of requests that got a slot, in seconds",
            Unit::Seconds,
            queue_wait.clone(),
        );
        registry.register_with_unit(
            "llorch_first_token",
            "From a request to the first event of its stream, in seconds",
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

    /// What went through in the last ten seconds.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.0.window.lock().traffic(self.0.origin.elapsed())
    }

    /// The last errors, the newest first.
    #[must_use]
    pub fn recent_errors(&self) -> Vec<RecentError> {
        self.0.errors.lock().newest_first()
    }

    /// How many requests for a model hold a slot.
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

    pub(crate) fn retried(&self) {
        self.0.retries.inc();
    }

    pub(crate) fn began(&self) {
        self.0.in_flight.inc();
    }

    /// Counts a request that has ended.
    pub(crate) fn ended(&self, endpoint: &'static str, series: &Series, outcome: Outcome) {
        self.0.in_flight.dec();
        if outcome == Outcome::Served
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
        if outcome == Outcome::Served {
            // Another route may have been first.
            let _ = series.served.set((endpoint, count));
        }
    }

    pub(crate) fn saw(&self, seen: &Seen<'_>, now: Instant) {
        let since = now.saturating_duration_since(self.0.origin);
        self.0.window.lock().add(seen, since);
    }

    pub(crate) fn failed(&self, error: RecentError) {
        self.0.errors.lock().push(error, SystemTime::now());
    }

    /// The metrics of a model that `key` serves.
    pub(crate) fn series(&self, model: &str, key: &EndpointKey) -> Arc<Series> {
        if let Some(series) = self.0.series.read().find(model, key) {
            return Arc::clone(series);
        }
        let mut known = self.0.series.write();
        if let Some(series) = known.find(model, key) {
            return Arc::clone(series);
        }
        let is_new_model = !known.by_model.contains_key(model);
        if known.count >= MAX_SERIES || (is_new_model && known.by_model.len() >= MAX_MODELS) {
            let other = || Arc::new(self.make(OTHER, OTHER, OTHER));
            return Arc::clone(known.other.get_or_insert_with(other));
        }
        let series = Arc::new(self.make(model, key.node.as_str(), key.pool.as_str()));
        known
            .by_model
            .entry(Arc::from(model))
            .or_default()
            .insert(key.clone(), Arc::clone(&series));
        known.count += 1;
        series
    }

    /// The metrics of a request that found no endpoint. `model` is `None` when nobody serves what
    /// it asked for: what clients make up is no label.
    pub(crate) fn nowhere(&self, model: Option<&str>) -> Series {
        self.make(model.unwrap_or(OTHER), NONE, NONE)
    }

    fn make(&self, model: &str, node: &str, pool: &str) -> Series {
        let (model, node, pool) = (
            Arc::<str>::from(model),
            Arc::<str>::from(node),
            Arc::<str>::from(pool),
        );
        let of_model = ModelLabels {
            model: Arc::clone(&model),
        };
        let of_place = PlaceLabels {
            model: Arc::clone(&model),
            node: Arc::clone(&node),
        };
        Series {
            running: self.0.running.get_or_create_owned(&of_model),
            tokens: self.0.tokens.get_or_create_owned(&of_place),
            duration: self.0.duration.get_or_create_owned(&of_model),
            queue_wait: self.0.queue_wait.get_or_create_owned(&of_model),
            first_token: self.0.first_token.get_or_create_owned(&of_place),
            token_gap: self.0.token_gap.get_or_create_owned(&of_place),
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
        let known = metrics.0.series.read();
        assert_eq!(
            (known.by_model.len(), known.count),
            (MAX_MODELS, MAX_SERIES)
        );
        drop(known);
        assert_eq!(&*metrics.series("one-more", &key("n")).model, OTHER);
        assert_eq!(&*metrics.series("model-0", &key("n")).model, "model-0");
    }
}
