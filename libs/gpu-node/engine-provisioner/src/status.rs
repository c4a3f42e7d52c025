//! The status of all engines: one row per engine, published as a whole.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use pool_registry::PoolRegistry;
use pool_registry_types::{HttpUrl, PoolId, ReplicaId};
use tokio::{sync::watch, time::Instant};

/// The phase of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnginePhase {
    /// It does not run and will not be started.
    Stopped,
    /// Its process runs but does not take requests yet.
    Starting,
    /// It takes requests and has a handoff.
    Ready,
    /// It gets no new requests; running ones finish.
    Draining,
    /// It got a signal to end.
    Stopping,
    /// It does not run, and is started by the first request.
    ScaledToZero,
    /// It ended or could not be started; it is started again after a pause.
    Backoff,
    /// It is not started again until a restart of the pool.
    Failed,
}

impl EnginePhase {
    /// Its name for logs and responses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::ScaledToZero => "scaled to zero",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
        }
    }

    /// Nothing runs, and nothing happens without a command or a request.
    #[must_use]
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::ScaledToZero)
    }

    /// A start has succeeded or failed.
    #[must_use]
    pub fn is_settled(self) -> bool {
        self.is_at_rest() || matches!(self, Self::Ready | Self::Backoff)
    }
}

/// The status of one engine. A replica that is being replaced has two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// Its pool.
    pub pool_id: PoolId,
    /// Which of the pool's replicas it is.
    pub replica_id: ReplicaId,
    /// Its phase.
    pub phase: EnginePhase,
    /// Its process id.
    pub pid: Option<u32>,
    /// Where it listens, or will.
    pub url: Option<HttpUrl>,
    /// When this agent started or adopted its process.
    pub up_since: Option<Instant>,
    /// How often it was started again.
    pub restarts: u64,
    /// An earlier agent started it.
    pub adopted: bool,
    /// Why it does not run, with the last lines of its stderr.
    pub last_error: Option<Arc<str>>,
}

/// The status of all engines. Published to subscribers, and to the registry.
#[derive(Debug, Clone)]
pub(crate) struct StatusBoard {
    rows: Arc<Mutex<Rows>>,
    sender: Arc<watch::Sender<Arc<[EngineStatus]>>>,
    registry: PoolRegistry,
}

#[derive(Debug, Default)]
struct Rows {
    next: u64,
    /// In order of creation.
    rows: BTreeMap<u64, EngineStatus>,
    /// The absent replicas that the registry knows.
    absent: BTreeMap<(PoolId, ReplicaId), String>,
}

impl StatusBoard {
    pub(crate) fn new(registry: PoolRegistry) -> Self {
        Self {
            rows: Arc::default(),
            sender: Arc::new(watch::Sender::new(Arc::from([]))),
            registry,
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<[EngineStatus]>> {
        self.sender.subscribe()
    }

    pub(crate) fn row(&self) -> StatusRow {
        let mut rows = self.rows.lock();
        rows.next += 1;
        StatusRow {
            id: rows.next,
            board: self.clone(),
        }
    }

    fn publish(&self, rows: &mut Rows) {
        let mut all: Vec<EngineStatus> = rows.rows.values().cloned().collect();
        let absent = absent(&all);
        for (pool, replica) in rows.absent.keys().filter(|name| !absent.contains_key(name)) {
            self.registry.set_absent(pool, replica, None);
        }
        for ((pool, replica), reason) in &absent {
            self.registry
                .set_absent(pool, replica, Some(reason.clone()));
        }
        rows.absent = absent;
        all.sort_by(|a, b| (&a.pool_id, &a.replica_id).cmp(&(&b.pool_id, &b.replica_id)));
        self.sender.send_replace(all.into());
    }
}

/// The replicas without an engine that is ready or offered, with the reason of their latest engine.
fn absent(rows: &[EngineStatus]) -> BTreeMap<(PoolId, ReplicaId), String> {
    let name = |row: &EngineStatus| (row.pool_id.clone(), row.replica_id.clone());
    let mut absent = BTreeMap::new();
    for row in rows {
        let reason = match &row.last_error {
            Some(error) => format!("{}: {error}", row.phase.as_str()),
            None => row.phase.as_str().to_owned(),
        };
        absent.insert(name(row), reason);
    }
    for row in (rows.iter())
        .filter(|row| matches!(row.phase, EnginePhase::Ready | EnginePhase::ScaledToZero))
    {
        absent.remove(&name(row));
    }
    absent
}

/// The row of an engine; dropping it removes the row.
#[derive(Debug)]
pub(crate) struct StatusRow {
    id: u64,
    board: StatusBoard,
}

impl StatusRow {
    pub(crate) fn set(&self, status: EngineStatus) {
        // Publish under the lock, so that an older state never replaces a newer one.
        let mut rows = self.board.rows.lock();
        if rows.rows.get(&self.id) != Some(&status) {
            rows.rows.insert(self.id, status);
            self.board.publish(&mut rows);
        }
    }
}

impl Drop for StatusRow {
    fn drop(&mut self) {
        let mut rows = self.board.rows.lock();
        if rows.rows.remove(&self.id).is_some() {
            self.board.publish(&mut rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(replica: &str, phase: EnginePhase, error: Option<&str>) -> EngineStatus {
        EngineStatus {
            pool_id: PoolId::new("p").unwrap(),
            replica_id: ReplicaId::new(replica).unwrap(),
            phase,
            pid: None,
            url: None,
            up_since: None,
            restarts: 0,
            adopted: false,
            last_error: error.map(Arc::from),
        }
    }

    #[test]
    fn the_registry_knows_every_engine_that_is_not_ready() {
        let registry = PoolRegistry::new(Vec::new());
        let board = StatusBoard::new(registry.clone());
        let errors = || -> Vec<String> {
            let pools = registry.statuses();
            let replicas = pools
                .into_iter()
                .flat_map(|pool| pool.replicas.unwrap_or_default());
            let errors = replicas.filter_map(|replica| replica.last_error);
            errors.map(|error| error.to_string()).collect()
        };
        let (old, new, other) = (board.row(), board.row(), board.row());
        old.set(status("r0", EnginePhase::Ready, None));
        other.set(status("r1", EnginePhase::Backoff, Some("it crashed")));
        assert_eq!(errors(), ["backoff: it crashed"]);
        new.set(status("r0", EnginePhase::Starting, None));
        assert_eq!(
            errors(),
            ["backoff: it crashed"],
            "the old engine serves until the new one does"
        );
        old.set(status("r0", EnginePhase::Draining, None));
        assert_eq!(errors(), ["starting", "backoff: it crashed"]);
        assert_eq!(board.subscribe().borrow().len(), 3);
        drop((old, new, other));
        assert!(registry.statuses().is_empty() && board.subscribe().borrow().is_empty());
    }
}
