//! What the agent remembers of a process that it started, so that its next life can adopt it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pool_registry_types::{EngineKind, HttpUrl, PoolId, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::{
    PoolSpec, files,
    process::{Identity, boot_id},
};

/// One process. Unknown fields are ignored, so that an older agent can follow a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) pool_id: PoolId,
    pub(crate) replica_id: ReplicaId,
    pub(crate) engine: EngineKind,
    /// The start of the machine under which it runs.
    boot_id: String,
    pid: u32,
    /// See [`Identity`].
    started: u64,
    pub(crate) url: HttpUrl,
    /// How it was started; see [`PoolSpec`](crate::PoolSpec).
    pub(crate) fingerprint: String,
}

impl Record {
    /// Of an engine of `spec`. `None` where the system does not tell one start from another; then
    /// nothing is ever adopted.
    pub(crate) fn new(
        spec: &PoolSpec,
        replica_id: ReplicaId,
        process: Identity,
        url: HttpUrl,
    ) -> Option<Self> {
        Some(Self {
            pool_id: spec.pool_id.clone(),
            replica_id,
            engine: spec.engine.clone(),
            boot_id: boot_id()?,
            pid: process.pid,
            started: process.started,
            url,
            fingerprint: spec.fingerprint(),
        })
    }

    /// The process, when it still runs.
    pub(crate) fn process(&self) -> Option<Identity> {
        let identity = Identity {
            pid: self.pid,
            started: self.started,
        };
        (boot_id().as_deref() == Some(self.boot_id.as_str()) && identity.is_alive())
            .then_some(identity)
    }
}

/// A record's file. Dropping it leaves the file, for that is its purpose.
#[derive(Debug)]
pub(crate) struct RecordFile {
    path: PathBuf,
}

impl RecordFile {
    /// Writes a record to `dir`. There may be several of one replica, while it is replaced.
    pub(crate) fn write(dir: &Path, record: &Record) -> io::Result<Self> {
        let Record {
            pool_id,
            replica_id,
            pid,
            ..
        } = record;
        let path = dir.join(format!("{pool_id}_{replica_id}.{pid}.json"));
        state_file::write(&path, &serde_json::to_vec(record)?)?;
        Ok(Self { path })
    }

    /// The process is gone.
    pub(crate) fn remove(self) {
        if let Err(error) = files::remove(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "cannot remove the record of an engine that ended; remove it by hand");
        }
    }
}

/// What a damaged record means. It goes on after "so ".
const CONSEQUENCE: &str = "an engine that it named is not adopted if it still runs; end it by \
                           hand when its port is taken";

/// Every process in `dir` that still runs. Records of others are removed, and damaged ones set
/// aside.
///
/// # Errors
/// When the directory or a record cannot be read just now: an engine that is not known would be
/// started twice.
pub(crate) fn living(dir: &Path) -> io::Result<Vec<(RecordFile, Record, Identity)>> {
    let mut living = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let parse = |bytes: &[u8]| serde_json::from_slice::<Record>(bytes);
        let Some(record) =
            state_file::recover(&path, parse, CONSEQUENCE).map_err(io::Error::other)?
        else {
            continue;
        };
        let file = RecordFile { path };
        match record.process() {
            Some(process) => living.push((file, record, process)),
            None => file.remove(),
        }
    }
    Ok(living)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let ourselves = Identity::of(std::process::id()).unwrap();
        let url = HttpUrl::new("http://127.0.0.1:1").unwrap();
        let spec = PoolSpec::forgotten(PoolId::new("p").unwrap(), EngineKind::new("x").unwrap());
        let replica = ReplicaId::new("r0").unwrap();
        Record::new(&spec, replica, ourselves, url).unwrap()
    }

    // spec: PROV-11
    #[test]
    fn only_what_still_runs_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let stale = [
            Record {
                boot_id: "another".to_owned(),
                pid: 1,
                ..record()
            },
            Record {
                started: record().started - 1,
                pid: record().pid,
                replica_id: ReplicaId::new("r1").unwrap(),
                ..record()
            },
            Record {
                pid: u32::MAX,
                ..record()
            },
        ];
        for record in &stale {
            RecordFile::write(dir.path(), record).unwrap();
        }
        fs::write(dir.path().join("x.json"), "no record").unwrap();
        fs::write(dir.path().join("notes.txt"), "not ours").unwrap();
        let file = RecordFile::write(dir.path(), &record()).unwrap();
        let found = living(dir.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, record());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            3,
            "the living one, what is not ours, and the damaged one"
        );
        assert!(dir.path().join("x.json.unreadable-1").exists());
        file.remove();
        assert!(living(dir.path()).unwrap().is_empty());
    }
}
