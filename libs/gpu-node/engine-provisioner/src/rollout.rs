//! Restarts and reloads of a pool: one engine after the other, without a gap where possible, and
//! without losing requests.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{HttpUrl, ReplicaId};

use crate::{
    engine::EngineStart,
    engine_handle::{EngineCommand, EngineHandle, EngineSnapshot},
    error::ChangeError,
    preflight::vram_needed,
    spec::PoolSpec,
    status::EnginePhase,
    supervisor::{ManagedPool, Supervisor},
    wait,
};

/// How long it may take until a written handoff is in the registry: many times the interval of
/// polls.
const OFFERED_WITHIN: Duration = Duration::from_secs(10);

/// Restarts every engine of `pool`, one after the other, so that a pool with several engines always
/// has some. Engines that do not serve come first. Engines that are scaled to zero are skipped:
/// they start afresh anyway.
pub(crate) async fn restart(
    supervisor: &Supervisor,
    pool: &mut ManagedPool,
) -> Result<(), ChangeError> {
    let (serving, others): (Vec<_>, Vec<_>) = (pool.replicas.iter())
        .filter(|(_, engine)| !engine.is_scaled_to_zero())
        .partition(|(_, engine)| engine.is_ready());
    for (replica_id, engine) in others.into_iter().chain(serving) {
        if supervisor.stopping.is_requested() {
            return Err(ChangeError::Stopping);
        }
        engine.send(EngineCommand::Restart).await;
        let snapshot = wait_until(supervisor, engine, EnginePhase::is_settled).await?;
        let (EnginePhase::Ready, Some(url)) = (snapshot.phase, &snapshot.url) else {
            return Err(ChangeError::NotBack {
                replica_id: replica_id.clone(),
                reason: snapshot.reason(),
            });
        };
        wait_offered(supervisor, url).await?;
    }
    Ok(())
}

/// Waits until the registry sends requests to the engine at `url`, before the next one is stopped.
async fn wait_offered(supervisor: &Supervisor, url: &HttpUrl) -> Result<(), ChangeError> {
    let offered = wait::offered(&supervisor.context.registry, url);
    tokio::select! {
        biased;
        () = supervisor.stopping.requested() => Err(ChangeError::Stopping),
        // After this time the engine has crashed, or its handoff is not read. Do not block the
        // others.
        _ = tokio::time::timeout(OFFERED_WITHIN, offered) => Ok(()),
    }
}

/// Replaces every engine of `pool` with one of `spec`, or none.
pub(crate) async fn reload(
    supervisor: &Supervisor,
    pool: &mut ManagedPool,
    spec: Arc<PoolSpec>,
) -> Result<(), ChangeError> {
    let before = pool.spec.clone();
    supervisor.context.cpu.set_pool(&spec);
    let common: Vec<ReplicaId> = (spec.replica_ids())
        .filter(|replica_id| pool.replicas.contains_key(replica_id))
        .collect();
    for (index, replica_id) in common.iter().enumerate() {
        if let Err(error) = replace(supervisor, pool, replica_id, &spec).await {
            supervisor.context.cpu.set_pool(&before);
            for replica_id in common.iter().take(index) {
                roll_back(supervisor, pool, replica_id, &before).await;
            }
            return Err(error);
        }
    }
    for replica_id in spec.replica_ids() {
        let start = || supervisor.supervise(&spec, replica_id.clone(), EngineStart::Start);
        pool.replicas
            .entry(replica_id.clone())
            .or_insert_with(start);
    }
    let surplus: Vec<ReplicaId> = (before.replica_ids())
        .filter(|replica_id| !spec.replica_ids().any(|kept| kept == *replica_id))
        .collect();
    for replica_id in surplus {
        // Dropping the handle stops the engine.
        pool.replicas.remove(&replica_id);
    }
    (supervisor.context.registry).set_queue_timeout(&spec.pool_id, spec.queue_timeout);
    pool.spec = spec;
    Ok(())
}

async fn roll_back(
    supervisor: &Supervisor,
    pool: &mut ManagedPool,
    replica_id: &ReplicaId,
    before: &Arc<PoolSpec>,
) {
    if let Err(error) = replace(supervisor, pool, replica_id, before).await {
        let pool_id = &before.pool_id;
        tracing::warn!(
            %pool_id, %replica_id, %error,
            "cannot roll back after a failed reload; restart the pool"
        );
    }
}

async fn replace(
    supervisor: &Supervisor,
    pool: &mut ManagedPool,
    replica_id: &ReplicaId,
    spec: &Arc<PoolSpec>,
) -> Result<(), ChangeError> {
    let Some(old) = pool.replicas.get(replica_id) else {
        return Ok(());
    };
    if !fits_beside(supervisor, &old.spec, spec).await {
        return replace_in_place(supervisor, pool, replica_id, spec).await;
    }
    let new = start_candidate(supervisor, replica_id, spec).await?;
    // The handoff of the new engine has replaced that of the old one, which only finishes its
    // running requests.
    match pool.replicas.insert(replica_id.clone(), new) {
        Some(old) => stop(supervisor, &old).await,
        None => Ok(()),
    }
}

async fn replace_in_place(
    supervisor: &Supervisor,
    pool: &mut ManagedPool,
    replica_id: &ReplicaId,
    spec: &Arc<PoolSpec>,
) -> Result<(), ChangeError> {
    let Some(old) = pool.replicas.get(replica_id) else {
        return Ok(());
    };
    stop(supervisor, old).await?;
    let before = old.spec.clone();
    match start_candidate(supervisor, replica_id, spec).await {
        Ok(new) => {
            let url = new.url();
            pool.replicas.insert(replica_id.clone(), new);
            match url {
                Some(url) => wait_offered(supervisor, &url).await,
                None => Ok(()),
            }
        }
        Err(ChangeError::Stopping) => Err(ChangeError::Stopping),
        Err(error) => {
            let again = supervisor.supervise(&before, replica_id.clone(), EngineStart::Start);
            pool.replicas.insert(replica_id.clone(), again);
            if let Some(again) = pool.replicas.get(replica_id) {
                wait_until(supervisor, again, EnginePhase::is_settled).await?;
            }
            Err(error)
        }
    }
}

/// Whether an engine of `new` can run while one of `old` does.
async fn fits_beside(supervisor: &Supervisor, old: &PoolSpec, new: &Arc<PoolSpec>) -> bool {
    if new.port.is_some() && new.port == old.port {
        return false;
    }
    let (vram, new) = (supervisor.context.vram.clone(), new.clone());
    let span = tracing::Span::current();
    let reservation = tokio::task::spawn_blocking(move || {
        let reserve = || vram.reserve(new.device_mask.as_deref(), vram_needed(&new));
        span.in_scope(reserve).is_ok()
    });
    reservation.await.unwrap_or(false)
}

/// Starts an engine and waits until it is ready. If it does not become ready, it is stopped.
async fn start_candidate(
    supervisor: &Supervisor,
    replica_id: &ReplicaId,
    spec: &Arc<PoolSpec>,
) -> Result<EngineHandle, ChangeError> {
    if supervisor.stopping.is_requested() {
        return Err(ChangeError::Stopping);
    }
    let engine = supervisor.supervise(spec, replica_id.clone(), EngineStart::Candidate);
    let snapshot = wait_until(supervisor, &engine, EnginePhase::is_settled).await?;
    if snapshot.phase == EnginePhase::Ready {
        return Ok(engine);
    }
    Err(ChangeError::NotReady {
        replica_id: replica_id.clone(),
        reason: snapshot.reason(),
    })
}

async fn stop(supervisor: &Supervisor, engine: &EngineHandle) -> Result<(), ChangeError> {
    engine.send(EngineCommand::Stop).await;
    let stopped = wait_until(supervisor, engine, EnginePhase::is_at_rest).await;
    stopped.map(drop)
}

async fn wait_until(
    supervisor: &Supervisor,
    engine: &EngineHandle,
    reached: fn(EnginePhase) -> bool,
) -> Result<EngineSnapshot, ChangeError> {
    tokio::select! {
        biased;
        () = supervisor.stopping.requested() => Err(ChangeError::Stopping),
        snapshot = engine.wait_until(reached) => Ok(snapshot),
    }
}
