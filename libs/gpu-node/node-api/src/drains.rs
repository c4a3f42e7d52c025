//! What an operator has drained, remembered across restarts of the agent.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use pool_registry::{DrainTarget, PoolRegistry, UnknownTarget};
use pool_registry_types::{PoolId, ReplicaId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The file's name in the state directory.
const FILE: &str = "drained-pools.json";

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
        source: io::Error,
    },
}

/// The content of the file. Unknown fields are ignored, so that an older agent can follow a newer one.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// Drained pools, for agents that know nothing else.
    #[serde(default)]
    pools: Vec<PoolId>,
    #[serde(default)]
    drains: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    pool_id: PoolId,
    /// Without it the whole pool is drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    replica_id: Option<ReplicaId>,
    #[serde(flatten)]
    times: Times,
}

/// By the calendar, so that they mean the same after a restart, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Times {
    since_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_unix_ms: Option<u64>,
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DrainProgress {
    /// For how long it has been draining, in milliseconds.
    pub for_ms: u64,
    /// How long running requests may still take, in milliseconds; 0 when that is over, null without a deadline.
    pub deadline_ms: Option<u64>,
    /// Requests that still run.
    pub requests_running: u64,
}

type Remembered = BTreeMap<(PoolId, Option<ReplicaId>), Times>;

/// The drains of pools and replicas.
#[derive(Debug, Default)]
pub struct Drains {
    /// Held over a change and its writing, so that the file says what came last.
    remembered: Mutex<Remembered>,
    path: Option<PathBuf>,
}

impl Drains {
    /// Drains that nobody remembers.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Those remembered in `state_dir`, which must exist.
    ///
    /// # Errors
    /// When the file is there and cannot be read: taking requests for a pool that was drained would be worse than
    /// not starting.
    pub fn load(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(FILE);
        let content = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(error),
        };
        let now = Times {
            since_unix_ms: unix_ms(),
            deadline_unix_ms: None,
        };
        let pools = content.pools.into_iter().map(|pool| ((pool, None), now));
        let drains =
            (content.drains.into_iter()).map(|entry| ((entry.pool_id, entry.replica_id), entry.times));
        Ok(Self {
            remembered: Mutex::new(pools.chain(drains).collect()),
            path: Some(path),
        })
    }

    /// What is drained, in order.
    #[must_use]
    pub fn targets(&self) -> Vec<DrainTarget> {
        let remembered = self.remembered.lock();
        let targets = remembered.keys().cloned().map(|(pool, replica)| match replica {
            None => DrainTarget::Pool(pool),
            Some(replica) => DrainTarget::Replica(pool, replica),
        });
        targets.collect()
    }

    /// Drains a pool of `registry`, or one of its replicas, and remembers it. Writes a small file. Asking again
    /// replaces the deadline.
    ///
    /// # Errors
    /// When there is no such pool or replica, or the file cannot be written.
    pub fn drain(
        &self,
        registry: &PoolRegistry,
        target: &DrainTarget,
        deadline: Option<Duration>,
    ) -> Result<(), DrainError> {
        let mut remembered = self.remembered.lock();
        registry.drain(target)?;
        if let Some(key) = key(target) {
            let now = unix_ms();
            let since_unix_ms = remembered.get(&key).map_or(now, |before| before.since_unix_ms);
            let deadline_unix_ms = deadline.map(|deadline| now.saturating_add(millis(deadline)));
            let times = Times {
                since_unix_ms,
                deadline_unix_ms,
            };
            remembered.insert(key, times);
        }
        self.write(&remembered)
    }

    /// Puts a pool or a replica back to work, and remembers that. Idempotent.
    ///
    /// # Errors
    /// When there is no such pool or replica, or the file cannot be written.
    pub fn undrain(&self, registry: &PoolRegistry, target: &DrainTarget) -> Result<(), DrainError> {
        let mut remembered = self.remembered.lock();
        registry.undrain(target)?;
        if let Some(key) = key(target) {
            remembered.remove(&key);
        }
        self.write(&remembered)
    }

    /// How far the drain of a pool or a replica is; `None` when nobody drains it.
    pub(crate) fn progress(
        &self,
        pool: &PoolId,
        replica: Option<&ReplicaId>,
        requests_running: u64,
    ) -> Option<DrainProgress> {
        let times = *self.remembered.lock().get(&(pool.clone(), replica.cloned()))?;
        let now = unix_ms();
        Some(DrainProgress {
            for_ms: now.saturating_sub(times.since_unix_ms),
            deadline_ms: times
                .deadline_unix_ms
                .map(|deadline| deadline.saturating_sub(now)),
            requests_running,
        })
    }

    /// To a temporary name first, so that a crash leaves the old file or the new one.
    fn write(&self, remembered: &Remembered) -> Result<(), DrainError> {
        let Some(path) = &self.path else { return Ok(()) };
        let pools = remembered.keys().filter(|(_, replica)| replica.is_none());
        let content = Content {
            pools: pools.map(|(pool, _)| pool.clone()).collect(),
            drains: (remembered.iter())
                .map(|((pool_id, replica_id), times)| Entry {
                    pool_id: pool_id.clone(),
                    replica_id: replica_id.clone(),
                    times: *times,
                })
                .collect(),
        };
        let mut temporary = OsString::from(path);
        temporary.push(".tmp");
        let written = serde_json::to_vec(&content)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(&temporary, bytes))
            .and_then(|()| fs::rename(&temporary, path));
        written.map_err(|source| DrainError::NotRemembered {
            path: path.clone(),
            source,
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
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(id: &str) -> PoolId {
        PoolId::new(id).unwrap()
    }

    fn whole(id: &str) -> DrainTarget {
        DrainTarget::Pool(pool(id))
    }

    fn one(id: &str, replica: &str) -> DrainTarget {
        DrainTarget::Replica(pool(id), ReplicaId::new(replica).unwrap())
    }

    // spec: PROV-17
    #[test]
    fn what_is_drained_is_drained_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let registry = PoolRegistry::new(vec![pool("a"), pool("b")]);
        registry.drain_before(&pool("a"), ReplicaId::new("r1").unwrap());
        let drains = Drains::load(dir.path()).unwrap();
        assert_eq!(drains.targets(), []);
        for target in [whole("b"), whole("a"), whole("a"), one("a", "r1")] {
            drains.drain(&registry, &target, None).unwrap();
        }
        let again = || Drains::load(dir.path()).unwrap().targets();
        assert_eq!(again(), [whole("a"), one("a", "r1"), whole("b")]);
        drains.undrain(&registry, &whole("a")).unwrap();
        assert_eq!(again(), [one("a", "r1"), whole("b")]);
    }

    #[test]
    fn an_older_agent_and_this_one_understand_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, r#"{"pools":["a"]}"#).unwrap();
        let drains = Drains::load(dir.path()).unwrap();
        assert_eq!(drains.targets(), [whole("a")]);
        drains
            .drain(&PoolRegistry::new(vec![pool("b")]), &whole("b"), None)
            .unwrap();
        let written: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(written["pools"], serde_json::json!(["a", "b"]));
    }

    // spec: PROV-22
    #[test]
    fn how_long_it_takes_and_may_take_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let registry = PoolRegistry::new(vec![pool("a")]);
        let day = Duration::from_secs(86_400);
        let drains = Drains::load(dir.path()).unwrap();
        drains.drain(&registry, &whole("a"), Some(day)).unwrap();
        let later = Drains::load(dir.path()).unwrap();
        let progress = later.progress(&pool("a"), None, 3).unwrap();
        let left = progress.deadline_ms.unwrap();
        assert!(
            left <= millis(day) && left + progress.for_ms >= millis(day),
            "{progress:?}"
        );
        assert_eq!(progress.requests_running, 3);
        later.drain(&registry, &whole("a"), Some(Duration::ZERO)).unwrap();
        assert_eq!(later.progress(&pool("a"), None, 3).unwrap().deadline_ms, Some(0));
        assert_eq!(later.progress(&pool("b"), None, 0), None);
    }

    #[test]
    fn a_pool_that_is_not_there_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let drains = Drains::load(dir.path()).unwrap();
        let registry = PoolRegistry::new(Vec::new());
        let error = drains.drain(&registry, &whole("a"), None).unwrap_err();
        assert!(matches!(error, DrainError::Unknown(_)), "{error}");
        assert_eq!(drains.targets(), []);
    }

    #[test]
    fn a_file_that_cannot_be_read_or_written_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"pools\":[\"a b\"]}").unwrap();
        assert!(Drains::load(dir.path()).is_err());
        fs::remove_file(dir.path().join(FILE)).unwrap();
        let drains = Drains::load(dir.path()).unwrap();
        dir.close().unwrap();
        let registry = PoolRegistry::new(vec![pool("a")]);
        let error = drains.drain(&registry, &whole("a"), None).unwrap_err();
        assert!(matches!(error, DrainError::NotRemembered { .. }), "{error}");
        assert!(registry.statuses()[0].draining, "it holds all the same");
    }
}
