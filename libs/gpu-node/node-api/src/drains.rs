//! What an operator has drained, remembered across restarts of the agent.

mod file;
mod writer;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use pool_registry::{DrainTarget, PoolRegistry, UnknownTarget};
use pool_registry_types::{PoolId, ReplicaId};
use serde::Serialize;
use state_file::StateFileError;
use thiserror::Error;

use file::{FILE, Times};
pub use writer::DrainsWriter;
use writer::Pending;

/// How long a change waits until it is on the disk. A healthy disk takes milliseconds; whoever
/// asked for the drain should hear of another one before their own client gives up.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// Why a drain did not begin or end as it should.
#[derive(Debug, Error)]
pub enum DrainError {
    /// The node has no such pool, or the pool no such replica.
    #[error(transparent)]
    Unknown(#[from] UnknownTarget),
    /// It holds now, but not after a restart.
    #[error("it holds now, but {} cannot be written, so a restart of the agent undoes it", .path.display())]
    NotRemembered {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// It holds now; whether it does after a restart is not known yet.
    #[error(
        "it holds now, but {} is not written after {} s, so a restart of the agent may undo it: the disk does not answer",
        .path.display(), .within.as_secs()
    )]
    NotWrittenYet {
        /// The file.
        path: PathBuf,
        /// How long that was waited for.
        within: Duration,
    },
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DrainProgress {
    /// For how long it has been draining, in milliseconds.
    pub for_ms: u64,
    /// How long running requests may still take, in milliseconds; 0 when that is over, null
    /// without a deadline.
    pub deadline_ms: Option<u64>,
    /// Requests that still run.
    pub requests_running: u64,
}

type Remembered = BTreeMap<(PoolId, Option<ReplicaId>), Times>;

/// The drains of pools and replicas.
#[derive(Debug, Default)]
pub struct Drains {
    /// Never held while a file is written.
    remembered: Mutex<Remembered>,
    /// `None` when nobody remembers them.
    pending: Option<Pending>,
}

impl Drains {
    /// Drains that nobody remembers.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Those remembered in `state_dir`, which must exist, and what writes their changes: run it as
    /// a task.
    ///
    /// A damaged file is set aside, and the drains it held are forgotten.
    ///
    /// # Errors
    /// When the file is there and cannot be read just now: taking requests for a pool that was
    /// drained would be worse than not starting.
    pub fn load(state_dir: &Path) -> Result<(Self, DrainsWriter), StateFileError> {
        let path = state_dir.join(FILE);
        let remembered = file::load(&path, unix_ms())?;
        let (pending, writer) = writer::pair(path);
        let drains = Self {
            remembered: Mutex::new(remembered),
            pending: Some(pending),
        };
        Ok((drains, writer))
    }

    /// What is drained, in order.
    #[must_use]
    pub fn targets(&self) -> Vec<DrainTarget> {
        let remembered = self.remembered.lock();
        let targets = remembered
            .keys()
            .cloned()
            .map(|(pool, replica)| match replica {
                None => DrainTarget::Pool(pool),
                Some(replica) => DrainTarget::Replica(pool, replica),
            });
        targets.collect()
    }

    /// Drains a pool of `registry`, or one of its replicas, and returns when that is remembered.
    /// Asking again replaces the deadline.
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
            let mut remembered = self.remembered.lock();
            registry.drain(target)?;
            if let Some(key) = key(target) {
                let now = unix_ms();
                let since_unix_ms = remembered
                    .get(&key)
                    .map_or(now, |before| before.since_unix_ms);
                let deadline_unix_ms =
                    deadline.map(|deadline| now.saturating_add(millis(deadline)));
                let times = Times {
                    since_unix_ms,
                    deadline_unix_ms,
                };
                remembered.insert(key, times);
            }
            self.submit(&remembered)
        };
        self.written(version).await
    }

    /// Puts a pool or a replica back to work, and returns when that is remembered. Idempotent.
    ///
    /// # Errors
    /// When there is no such pool or replica, or the file cannot be written in time.
    pub async fn undrain(
        &self,
        registry: &PoolRegistry,
        target: &DrainTarget,
    ) -> Result<(), DrainError> {
        let version = {
            let mut remembered = self.remembered.lock();
            registry.undrain(target)?;
            if let Some(key) = key(target) {
                remembered.remove(&key);
            }
            self.submit(&remembered)
        };
        self.written(version).await
    }

    /// Hands the whole state to the writer. Called under the lock, so that the file says what came
    /// last.
    fn submit(&self, remembered: &Remembered) -> u64 {
        (self.pending.as_ref()).map_or(0, |pending| pending.submit(file::encode(remembered)))
    }

    async fn written(&self, version: u64) -> Result<(), DrainError> {
        match &self.pending {
            Some(pending) => pending.written(version, WRITE_DEADLINE).await,
            None => Ok(()),
        }
    }

    /// How far the drain of a pool or a replica is; `None` when nobody drains it.
    pub(crate) fn progress(
        &self,
        pool: &PoolId,
        replica: Option<&ReplicaId>,
        requests_running: u64,
    ) -> Option<DrainProgress> {
        let times = *self
            .remembered
            .lock()
            .get(&(pool.clone(), replica.cloned()))?;
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

/// What is remembered of it. The drain of the node is that of its end.
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
