//! What is said of the engines: one row each, published as a whole.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use pool_registry::PoolRegistry;
use pool_registry_types::{HttpUrl, PoolId, ReplicaId};
use tokio::{sync::watch, time::Instant};

/// Where an engine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It does not run, and nobody wants it to.
    Stopped,
    /// Its process runs, and it does not yet take requests.
    Starting,
    /// It takes requests, and its handoff says so.
    Ready,
    /// It gets no new requests; running ones finish.
    Draining,
    /// It was told to end.
    Stopping,
    /// It does not run, and is started when somebody needs it.
    Sleeping,
    /// It ended or could not be started; it is tried again.
    Backoff,
    /// It is not tried again until somebody asks for it.
    Failed,
}

impl Phase {
    /// Its name in lower case, for logs and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Sleeping => "sleeping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
        }
    }

    /// Nothing runs, and nothing more happens by itself.
    #[must_use]
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Sleeping)
    }

    /// A start has come to its end, good or bad.
    #[must_use]
    pub fn is_settled(self) -> bool {
        self.is_at_rest() || matches!(self, Self::Ready | Self::Backoff)
    }
}

/// One engine. While a replica is being replaced it has two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// Its pool.
    pub pool_id: PoolId,
    /// Which of the pool's replicas it is.
    pub replica_id: ReplicaId,
    /// Where it is in its life.
    pub phase: Phase,
    /// Its process.
    pub pid: Option<u32>,
    /// Where it listens, or will.
    pub url: Option<HttpUrl>,
    /// Since when its process runs, as far as this agent knows; how long is its uptime.
    pub up_since: Option<Instant>,
    /// How often it was started again.
    pub restarts: u64,
    /// It was started by an earlier life of this agent.
    pub adopted: bool,
    /// Why it does not run, with the last lines of its stderr.
    pub last_error: Option<Arc<str>>,
}

/// All rows, and who reads them: those who subscribe, and the registry.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    rows: Arc<Mutex<Rows>>,
    sender: Arc<watch::Sender<Arc<[EngineStatus]>>>,
    registry: PoolRegistry,
}

#[derive(Debug, Default)]
struct Rows {
    next: u64,
    /// In order of their making.
    rows: BTreeMap<u64, EngineStatus>,
    /// What the registry was told.
    absent: BTreeMap<(PoolId, ReplicaId), String>,
}

impl Board {
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

    pub(crate) fn row(&self) -> Row {
        let mut rows = self.rows.lock();
        rows.next += 1;
        Row {
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

/// The replicas of which no engine is ready or offered, and why: as their latest engine says.
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
    for row in (rows.iter()).filter(|row| matches!(row.phase, Phase::Ready | Phase::Sleeping)) {
        absent.remove(&name(row));
    }
    absent
}

/// An engine's row; it goes with the engine.
#[derive(Debug)]
pub(crate) struct Row {
    id: u64,
    board: Board,
}

impl Row {
    pub(crate) fn set(&self, status: EngineStatus) {
        // Published under the lock, so that an older state never replaces a newer one.
        let mut rows = self.board.rows.lock();
        if rows.rows.get(&self.id) != Some(&status) {
            rows.rows.insert(self.id, status);
            self.board.publish(&mut rows);
        }
    }
}

impl Drop for Row {
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

    fn status(replica: &str, phase: Phase, error: Option<&str>) -> EngineStatus {
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
    fn the_registry_hears_of_every_engine_that_is_not_ready() {
        let registry = PoolRegistry::new(Vec::new());
        let board = Board::new(registry.clone());
        let said = || -> Vec<String> {
            let pools = registry.statuses();
            let replicas = pools
                .into_iter()
                .flat_map(|pool| pool.replicas.unwrap_or_default());
            replicas.filter_map(|replica| replica.last_error).collect()
        };
        let (old, new, other) = (board.row(), board.row(), board.row());
        old.set(status("r0", Phase::Ready, None));
        other.set(status("r1", Phase::Backoff, Some("it crashed")));
        assert_eq!(said(), ["backoff: it crashed"]);
        new.set(status("r0", Phase::Starting, None));
        assert_eq!(
            said(),
            ["backoff: it crashed"],
            "the old one serves until the new one does"
        );
        old.set(status("r0", Phase::Draining, None));
        assert_eq!(said(), ["starting", "backoff: it crashed"]);
        assert_eq!(board.subscribe().borrow().len(), 3);
        drop((old, new, other));
        assert!(registry.statuses().is_empty() && board.subscribe().borrow().is_empty());
    }
}
