//! What the gateway counts.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// The route, never the path a client made up.
    endpoint: &'static str,
    result: Result,
}

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Result {
    /// An engine answered.
    Served,
    /// We refused it or could not get it served.
    Refused,
    /// Its answer broke off.
    Broken,
    /// The client left.
    Cancelled,
}

/// Counters of the gateway; clones share them.
#[derive(Debug, Clone, Default)]
pub struct GatewayMetrics {
    requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
    in_flight: Gauge<i64, AtomicI64>,
    retries: Counter<u64, AtomicU64>,
}

impl GatewayMetrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "llorch_requests",
            "Inference requests by endpoint and result",
            self.requests.clone(),
        );
        registry.register(
            "llorch_requests_in_flight",
            "Inference requests being served or waiting",
            self.in_flight.clone(),
        );
        registry.register(
            "llorch_request_retries",
            "Tries beyond the first of a request",
            self.retries.clone(),
        );
    }

    pub(crate) fn retried(&self) {
        self.retries.inc();
    }

    pub(crate) fn begin(&self, endpoint: &'static str) -> Record {
        self.in_flight.inc();
        Record(Arc::new(Open {
            metrics: self.clone(),
            endpoint,
            result: std::sync::OnceLock::new(),
        }))
    }
}

/// Counts one request when its last holder drops it; without a word, the client left.
#[derive(Debug, Clone)]
pub(crate) struct Record(Arc<Open>);

#[derive(Debug)]
struct Open {
    metrics: GatewayMetrics,
    endpoint: &'static str,
    result: std::sync::OnceLock<Result>,
}

impl Record {
    /// Says how the request went; the first word counts.
    pub(crate) fn set(&self, result: Result) {
        let _ = self.0.result.set(result);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let result = self.result.get().copied().unwrap_or(Result::Cancelled);
        self.metrics
            .requests
            .get_or_create(&RequestLabels {
                endpoint: self.endpoint,
                result,
            })
            .inc();
        self.metrics.in_flight.dec();
    }
}
