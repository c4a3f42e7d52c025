//! Applies handoff events to the pool registry.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use engine_probe::read_key;
use handoff_watcher::HandoffEvent;
use pool_registry::PoolRegistry;
use pool_registry_types::{Handoff, KnownEngine, PoolId, ReplicaId};

/// Keeps a registry in step with the handoff files.
#[derive(Debug)]
pub(crate) struct HandoffApplier {
    registry: PoolRegistry,
    /// The file of each handoff that the registry itself refused.
    refused: HashMap<(PoolId, ReplicaId), PathBuf>,
}

impl HandoffApplier {
    pub(crate) fn new(registry: PoolRegistry) -> Self {
        Self {
            registry,
            refused: HashMap::new(),
        }
    }

    pub(crate) fn apply(&mut self, event: HandoffEvent) {
        match event {
            HandoffEvent::Appeared { path, handoff, .. } => self.upsert(path, handoff),
            HandoffEvent::Changed { path, new, .. } => self.upsert(path, new),
            HandoffEvent::Gone { path, handoff, .. } => {
                let (pool_id, replica_id) = (&handoff.pool_id, &handoff.replica_id);
                let path = path.display();
                tracing::info!(
                    %pool_id, %replica_id, %path, "Handoff removed, retiring the replica"
                );
                self.registry.remove(pool_id, replica_id);
                self.clear_refusal(pool_id, replica_id);
            }
            HandoffEvent::Refused { path, reason, .. } => {
                tracing::warn!(
                    path = %path.display(), %reason,
                    "Handoff refused; correct or remove the file"
                );
                (self.registry).set_refused(&path.to_string_lossy(), Some(&reason.to_string()));
            }
            HandoffEvent::Resolved { path, .. } => {
                tracing::info!(path = %path.display(), "Handoff is not refused any more");
                self.registry.set_refused(&path.to_string_lossy(), None);
            }
            _ => {}
        }
    }

    fn upsert(&mut self, path: PathBuf, handoff: Handoff) {
        tracing::info!(
            pool_id = %handoff.pool_id,
            replica_id = %handoff.replica_id,
            engine = %handoff.engine,
            url = %handoff.url,
            slots = handoff.slots(),
            "Handoff detected, updating registry"
        );
        let (pool_id, replica_id) = (handoff.pool_id.clone(), handoff.replica_id.clone());
        self.clear_refusal(&pool_id, &replica_id);
        warn_of_unknown_kind(&handoff, &path);
        let key = handoff.api_key_file.as_deref().map(read_key).transpose();
        if let Err(reason) = &key {
            tracing::warn!(%pool_id, %replica_id, %reason, "Engine without a key gets no requests");
        }
        if let Err(error) = self.registry.upsert_with_key(handoff, key) {
            tracing::warn!(
                %pool_id, %replica_id, %error, path = %path.display(),
                "Handoff refused; remove handoffs that this node cannot report"
            );
            (self.registry).set_refused(&path.to_string_lossy(), Some(&error.to_string()));
            self.refused.insert((pool_id, replica_id), path);
        }
    }

    /// Forgets that the registry refused the handoff of a replica.
    fn clear_refusal(&mut self, pool_id: &PoolId, replica_id: &ReplicaId) {
        let key = (pool_id.clone(), replica_id.clone());
        if let Some(path) = self.refused.remove(&key) {
            self.registry.set_refused(&path.to_string_lossy(), None);
        }
    }
}

/// An unknown kind may be a typing error. Its engine is asked like any server with the OpenAI API.
fn warn_of_unknown_kind(handoff: &Handoff, path: &Path) {
    if handoff.engine.known().is_none() {
        tracing::warn!(
            pool_id = %handoff.pool_id,
            replica_id = %handoff.replica_id,
            engine = %handoff.engine,
            path = %path.display(),
            "The kind of engine is not known, so only its models are asked for; if it is one of \
             {}, correct `engine`; otherwise write `openai`",
            KnownEngine::names()
        );
    }
}
