//! The routing table of a node that serves its own data path: one endpoint per engine.

use std::sync::Arc;

use pool_registry_types::NodeId;
use routing_table::{Availability, Endpoint, EndpointKey, Hop, RoutingTable};

use crate::{
    core::{Core, Pool},
    replica::Replica,
};

impl Core {
    /// Every live replica as an endpoint that is reached directly.
    pub(crate) fn routing_table(&self, node: &NodeId, version: u64) -> RoutingTable {
        let endpoints = self
            .pools
            .values()
            .flat_map(|pool| pool.replicas.values().map(move |replica| (pool, replica)))
            .map(|(pool, replica)| self.endpoint(node, pool, replica))
            .collect();
        RoutingTable::new(version, endpoints)
    }

    fn endpoint(&self, node: &NodeId, pool: &Pool, replica: &Replica) -> Endpoint {
        let handoff = &replica.handoff;
        Endpoint {
            key: EndpointKey {
                node: node.clone(),
                pool: handoff.pool_id.clone(),
                replica: Some(handoff.replica_id.clone()),
            },
            // To the data path an engine is what a node is in the CLOUD profile: a new life, new slots.
            incarnation: replica.generation,
            target: handoff.url.clone(),
            hop: Hop::Engine,
            availability: match replica.not_ready() {
                _ if self.is_draining(pool) || pool.drained.contains(&handoff.replica_id) => {
                    Availability::Draining
                }
                Some(reason) => Availability::NotReady(reason.clone()),
                None => Availability::Ready,
            },
            slots_total: replica.slots(),
            slots_free: self.free_slots(replica),
            report: replica.report,
            vram_free_bytes: pool.vram_free_bytes,
            models: replica.models().cloned(),
            engine: Some(handoff.engine.clone()),
            engine_version: replica.engine_version().map(Arc::from),
        }
    }
}
