//! Drained pools and replicas, stored across restarts of the agent.

mod error;
mod file;
mod writer;

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use pool_registry::{DrainTarget, PoolRegistry};
use pool_registry_types::{PoolId, ReplicaId};
use serde::Serialize;
use state_file::StateFileError;

pub use error::DrainError;
use file::{DrainTable, DrainTimes, FILE};
pub use writer::DrainsWriter;
use writer::WriteQueue;

/// How long a change waits for the disk. A healthy disk takes milliseconds; with another one the
/// operator gets an error before the client's own timeout.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// The progress of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DrainProgress {
    /// The duration so far, in milliseconds.
    pub for_ms: u64,
    /// The time left for running requests, in milliseconds; 0 after the deadline, null without
    /// one.
    pub deadline_ms: Option<u64>,
    /// Running requests.
    pub requests_running: u64,
}

/// The drains of pools and replicas.
#[derive(Debug, Default)]
pub struct Drains {
    /// Never held while a file is written.
    table: Mutex<DrainTable>,
    /// `None` when drains are not stored.
    queue: Option<WriteQueue>,
}

impl Drains {
    /// Drains that are not stored.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Loads the drains of `state_dir`, which must exist. The writer stores changes: run it as a
    /// task.
    ///
    /// A damaged file is set aside, and its drains are lost.
    ///
    /// # Errors
    /// When the file exists and cannot be read now. Not starting is better than accepting requests
    /// for a drained pool.
    pub fn load(state_dir: &Path) -> Result<(Self, DrainsWriter), StateFileError> {
        let path = state_dir.join(FILE);
        let table = file::load(&path, unix_ms())?;
        let (queue, writer) = writer::pair(path);
        let drains = Self {
            table: Mutex::new(table),
            queue: Some(queue),
        };
        Ok((drains, writer))
    }

    /// The drained targets, sorted.
    #[must_use]
    pub fn targets(&self) -> Vec<DrainTarget> {
        let table = self.table.lock();
        let targets = table.keys().cloned().map(|(pool, replica)| match replica {
            None => DrainTarget::Pool(pool),
            Some(replica) => DrainTarget::Replica(pool, replica),
        });
        targets.collect()
    }

    /// Drains a pool of `registry`, or one of its replicas, and returns when that is stored. A
    /// repeated call replaces the deadline.
    ///
    /// # Errors
    /// When there is no such pool or replica, or the file cannot be written in time.
    pub async fn drain(
        &self,
        registry: &PoolRegistry,
        target: &DrainTarget,
        deadline: Option<Duration>,
    ) -> Result<(), DrainError> {
        let version = {
            let mut table = self.table.lock();
            registry.drain(target)?;
            if let Some(key) = key(target) {
                let now = unix_ms();
                let since_unix_ms = table.get(&key).map_or(now, |before| before.since_unix_ms);
                let deadline_unix_ms =
                    deadline.map(|deadline| now.saturating_add(millis(deadline)));
                let times = DrainTimes {
                    since_unix_ms,
                    deadline_unix_ms,
                };
                table.insert(key, times);
            }
            self.submit(&table)
        };
        self.written(version).await
    }

    /// Ends the drain of a pool or a replica, and returns when that is stored. Idempotent.
    ///
    /// # Errors
    /// When there is no such pool or replica, or the file cannot be written in time.
    pub async fn undrain(
        &self,
        registry: &PoolRegistry,
        target: &DrainTarget,
    ) -> Result<(), DrainError> {
        let version = {
            let mut table = self.table.lock();
            registry.undrain(target)?;
            if let Some(key) = key(target) {
                table.remove(&key);
            }
            self.submit(&table)
        };
        self.written(version).await
    }

    /// Gives the whole state to the writer. Called under the lock, so that states stay in order.
    fn submit(&self, table: &DrainTable) -> u64 {
        (self.queue.as_ref()).map_or(0, |queue| queue.submit(file::encode(table)))
    }

    async fn written(&self, version: u64) -> Result<(), DrainError> {
        match &self.queue {
            Some(queue) => queue.written(version, WRITE_DEADLINE).await,
            None => Ok(()),
        }
    }

    /// The progress of a drain; `None` when the pool or replica is not drained.
    pub(crate) fn progress(
        &self,
        pool: &PoolId,
        replica: Option<&ReplicaId>,
        requests_running: u64,
    ) -> Option<DrainProgress> {
        let times = *self.table.lock().get(&(pool.clone(), replica.cloned()))?;
        let now = unix_ms();
        Some(DrainProgress {
            for_ms: now.saturating_sub(times.since_unix_ms),
            deadline_ms: times
                .deadline_unix_ms
                .map(|deadline| deadline.saturating_sub(now)),
            requests_running,
        })
    }
}

/// The key of a stored drain. A drain of the whole node is not stored, because it ends the process.
fn key(target: &DrainTarget) -> Option<(PoolId, Option<ReplicaId>)> {
    match target {
        DrainTarget::Node => None,
        DrainTarget::Pool(pool) => Some((pool.clone(), None)),
        DrainTarget::Replica(pool, replica) => Some((pool.clone(), Some(replica.clone()))),
    }
}

fn unix_ms() -> u64 {
    millis(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
