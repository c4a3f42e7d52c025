//! What an earlier agent left behind: engines that still run, and handoffs of engines that do not.

use std::{collections::BTreeMap, io, path::Path};

use crate::{
    error::{DirectoryError, in_directory},
    handoff_directory::HandoffDirectory,
    pool_file::PoolFile,
    process::ProcessIdentity,
    process_record::{self, ProcessRecord, ProcessRecordFile},
    scaled_to_zero,
    spec::PoolSpec,
};
use pool_registry_types::{Handoff, PoolId, ReplicaId};

/// An engine of an earlier agent that still runs.
#[derive(Debug)]
pub(crate) struct SurvivingEngine {
    pub(crate) file: ProcessRecordFile,
    pub(crate) record: ProcessRecord,
    pub(crate) process: ProcessIdentity,
}

/// The engines of an earlier agent.
#[derive(Debug, Default)]
pub(crate) struct PreviousEngines {
    /// Running engines that match the pool file.
    pub(crate) adoptable: BTreeMap<(PoolId, ReplicaId), SurvivingEngine>,
    /// Running engines that the pool file does not have, or configures differently.
    pub(crate) unwanted: Vec<SurvivingEngine>,
    /// Engines that were scaled to zero, with their offers.
    pub(crate) scaled_to_zero: BTreeMap<(PoolId, ReplicaId), Handoff>,
}

/// Finds engines that still run, and removes the handoffs of engines that do not. Call it before
/// handoffs are read.
pub(crate) fn find_previous(
    file: &PoolFile,
    handoffs: &HandoffDirectory,
    handoff_dir: &Path,
    record_dir: &Path,
) -> Result<PreviousEngines, DirectoryError> {
    in_directory(handoff_dir, state_file::create_directory)?;
    in_directory(record_dir, state_file::create_directory)?;
    let survivors = in_directory(record_dir, process_record::load_running)?;
    let mut found = sort(file, survivors);
    for spec in &file.pools {
        let offers = spec.replica_ids().filter_map(|replica_id| {
            let offer = scaled_to_zero::load(record_dir, spec, &replica_id)?;
            Some(((spec.pool_id.clone(), replica_id), offer))
        });
        found.scaled_to_zero.extend(offers);
    }
    in_directory(handoff_dir, |_| remove_stale(file, handoffs, &found))?;
    Ok(found)
}

fn sort(
    file: &PoolFile,
    survivors: Vec<(ProcessRecordFile, ProcessRecord, ProcessIdentity)>,
) -> PreviousEngines {
    let mut found = PreviousEngines::default();
    for (file_of_record, record, process) in survivors {
        let name = (record.pool_id.clone(), record.replica_id.clone());
        let wanted = file.pools.iter().any(|spec| is_wanted(spec, &record));
        let survivor = SurvivingEngine {
            file: file_of_record,
            record,
            process,
        };
        if !wanted {
            found.unwanted.push(survivor);
            continue;
        }
        // A replica that was being replaced had two engines. The later one should stay.
        let Some(other) = found.adoptable.remove(&name) else {
            found.adoptable.insert(name, survivor);
            continue;
        };
        let (stays, goes) = if other.process.started > survivor.process.started {
            (other, survivor)
        } else {
            (survivor, other)
        };
        found.adoptable.insert(name, stays);
        found.unwanted.push(goes);
    }
    found
}

fn is_wanted(spec: &PoolSpec, record: &ProcessRecord) -> bool {
    spec.pool_id == record.pool_id
        && spec.replica_ids().any(|id| id == record.replica_id)
        && spec.fingerprint() == record.fingerprint
}

fn remove_stale(
    file: &PoolFile,
    handoffs: &HandoffDirectory,
    found: &PreviousEngines,
) -> io::Result<()> {
    for spec in &file.pools {
        for replica_id in spec.replica_ids() {
            let name = (spec.pool_id.clone(), replica_id);
            let kept = found
                .adoptable
                .get(&name)
                .map(|survivor| &survivor.record.url);
            if handoffs.remove_unless(&name.0, &name.1, kept)? {
                tracing::info!(
                    pool_id = %name.0, replica_id = %name.1,
                    "Handoff of an engine that is gone removed"
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use pool_registry_types::HttpUrl;

    use super::*;
    use crate::handoff_directory::handoff;

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

        /// Records this process as an engine.
        fn survivor(&self, spec: &PoolSpec, replica: &str, port: u16) -> ReplicaId {
            let replica = ReplicaId::new(replica).unwrap();
            let ourselves = ProcessIdentity::of(std::process::id()).unwrap();
            let record = ProcessRecord::new(spec, replica.clone(), ourselves, url(port)).unwrap();
            ProcessRecordFile::write(&self.records(), &record).unwrap();
            replica
        }

        fn announce(&self, replica: &str, port: u16) {
            let replica = ReplicaId::new(replica).unwrap();
            let handoff = handoff(&self.file.pools[0], &replica, &url(port));
            HandoffDirectory::new(self.handoffs())
                .write(&handoff)
                .unwrap();
        }

        fn find(&self) -> (PreviousEngines, usize) {
            let handoffs = HandoffDirectory::new(self.handoffs());
            let found =
                find_previous(&self.file, &handoffs, &self.handoffs(), &self.records()).unwrap();
            (found, fs::read_dir(self.handoffs()).unwrap().count())
        }
    }

    // spec: PROV-11
    #[test]
    fn a_running_engine_keeps_its_handoff_and_the_others_lose_theirs() {
        let fixture = Fixture::new();
        fixture.survivor(&fixture.file.pools[0], "r0", 1);
        fixture.announce("r0", 1);
        fixture.announce("r1", 2);
        let (found, handoffs) = fixture.find();
        assert_eq!(
            (found.adoptable.len(), found.unwanted.len(), handoffs),
            (1, 0, 1)
        );
    }

    #[test]
    fn an_engine_with_another_configuration_is_not_wanted() {
        let fixture = Fixture::new();
        let other = PoolFile::parse(&FILE.replace("\"x\", ", "\"x\", \"--more\", ")).unwrap();
        fixture.survivor(&other.pools[0], "r0", 1);
        fixture.survivor(&fixture.file.pools[0], "r7", 3);
        let gone = PoolSpec::removed(
            PoolId::new("gone").unwrap(),
            fixture.file.pools[0].engine.clone(),
        );
        fixture.survivor(&gone, "r0", 2);
        fixture.announce("r0", 1);
        let (found, handoffs) = fixture.find();
        assert_eq!(
            (found.adoptable.len(), found.unwanted.len(), handoffs),
            (0, 3, 0)
        );
    }

    #[test]
    fn of_two_engines_of_a_replica_one_stays() {
        let fixture = Fixture::new();
        let spec = &fixture.file.pools[0];
        let replica = fixture.survivor(spec, "r0", 1);
        let survivors = || process_record::load_running(&fixture.records()).unwrap();
        let twice = survivors().into_iter().chain(survivors()).collect();
        let found = sort(&fixture.file, twice);
        assert_eq!((found.adoptable.len(), found.unwanted.len()), (1, 1));
        assert!(
            found
                .adoptable
                .contains_key(&(spec.pool_id.clone(), replica))
        );
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_named() {
        let fixture = Fixture::new();
        let blocked = fixture.dir.path().join("file");
        fs::write(&blocked, "").unwrap();
        let handoffs = HandoffDirectory::new(fixture.handoffs());
        let error = find_previous(
            &fixture.file,
            &handoffs,
            &fixture.handoffs(),
            &blocked.join("x"),
        )
        .unwrap_err();
        assert!(error.to_string().contains("file/x"), "{error}");
    }
}
