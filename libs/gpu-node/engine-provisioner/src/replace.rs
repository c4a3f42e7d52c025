//! New engines in the place of old ones, without a gap where that is possible, and without loss
//! where it is not.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{HttpUrl, ReplicaId};
use thiserror::Error;

use crate::{
    Phase, PoolSpec, UnknownPool,
    engine::{Begin, EngineHandle, Wish},
    preflight::vram_needed,
    provisioner::{Crew, Pool},
    waiting,
};

/// How long it may take until a handoff that was written is known: many times the pause between two
/// full reads of the directory.
const OFFERED_WITHIN: Duration = Duration::from_secs(10);

/// Why a change of a pool did not come about. The pool is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// The pool file has no such pool.
    #[error(transparent)]
    UnknownPool(#[from] UnknownPool),
    /// A new engine did not become ready.
    #[error("the new engine of {replica_id} did not become ready, so the old one stays: {reason}")]
    NotReady {
        /// Which replica.
        replica_id: ReplicaId,
        /// In its words.
        reason: Arc<str>,
    },
    /// An engine did not come back from its restart. It is tried again like any other; those after
    /// it are untouched.
    #[error(
        "{replica_id} did not become ready after its restart, so no further engine was restarted: \
         {reason}"
    )]
    NotBack {
        /// Which replica.
        replica_id: ReplicaId,
        /// In its words.
        reason: Arc<str>,
    },
    /// All engines are being stopped.
    #[error("the engines are being stopped")]
    Stopping,
}

/// Restarts every engine of `pool`, one after the other, so that a pool of several never goes dark.
/// Those that do not serve come first: they make nothing darker. One that sleeps starts afresh
/// anyway.
pub(crate) async fn restart(crew: &Crew, pool: &mut Pool) -> Result<(), ChangeError> {
    let (serving, others): (Vec<_>, Vec<_>) = (pool.replicas.iter())
        .filter(|(_, engine)| !engine.sleeps())
        .partition(|(_, engine)| engine.serves());
    for (replica_id, engine) in others.into_iter().chain(serving) {
        if crew.stopping.is_requested() {
            return Err(ChangeError::Stopping);
        }
        engine.wish(Wish::Restart).await;
        let seen = until(crew, engine, Phase::is_settled).await?;
        let (Phase::Ready, Some(url)) = (seen.phase, &seen.url) else {
            return Err(ChangeError::NotBack {
                replica_id: replica_id.clone(),
                reason: seen
                    .last_error
                    .unwrap_or_else(|| seen.phase.as_str().into()),
            });
        };
        offered(crew, url).await?;
    }
    Ok(())
}

/// Waits until requests go to the engine at `url`: the next one is not to stop before.
async fn offered(crew: &Crew, url: &HttpUrl) -> Result<(), ChangeError> {
    tokio::select! {
        biased;
        () = crew.stopping.requested() => Err(ChangeError::Stopping),
        // One that crashes meanwhile, or that nobody reads handoffs for, does not hold the others up for ever.
        _ = tokio::time::timeout(OFFERED_WITHIN, waiting::offered(&crew.shared.registry, url)) => Ok(()),
    }
}

/// Replaces every engine of `pool` by one of `spec`, or none.
pub(crate) async fn reload(
    crew: &Crew,
    pool: &mut Pool,
    spec: Arc<PoolSpec>,
) -> Result<(), ChangeError> {
    let before = pool.spec.clone();
    crew.shared.cpu.declare(&spec);
    let common: Vec<ReplicaId> = (spec.replica_ids())
        .filter(|replica_id| pool.replicas.contains_key(replica_id))
        .collect();
    for (index, replica_id) in common.iter().enumerate() {
        if let Err(error) = replace(crew, pool, replica_id, &spec).await {
            crew.shared.cpu.declare(&before);
            for replica_id in common.iter().take(index) {
                go_back(crew, pool, replica_id, &before).await;
            }
            return Err(error);
        }
    }
    for replica_id in spec.replica_ids() {
        let start = || crew.supervise(&spec, replica_id.clone(), Begin::Start);
        pool.replicas
            .entry(replica_id.clone())
            .or_insert_with(start);
    }
    let surplus: Vec<ReplicaId> = (before.replica_ids())
        .filter(|replica_id| !spec.replica_ids().any(|kept| kept == *replica_id))
        .collect();
    for replica_id in surplus {
        // Without its handle an engine ends in order.
        pool.replicas.remove(&replica_id);
    }
    pool.spec = spec;
    Ok(())
}

async fn go_back(crew: &Crew, pool: &mut Pool, replica_id: &ReplicaId, before: &Arc<PoolSpec>) {
    if let Err(error) = replace(crew, pool, replica_id, before).await {
        let pool_id = &before.pool_id;
        tracing::warn!(%pool_id, %replica_id, %error, "cannot go back after a failed reload; restart the pool");
    }
}

async fn replace(
    crew: &Crew,
    pool: &mut Pool,
    replica_id: &ReplicaId,
    spec: &Arc<PoolSpec>,
) -> Result<(), ChangeError> {
    let Some(old) = pool.replicas.get(replica_id) else {
        return Ok(());
    };
    if !fits_beside(crew, &old.spec, spec).await {
        return replace_in_place(crew, pool, replica_id, spec).await;
    }
    let new = on_trial(crew, replica_id, spec).await?;
    // The new one announced itself in the place of the old one, which now only finishes what it has
    // begun.
    match pool.replicas.insert(replica_id.clone(), new) {
        Some(old) => stop(crew, &old).await,
        None => Ok(()),
    }
}

async fn replace_in_place(
    crew: &Crew,
    pool: &mut Pool,
    replica_id: &ReplicaId,
    spec: &Arc<PoolSpec>,
) -> Result<(), ChangeError> {
    let Some(old) = pool.replicas.get(replica_id) else {
        return Ok(());
    };
    stop(crew, old).await?;
    let before = old.spec.clone();
    match on_trial(crew, replica_id, spec).await {
        Ok(new) => {
            let url = new.url();
            pool.replicas.insert(replica_id.clone(), new);
            match url {
                Some(url) => offered(crew, &url).await,
                None => Ok(()),
            }
        }
        Err(ChangeError::Stopping) => Err(ChangeError::Stopping),
        Err(error) => {
            let again = crew.supervise(&before, replica_id.clone(), Begin::Start);
            pool.replicas.insert(replica_id.clone(), again);
            if let Some(again) = pool.replicas.get(replica_id) {
                until(crew, again, Phase::is_settled).await?;
            }
            Err(error)
        }
    }
}

/// Whether an engine of `new` can run while one of `old` does.
async fn fits_beside(crew: &Crew, old: &PoolSpec, new: &Arc<PoolSpec>) -> bool {
    if new.port.is_some() && new.port == old.port {
        return false;
    }
    let (vram, new) = (crew.shared.vram.clone(), new.clone());
    let span = tracing::Span::current();
    let promise = tokio::task::spawn_blocking(move || {
        let promised = || vram.promise(new.device_mask.as_deref(), vram_needed(&new));
        span.in_scope(promised).is_ok()
    });
    promise.await.unwrap_or(false)
}

/// Starts an engine and waits until it is ready. One that does not become so is ended.
async fn on_trial(
    crew: &Crew,
    replica_id: &ReplicaId,
    spec: &Arc<PoolSpec>,
) -> Result<EngineHandle, ChangeError> {
    if crew.stopping.is_requested() {
        return Err(ChangeError::Stopping);
    }
    let engine = crew.supervise(spec, replica_id.clone(), Begin::OnTrial);
    let seen = until(crew, &engine, Phase::is_settled).await?;
    if seen.phase == Phase::Ready {
        return Ok(engine);
    }
    Err(ChangeError::NotReady {
        replica_id: replica_id.clone(),
        reason: seen
            .last_error
            .unwrap_or_else(|| seen.phase.as_str().into()),
    })
}

async fn stop(crew: &Crew, engine: &EngineHandle) -> Result<(), ChangeError> {
    engine.wish(Wish::Stop).await;
    until(crew, engine, Phase::is_at_rest).await.map(drop)
}

async fn until(
    crew: &Crew,
    engine: &EngineHandle,
    reached: fn(Phase) -> bool,
) -> Result<crate::engine::Seen, ChangeError> {
    tokio::select! {
        biased;
        () = crew.stopping.requested() => Err(ChangeError::Stopping),
        seen = engine.until(reached) => Ok(seen),
    }
}
