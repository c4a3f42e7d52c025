//! The node's metrics: counted requests, and its pools and GPUs, which are read at each scrape.

use std::{collections::HashMap, fmt, sync::Arc};

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use pool_registry::PoolRegistry;
use pool_registry_types::{ErrorCode, GpuStatus, PoolId};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use telemetry::gauges;
use tokio::sync::watch;

/// The label of a pool that does not exist.
const OTHER: &str = "other";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    pool: String,
    outcome: &'static str,
}

/// Requests for engines of this node; clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct NodeMetrics {
    requests: Family<RequestLabels, Counter>,
    /// The counters of answered requests, by pool: nearly all requests. A lookup writes no labels.
    answered: Arc<RwLock<HashMap<PoolId, Counter, RandomState>>>,
}

impl NodeMetrics {
    /// Adds the metrics to a registry, with the pools of `pools` and the `gpus`.
    pub fn register(
        &self,
        registry: &mut Registry,
        pools: PoolRegistry,
        gpus: watch::Receiver<Arc<[GpuStatus]>>,
    ) {
        registry.register(
            "llorch_agent_requests",
            "Requests for engines of this node, by pool and outcome: answered, or the code of the \
             refusal",
            self.requests.clone(),
        );
        registry.register_collector(Box::new(StateCollector { pools, gpus }));
    }

    pub(crate) fn count(&self, pool: &PoolId, refused: Option<ErrorCode>) {
        if refused.is_none()
            && let Some(counter) = self.answered.read().get(pool)
        {
            counter.inc();
            return;
        }
        // Clients must not make up labels.
        let named = match refused {
            Some(ErrorCode::NotFound) => OTHER,
            _ => pool.as_str(),
        };
        let labels = RequestLabels {
            pool: named.to_owned(),
            outcome: refused.map_or("answered", ErrorCode::as_str),
        };
        let counter = self.requests.get_or_create_owned(&labels);
        counter.inc();
        if refused.is_none() {
            self.answered.write().insert(pool.clone(), counter);
        }
    }
}

/// Collects the current pools and GPUs.
#[derive(Debug)]
struct StateCollector {
    pools: PoolRegistry,
    gpus: watch::Receiver<Arc<[GpuStatus]>>,
}

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut pools = self.pools.statuses();
        // Nothing is wrong with a node that has no pools yet.
        pools.retain(|pool| !pool.placeholder);
        let each = |value: fn(&pool_registry_types::PoolStatus) -> f64| {
            pools
                .iter()
                .map(move |pool| ([("pool", pool.pool_id.as_str())], value(pool)))
        };
        let encoder = &mut encoder;
        gauges(
            encoder,
            "llorch_agent_pool_ready",
            "Whether a pool takes requests: 1 or 0",
            each(|pool| f64::from(u8::from(pool.ready))),
        )?;
        gauges(
            encoder,
            "llorch_agent_slots",
            "Slots that the ready engines of a pool have",
            each(|pool| f64::from(pool.slots_total())),
        )?;
        gauges(
            encoder,
            "llorch_agent_slots_free",
            "Slots of a pool that no request holds",
            each(|pool| f64::from(pool.slots_free())),
        )?;
        gauges(
            encoder,
            "llorch_agent_pool_vram_free_bytes",
            "Free memory of a pool's devices, in bytes; 0 when unknown",
            each(|pool| bytes(pool.vram_free_bytes)),
        )?;
        let engines = pools.iter().flat_map(|pool| {
            let replicas = pool.replicas.iter().flatten();
            replicas.map(|replica| {
                let labels = [
                    ("pool", pool.pool_id.as_str()),
                    ("replica", replica.replica_id.as_str()),
                ];
                (labels, f64::from(u8::from(replica.ready)))
            })
        });
        gauges(
            encoder,
            "llorch_agent_engine_ready",
            "Whether an engine takes requests: 1 or 0",
            engines,
        )?;
        let gpus = self.gpus.borrow().clone();
        let of_gpus = |value: fn(&GpuStatus) -> Option<f64>| {
            gpus.iter().filter_map(move |gpu| {
                let labels = [
                    ("gpu", gpu.device_id.to_string()),
                    ("name", gpu.name.to_string()),
                ];
                Some((labels, value(gpu)?))
            })
        };
        gauges(
            encoder,
            "llorch_agent_gpu_memory_bytes",
            "Memory of a GPU, in bytes",
            of_gpus(|gpu| gpu.vram_total_bytes.map(bytes)),
        )?;
        gauges(
            encoder,
            "llorch_agent_gpu_memory_used_bytes",
            "Memory of a GPU that is in use, in bytes",
            of_gpus(|gpu| gpu.vram_used_bytes.map(bytes)),
        )?;
        gauges(
            encoder,
            "llorch_agent_gpu_utilization_ratio",
            "How busy a GPU is, from 0 to 1",
            of_gpus(|gpu| {
                gpu.utilization_percent
                    .map(|percent| f64::from(percent) / 100.0)
            }),
        )?;
        gauges(
            encoder,
            "llorch_agent_gpu_temperature_celsius",
            "Temperature of a GPU, in degrees Celsius",
            of_gpus(|gpu| gpu.temperature_celsius.map(f64::from)),
        )?;
        gauges(
            encoder,
            "llorch_agent_gpu_power_watts",
            "The power that a GPU draws, in watts",
            of_gpus(|gpu| gpu.power_watts.map(f64::from)),
        )?;
        gauges(
            encoder,
            "llorch_agent_gpu_problem",
            "Whether something is wrong with a GPU: 1 or 0",
            of_gpus(|gpu| Some(f64::from(u8::from(gpu.problem.is_some())))),
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory of less than 2^53 bytes")]
fn bytes(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use telemetry::Metrics;

    use super::*;

    // spec: SEE-7, SEE-10
    #[test]
    fn the_page_shows_pools_and_requests_without_made_up_names() {
        let pool = PoolId::new("p").unwrap();
        let (metrics, node) = (Metrics::new("test", "0"), NodeMetrics::default());
        let pools = PoolRegistry::new(vec![pool.clone()]);
        metrics
            .register(|registry| node.register(registry, pools, watch::channel(Arc::default()).1));
        node.count(&pool, None);
        node.count(&pool, Some(ErrorCode::PoolBusy));
        node.count(&PoolId::new("made-up").unwrap(), Some(ErrorCode::NotFound));
        let page = metrics.render();
        for line in [
            r#"llorch_agent_pool_ready{pool="p"} 0.0"#,
            r#"llorch_agent_requests_total{pool="p",outcome="answered"} 1"#,
            r#"llorch_agent_requests_total{pool="p",outcome="POOL_BUSY"} 1"#,
            r#"llorch_agent_requests_total{pool="other",outcome="NOT_FOUND"} 1"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in {page}");
        }
    }
}
