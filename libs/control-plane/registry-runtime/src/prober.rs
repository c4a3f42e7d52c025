//! Tries to reach every node about once a second, and tells the registry.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use pool_registry_types::{HttpUrl, NodeId};
use service_runtime::Shutdown;
use tokio::{sync::Semaphore, time::Instant};

use crate::{ProberConfig, RegistryHandle, probe::probe};

/// Nodes that joined together are not probed together for long: each round is up to a tenth shorter or longer.
const JITTER: f64 = 0.1;

/// Probes every node of the registry for as long as it is known, silent ones too: that is how they are found again.
#[derive(Debug)]
pub struct Prober {
    registry: RegistryHandle,
    config: ProberConfig,
    /// Bounds the probes under way.
    permits: Semaphore,
}

impl Prober {
    pub(crate) fn new(registry: RegistryHandle, config: ProberConfig) -> Self {
        let permits = Semaphore::new(config.at_once.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            registry,
            config,
            permits,
        }
    }

    /// Runs until `shutdown` is requested or the registry stops.
    pub async fn run(self, shutdown: Shutdown) {
        let mut nodes = self.registry.nodes();
        let mut watched = HashSet::new();
        let mut rounds = FuturesUnordered::new();
        loop {
            let snapshot = nodes.borrow_and_update().clone();
            for node in &snapshot.nodes {
                if !watched.contains(&node.node_id) {
                    watched.insert(node.node_id.clone());
                    rounds.push(self.watch(node.node_id.clone()));
                }
            }
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                changed = nodes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(gone) = rounds.next() => {
                    watched.remove(&gone);
                }
            }
        }
    }

    /// Probes one node until it is no longer known.
    async fn watch(&self, node_id: NodeId) -> NodeId {
        while let Some((address, incarnation)) = self.current(&node_id) {
            let next = Instant::now() + self.round();
            let result = match self.permits.acquire().await {
                Ok(_permit) => probe(&address, self.config.timeout).await,
                Err(_closed) => break,
            };
            if let Err(error) = &result {
                tracing::debug!(%node_id, %address, %error, "Node probe failed");
            }
            let told = self
                .registry
                .probed(
                    node_id.clone(),
                    incarnation,
                    result.map_err(|error| error.to_string()),
                )
                .await;
            if told.is_err() {
                break;
            }
            tokio::time::sleep_until(next).await;
        }
        node_id
    }

    fn current(&self, node_id: &NodeId) -> Option<(HttpUrl, Option<u64>)> {
        let nodes = self.registry.nodes.borrow();
        let node = nodes.get(node_id)?;
        Some((node.address.clone(), node.incarnation))
    }

    fn round(&self) -> Duration {
        self.config
            .interval
            .mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
    }
}
