//! Records of started processes, so that the next agent can adopt them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pool_registry_types::{EngineKind, HttpUrl, PoolId, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::{
    files,
    process::{ProcessIdentity, boot_id},
    spec::PoolSpec,
};

/// The record of a process. Unknown fields are ignored, so that an older agent can replace a newer
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) pool_id: PoolId,
    pub(crate) replica_id: ReplicaId,
    pub(crate) engine: EngineKind,
    /// The boot of the machine in which it runs.
    boot_id: String,
    pid: u32,
    /// See [`ProcessIdentity`].
    started: u64,
    pub(crate) url: HttpUrl,
    /// The configuration with which it was started.
    pub(crate) fingerprint: String,
}

impl ProcessRecord {
    /// The record of an engine of `spec`. `None` on systems without a boot id; there no engine is
    /// adopted.
    pub(crate) fn new(
        spec: &PoolSpec,
        replica_id: ReplicaId,
        process: ProcessIdentity,
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

    /// The process, if it still runs.
    pub(crate) fn process(&self) -> Option<ProcessIdentity> {
        let identity = ProcessIdentity {
            pid: self.pid,
            started: self.started,
        };
        (boot_id().as_deref() == Some(self.boot_id.as_str()) && identity.is_alive())
            .then_some(identity)
    }
}

/// The file of a record. Dropping it keeps the file.
#[derive(Debug)]
pub(crate) struct ProcessRecordFile {
    path: PathBuf,
}

impl ProcessRecordFile {
    /// Writes a record to `dir`. A replica that is being replaced has several.
    pub(crate) fn write(dir: &Path, record: &ProcessRecord) -> io::Result<Self> {
        let ProcessRecord {
            pool_id,
            replica_id,
            pid,
            ..
        } = record;
        let path = dir.join(format!("{pool_id}_{replica_id}.{pid}.json"));
        state_file::write(&path, &serde_json::to_vec(record)?)?;
        Ok(Self { path })
    }

    /// Removes the file, when the process is gone.
    pub(crate) fn remove(self) {
        if let Err(error) = files::remove(&self.path) {
            let path = self.path.display();
            tracing::warn!(
                %path, %error, "cannot remove the record of an engine that ended; remove the file"
            );
        }
    }
}

/// The consequence of a damaged record. It continues a sentence after "so ".
const CONSEQUENCE: &str = "its engine is not adopted if it still runs; stop the engine if its \
                           port is taken";

/// Every process in `dir` that still runs. Records of other processes are removed, and damaged ones
/// set aside.
///
/// # Errors
/// When the directory or a record cannot be read: an unknown engine would be started twice.
pub(crate) fn load_running(
    dir: &Path,
) -> io::Result<Vec<(ProcessRecordFile, ProcessRecord, ProcessIdentity)>> {
    let mut load_running = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let parse = |bytes: &[u8]| serde_json::from_slice::<ProcessRecord>(bytes);
        let Some(record) =
            state_file::recover(&path, parse, CONSEQUENCE).map_err(io::Error::other)?
        else {
            continue;
        };
        let file = ProcessRecordFile { path };
        match record.process() {
            Some(process) => load_running.push((file, record, process)),
            None => file.remove(),
        }
    }
    Ok(load_running)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ProcessRecord {
        let ourselves = ProcessIdentity::of(std::process::id()).unwrap();
        let url = HttpUrl::new("http://127.0.0.1:1").unwrap();
        let spec = PoolSpec::removed(PoolId::new("p").unwrap(), EngineKind::new("x").unwrap());
        let replica = ReplicaId::new("r0").unwrap();
        ProcessRecord::new(&spec, replica, ourselves, url).unwrap()
    }

    // spec: PROV-11
    #[test]
    fn only_running_processes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let stale = [
            ProcessRecord {
                boot_id: "another".to_owned(),
                pid: 1,
                ..record()
            },
            ProcessRecord {
                started: record().started - 1,
                pid: record().pid,
                replica_id: ReplicaId::new("r1").unwrap(),
                ..record()
            },
            ProcessRecord {
                pid: u32::MAX,
                ..record()
            },
        ];
        for record in &stale {
            ProcessRecordFile::write(dir.path(), record).unwrap();
        }
        fs::write(dir.path().join("x.json"), "no record").unwrap();
        fs::write(dir.path().join("notes.txt"), "not adoptable").unwrap();
        let file = ProcessRecordFile::write(dir.path(), &record()).unwrap();
        let found = load_running(dir.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, record());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            3,
            "the record of the running process, a foreign file, and the damaged record"
        );
        assert!(dir.path().join("x.json.unreadable-1").exists());
        file.remove();
        assert!(load_running(dir.path()).unwrap().is_empty());
    }
}
