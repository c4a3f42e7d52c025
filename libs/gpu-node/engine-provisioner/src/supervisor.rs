//! Starts, adopts and stops engines, and holds the engines of each pool.

use std::{collections::BTreeMap, sync::Arc};

use pool_registry_types::ReplicaId;
use service_runtime::{Shutdown, Tasks};

use crate::{
    adoption::SurvivingEngine,
    context::Context,
    engine::{EngineStart, supervise},
    engine_handle::EngineHandle,
    running_engine::RunningEngine,
    spec::PoolSpec,
};

/// A pool and its engines.
#[derive(Debug)]
pub(crate) struct ManagedPool {
    pub(crate) spec: Arc<PoolSpec>,
    pub(crate) replicas: BTreeMap<ReplicaId, EngineHandle>,
}

/// Runs the tasks of engines.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) context: Arc<Context>,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: Shutdown,
    /// Requested when all engines are to be stopped.
    pub(crate) stopping: Shutdown,
}

impl Supervisor {
    pub(crate) fn supervise(
        &self,
        spec: &Arc<PoolSpec>,
        replica_id: ReplicaId,
        start: EngineStart,
    ) -> EngineHandle {
        let shutdown = self.shutdown.clone();
        let spec = spec.clone();
        supervise(
            &self.context,
            spec,
            replica_id,
            start,
            &self.tasks,
            shutdown,
        )
    }

    pub(crate) fn adopt(&self, engine: SurvivingEngine) -> RunningEngine {
        let SurvivingEngine {
            file,
            record,
            process,
        } = engine;
        tracing::info!(
            pool_id = %record.pool_id, replica_id = %record.replica_id, pid = process.pid,
            url = %record.url, "Engine of an earlier agent adopted"
        );
        RunningEngine::adopt(&self.context, file, record, process)
    }

    /// Stops an engine of an earlier agent that the pool file no longer has.
    pub(crate) fn stop_unwanted(&self, engine: SurvivingEngine, spec: Option<&PoolSpec>) {
        let SurvivingEngine {
            file,
            record,
            process,
        } = engine;
        let (pool_id, replica_id) = (record.pool_id.clone(), record.replica_id.clone());
        tracing::info!(
            %pool_id, %replica_id, pid = process.pid,
            "Engine of an earlier agent is no longer in the pool file and is stopped"
        );
        let spec = spec
            .cloned()
            .unwrap_or_else(|| PoolSpec::removed(pool_id, record.engine.clone()));
        let running = RunningEngine::adopt(&self.context, file, record, process);
        // Dropping the handle stops the engine.
        let start = EngineStart::Adopt(Box::new(running));
        drop(self.supervise(&Arc::new(spec), replica_id, start));
    }
}
