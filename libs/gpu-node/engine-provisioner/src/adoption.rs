//! What an earlier life of the agent left behind: engines that still run, and handoffs of those
//! that do not.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use pool_registry_types::{Handoff, PoolId, ReplicaId};
use thiserror::Error;

use crate::{
    PoolFile, PoolSpec,
    handoffs::Handoffs,
    process::Identity,
    promises,
    records::{self, Record, RecordFile},
};

/// An engine that still runs.
#[derive(Debug)]
pub(crate) struct Survivor {
    pub(crate) file: RecordFile,
    pub(crate) record: Record,
    pub(crate) process: Identity,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Engines that are as the pool file wants them.
    pub(crate) ours: BTreeMap<(PoolId, ReplicaId), Survivor>,
    /// Engines that the pool file does not want, or not so.
    pub(crate) unwanted: Vec<Survivor>,
    /// Engines that slept, and how they are offered.
    pub(crate) asleep: BTreeMap<(PoolId, ReplicaId), Handoff>,
}

/// A directory that the agent needs and cannot use.
#[derive(Debug, Error)]
#[error("cannot use the directory {}", .path.display())]
pub struct DirectoryError {
    path: PathBuf,
    source: io::Error,
}

/// Does `work` with the directory at `path`.
pub(crate) fn in_directory<T>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, DirectoryError> {
    work(path).map_err(|source| DirectoryError {
        path: path.to_owned(),
        source,
    })
}

/// Finds the engines that still run, and removes the handoffs of those that do not, before anybody
/// believes them.
pub(crate) fn look(
    file: &PoolFile,
    handoffs: &Handoffs,
    handoff_dir: &Path,
    record_dir: &Path,
) -> Result<Found, DirectoryError> {
    in_directory(handoff_dir, state_file::create_directory)?;
    in_directory(record_dir, state_file::create_directory)?;
    let survivors = in_directory(record_dir, records::living)?;
    let mut found = sort(file, survivors);
    for spec in &file.pools {
        let remembered = spec.replica_ids().filter_map(|replica_id| {
            let promise = promises::remembered(record_dir, spec, &replica_id)?;
            Some(((spec.pool_id.clone(), replica_id), promise))
        });
        found.asleep.extend(remembered);
    }
    in_directory(handoff_dir, |_| remove_stale(file, handoffs, &found))?;
    Ok(found)
}

fn sort(file: &PoolFile, survivors: Vec<(RecordFile, Record, Identity)>) -> Found {
    let mut found = Found::default();
    for (file_of_record, record, process) in survivors {
        let name = (record.pool_id.clone(), record.replica_id.clone());
        let wanted = file.pools.iter().any(|spec| is_wanted(spec, &record));
        let survivor = Survivor {
            file: file_of_record,
            record,
            process,
        };
        if !wanted {
            found.unwanted.push(survivor);
            continue;
        }
        // While a replica was being replaced it had two. The later one was to stay.
        let Some(other) = found.ours.remove(&name) else {
            found.ours.insert(name, survivor);
            continue;
        };
        let (stays, goes) = if other.process.started > survivor.process.started {
            (other, survivor)
        } else {
            (survivor, other)
        };
        found.ours.insert(name, stays);
        found.unwanted.push(goes);
    }
    found
}

fn is_wanted(spec: &PoolSpec, record: &Record) -> bool {
    spec.pool_id == record.pool_id
        && spec.replica_ids().any(|id| id == record.replica_id)
        && spec.fingerprint() == record.fingerprint
}

fn remove_stale(file: &PoolFile, handoffs: &Handoffs, found: &Found) -> io::Result<()> {
    for spec in &file.pools {
        for replica_id in spec.replica_ids() {
            let name = (spec.pool_id.clone(), replica_id);
            let kept = found.ours.get(&name).map(|survivor| &survivor.record.url);
            if handoffs.retract_all_but(&name.0, &name.1, kept)? {
                tracing::info!(pool_id = %name.0, replica_id = %name.1, "Handoff of an engine that is gone removed");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pool_registry_types::HttpUrl;

    use super::*;
    use crate::handoffs::handoff;

    const FILE: &str =
        "[[pool]]\nid=\"p\"\nengine=\"x\"\ncommand=[\"x\", \"{port}\"]\nslots=1\nreplicas=2\n";

    fn url(port: u16) -> HttpUrl {
        HttpUrl::new(&format!("http://127.0.0.1:{port}")).unwrap()
    }

    struct Fixture {
        dir: tempfile::TempDir,
        file: PoolFile,
    }

    impl Fixture {
        fn new() -> Self {
            let fixture = Self {
                dir: tempfile::tempdir().unwrap(),
                file: PoolFile::parse(FILE).unwrap(),
            };
            fs::create_dir_all(fixture.records()).unwrap();
            fs::create_dir_all(fixture.handoffs()).unwrap();
            fixture
        }

        fn records(&self) -> PathBuf {
            self.dir.path().join("records")
        }

        fn handoffs(&self) -> PathBuf {
            self.dir.path().join("handoffs")
        }

        /// As if this very process were an engine.
        fn survivor(&self, spec: &PoolSpec, replica: &str, port: u16) -> ReplicaId {
            let replica = ReplicaId::new(replica).unwrap();
            let ourselves = Identity::of(std::process::id()).unwrap();
            let record = Record::new(spec, replica.clone(), ourselves, url(port)).unwrap();
            RecordFile::write(&self.records(), &record).unwrap();
            replica
        }

        fn announce(&self, replica: &str, port: u16) {
            let replica = ReplicaId::new(replica).unwrap();
            let handoff = handoff(&self.file.pools[0], &replica, &url(port));
            Handoffs::new(self.handoffs()).announce(&handoff).unwrap();
        }

        fn look(&self) -> (Found, usize) {
            let handoffs = Handoffs::new(self.handoffs());
            let found = look(&self.file, &handoffs, &self.handoffs(), &self.records()).unwrap();
            (found, fs::read_dir(self.handoffs()).unwrap().count())
        }
    }

    // spec: PROV-11
    #[test]
    fn an_engine_that_still_runs_keeps_its_handoff_and_the_others_lose_theirs() {
        let fixture = Fixture::new();
        fixture.survivor(&fixture.file.pools[0], "r0", 1);
        fixture.announce("r0", 1);
        fixture.announce("r1", 2);
        let (found, handoffs) = fixture.look();
        assert_eq!(
            (found.ours.len(), found.unwanted.len(), handoffs),
            (1, 0, 1)
        );
    }

    #[test]
    fn an_engine_that_was_started_otherwise_is_not_wanted() {
        let fixture = Fixture::new();
        let other = PoolFile::parse(&FILE.replace("\"x\", ", "\"x\", \"--more\", ")).unwrap();
        fixture.survivor(&other.pools[0], "r0", 1);
        fixture.survivor(&fixture.file.pools[0], "r7", 3);
        let gone = PoolSpec::forgotten(
            PoolId::new("gone").unwrap(),
            fixture.file.pools[0].engine.clone(),
        );
        fixture.survivor(&gone, "r0", 2);
        fixture.announce("r0", 1);
        let (found, handoffs) = fixture.look();
        assert_eq!(
            (found.ours.len(), found.unwanted.len(), handoffs),
            (0, 3, 0)
        );
    }

    #[test]
    fn of_two_engines_of_a_replica_one_stays() {
        let fixture = Fixture::new();
        let spec = &fixture.file.pools[0];
        let replica = fixture.survivor(spec, "r0", 1);
        let survivors = || records::living(&fixture.records()).unwrap();
        let twice = survivors().into_iter().chain(survivors()).collect();
        let found = sort(&fixture.file, twice);
        assert_eq!((found.ours.len(), found.unwanted.len()), (1, 1));
        assert!(found.ours.contains_key(&(spec.pool_id.clone(), replica)));
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_named() {
        let fixture = Fixture::new();
        let blocked = fixture.dir.path().join("file");
        fs::write(&blocked, "").unwrap();
        let handoffs = Handoffs::new(fixture.handoffs());
        let error = look(
            &fixture.file,
            &handoffs,
            &fixture.handoffs(),
            &blocked.join("x"),
        )
        .unwrap_err();
        assert!(error.to_string().contains("file/x"), "{error}");
    }
}
