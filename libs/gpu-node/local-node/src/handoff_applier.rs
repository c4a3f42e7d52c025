//! Applies what directories and scans announce to the pool registry.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use engine_probe::read_key;
use handoff_watcher::HandoffEvent;
use pool_registry::PoolRegistry;
use pool_registry_types::{Handoff, HttpUrl, KnownEngine, PoolId, ReplicaId};

use crate::handoff_merge::{HandoffMerge, MergeAction, Source};

/// The place of an engine that no file announces.
const SCAN: &str = "a scan of this machine";

/// Keeps a registry in step with the handoff files and with what scans find.
#[derive(Debug)]
pub(crate) struct HandoffApplier {
    registry: PoolRegistry,
    merge: HandoffMerge,
    /// The file of each handoff that the registry itself refused.
    refused: HashMap<(PoolId, ReplicaId), PathBuf>,
}

impl HandoffApplier {
    pub(crate) fn new(registry: PoolRegistry) -> Self {
        Self {
            registry,
            merge: HandoffMerge::default(),
            refused: HashMap::new(),
        }
    }

    /// Applies an event of a directory.
    pub(crate) fn apply(&mut self, source: Source, event: HandoffEvent) {
        let actions = self.merge.apply(source, event);
        self.carry_out(actions);
    }

    /// Offers an engine that a scan has found.
    pub(crate) fn offer(&mut self, handoff: Handoff) {
        let actions = self.merge.claim(Source::Scan, SCAN.into(), handoff);
        self.carry_out(actions);
    }

    /// Withdraws an engine that a scan has offered.
    pub(crate) fn withdraw(&mut self, handoff: &Handoff) {
        let actions = self.merge.withdraw(Source::Scan, handoff);
        self.carry_out(actions);
    }

    /// The URLs in the files of both directories.
    pub(crate) fn urls_of_files(&self) -> Vec<HttpUrl> {
        self.merge.urls_of_files()
    }

    fn carry_out(&mut self, actions: Vec<MergeAction>) {
        for action in actions {
            match action {
                MergeAction::Upsert(source, path, handoff) => self.upsert(source, path, handoff),
                MergeAction::Remove(handoff) => {
                    let (pool_id, replica_id) = (&handoff.pool_id, &handoff.replica_id);
                    tracing::info!(
                        %pool_id, %replica_id, url = %handoff.url,
                        "Handoff removed, retiring the replica"
                    );
                    self.registry.remove(pool_id, replica_id);
                    self.clear_refusal(pool_id, replica_id);
                }
                MergeAction::Refuse(path, reason) => {
                    tracing::warn!(
                        path = %path.display(), %reason,
                        "Handoff refused; correct or remove the file"
                    );
                    (self.registry).set_refused(&path.to_string_lossy(), Some(&reason));
                }
                MergeAction::Resolve(path) => {
                    tracing::info!(path = %path.display(), "Handoff is not refused any more");
                    self.registry.set_refused(&path.to_string_lossy(), None);
                }
            }
        }
    }

    fn upsert(&mut self, source: Source, path: PathBuf, handoff: Handoff) {
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
        if let Err(error) = self.registry.upsert_as(handoff, key, source.trust()) {
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
