//! Handoffs and ids for tests.

use pool_registry_types::{Handoff, HttpUrl, PoolId, PoolStatus, ReplicaId};

use crate::{PoolRegistry, ProbeOutcome, SlotLease};

pub(crate) fn pool(id: &str) -> PoolId {
    PoolId::new(id).unwrap()
}

pub(crate) fn replica(id: &str) -> ReplicaId {
    ReplicaId::new(id).unwrap()
}

pub(crate) fn handoff(pool: &str, replica: &str, port: u16, slots: u32) -> Handoff {
    serde_json::from_value(serde_json::json!({
        "pool_id": pool, "replica_id": replica, "engine": "llamacpp",
        "url": format!("http://localhost:{port}"), "slots": slots,
    }))
    .unwrap()
}

pub(crate) fn with_models(handoff: Handoff, models: &[&str]) -> Handoff {
    let mut handoff = handoff;
    handoff.models = Some(models.iter().map(|model| model.parse().unwrap()).collect());
    handoff
}

pub(crate) fn url(port: u16) -> HttpUrl {
    HttpUrl::new(&format!("http://localhost:{port}")).unwrap()
}

/// The status of one pool, which must exist.
pub(crate) fn status(registry: &PoolRegistry, id: &str) -> PoolStatus {
    registry
        .statuses()
        .into_iter()
        .find(|status| status.pool_id.as_str() == id)
        .unwrap()
}

/// As many leases as the pool gives.
pub(crate) fn claim_all(registry: &PoolRegistry, id: &str) -> Vec<SlotLease> {
    std::iter::from_fn(|| registry.claim(&pool(id), None).ok()).collect()
}

pub(crate) fn generation(registry: &PoolRegistry) -> u64 {
    registry.replicas()[0].generation
}

/// That many probes of the first replica fail.
pub(crate) fn fail(registry: &PoolRegistry, times: u32) {
    for _ in 0..times {
        let outcome = ProbeOutcome::failed("connection refused");
        registry.probed(&pool("p"), &replica("r0"), generation(registry), outcome);
    }
}

/// A registry with one replica.
pub(crate) fn one_engine(slots: u32) -> PoolRegistry {
    let registry = PoolRegistry::new(vec![pool("p")]);
    registry.upsert(handoff("p", "r0", 8081, slots)).unwrap();
    registry
}
