//! The task that probes every replica of a registry.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use local_limits::{Episode, Turn};
use pool_registry::{EngineKey, PoolRegistry, ProbeOutcome, ReplicaTarget};
use service_runtime::Shutdown;
use tokio::time::{self, Instant};
use tracing::{debug, info, warn};

use crate::{
    changes::log_changes,
    identify::contradiction,
    key_file::read_key,
    kinds::dialect,
    probe::{EngineAt, NotAsked, probe},
    schedule::{Job, Schedule, Timing},
};

/// The most probes at a time. An engine that hangs takes a second; with sixteen at a time, a node
/// of such engines does not delay the others for long.
pub const MAX_CONCURRENT: usize = 16;

/// Probes every replica of a registry and passes the outcomes to the registry.
#[derive(Debug)]
pub struct Prober {
    registry: PoolRegistry,
    timing: Timing,
}

impl Prober {
    /// A prober for the replicas of `registry`.
    #[must_use]
    pub fn new(registry: PoolRegistry) -> Self {
        Self::with_timing(registry, Timing::default())
    }

    /// The same with other intervals.
    #[must_use]
    pub fn with_timing(registry: PoolRegistry, timing: Timing) -> Self {
        Self { registry, timing }
    }

    /// Probes until `shutdown` is requested, then cancels running probes. Run it as one task; it
    /// spawns none.
    pub async fn run(self, shutdown: Shutdown) {
        let mut changes = self.registry.subscribe();
        let mut schedule = Schedule::new(self.timing);
        schedule.sync(&self.registry.replicas(), Instant::now());
        let mut running = FuturesUnordered::new();
        let mut limit = Episode::default();
        loop {
            let room = MAX_CONCURRENT.saturating_sub(running.len());
            for job in schedule.take_due(room, Instant::now()) {
                if self.would_interrupt(&job.target) {
                    schedule.not_asked(&job.target, Instant::now(), drift());
                } else {
                    running.push(self.run_probe(job));
                }
            }
            // At the limit the next probe waits for one to end.
            let next = schedule.next().filter(|_| running.len() < MAX_CONCURRENT);
            tokio::select! {
                () = shutdown.requested() => return,
                // This never fails: `self` holds the registry.
                _ = changes.changed() => schedule.sync(&self.registry.replicas(), Instant::now()),
                Some((target, outcome)) = running.next() => {
                    let not_asked = outcome.as_ref().err();
                    let turn = limit.note(not_asked.is_some(), Instant::now().into_std());
                    log_limit(turn, not_asked);
                    self.apply(&mut schedule, &target, outcome);
                }
                () = time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Whether a probe would disturb a request that the engine serves. The request itself shows
    /// then whether the engine works.
    fn would_interrupt(&self, target: &ReplicaTarget) -> bool {
        let ReplicaTarget {
            pool_id,
            replica_id,
            ..
        } = target;
        dialect(&target.engine).profile().is_asked_when_idle
            && self.registry.in_flight_of_replica(pool_id, replica_id) > 0
    }

    async fn run_probe(&self, job: Job) -> (ReplicaTarget, Result<ProbeOutcome, NotAsked>) {
        let Job { target, scope } = job;
        let key = match self.key(&target).await {
            Ok(key) => key,
            Err(reason) => return (target, Ok(ProbeOutcome::refused(reason))),
        };
        let engine = EngineAt {
            kind: &target.engine,
            url: &target.url,
            key: key.as_ref(),
        };
        let outcome = match probe(engine, scope, self.timing.timeout).await {
            Ok(outcome) if target.verifies_kind && scope.traits && outcome.ready => {
                self.check_kind(engine, outcome).await
            }
            outcome => outcome,
        };
        (target, outcome)
    }

    /// Fails the probe of an engine that is not the announced one.
    async fn check_kind(
        &self,
        engine: EngineAt<'_>,
        outcome: ProbeOutcome,
    ) -> Result<ProbeOutcome, NotAsked> {
        let other = contradiction(engine, &outcome, self.timing.timeout).await?;
        let EngineAt { kind, url, .. } = engine;
        Ok(other.map_or(outcome, |other| {
            ProbeOutcome::refused(format!(
                "{url} was announced as {kind}, but {other}; stop it, or announce it as what it is"
            ))
        }))
    }

    /// The key in the file of the engine, read anew: it may have been replaced.
    async fn key(&self, target: &ReplicaTarget) -> Result<Option<EngineKey>, String> {
        let Some(path) = target.api_key_file.clone() else {
            return Ok(None);
        };
        let key = tokio::task::spawn_blocking(move || read_key(&path))
            .await
            .map_err(|error| format!("api_key_file was not read: {error}"))??;
        let ReplicaTarget {
            pool_id,
            replica_id,
            generation,
            ..
        } = target;
        (self.registry).set_key(pool_id, replica_id, *generation, key.clone());
        Ok(Some(key))
    }

    fn apply(
        &self,
        schedule: &mut Schedule,
        target: &ReplicaTarget,
        outcome: Result<ProbeOutcome, NotAsked>,
    ) {
        debug!(pool = %target.pool_id, replica = %target.replica_id, ?outcome, "probed");
        let Ok(outcome) = outcome else {
            schedule.not_asked(target, Instant::now(), drift());
            return;
        };
        schedule.finished(target, &outcome, Instant::now(), drift());
        let ReplicaTarget {
            pool_id,
            replica_id,
            ..
        } = target;
        let changes = self
            .registry
            .probed(pool_id, replica_id, target.generation, outcome);
        log_changes(pool_id, replica_id, &changes);
    }
}

/// A random part of the jitter, in -1..=1.
fn drift() -> f64 {
    fastrand::f64().mul_add(2.0, -1.0)
}

/// Logs once that this process cannot probe, and once that it can again.
fn log_limit(turn: Option<Turn>, error: Option<&NotAsked>) {
    match turn {
        Some(Turn::Began) => warn!(
            error = error.map(tracing::field::display),
            "Engines cannot be probed, and stay as they are, because this process is at a limit \
             of its own: raise the limit of open files (ulimit -n), or give it more processor time"
        ),
        Some(Turn::Ended) => info!("Engines are probed again"),
        None => {}
    }
}
