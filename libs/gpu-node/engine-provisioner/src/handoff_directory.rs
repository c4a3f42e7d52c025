//! The handoff files of the provisioner's engines.

use std::{
    io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use pool_registry_types::{Handoff, HttpUrl, PoolId, ReplicaId};
use state_file::ReadError;

use crate::{files, spec::PoolSpec};

/// Writes and removes handoff files.
#[derive(Debug)]
pub(crate) struct HandoffDirectory {
    dir: PathBuf,
    /// Held from reading a file until it is removed, so that an engine that stops never removes the
    /// handoff of its replacement.
    lock: Mutex<()>,
}

impl HandoffDirectory {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            lock: Mutex::new(()),
        }
    }

    fn path(&self, pool: &PoolId, replica: &ReplicaId) -> PathBuf {
        self.dir.join(format!("{pool}_{replica}.json"))
    }

    /// Announces an engine. Replaces the handoff of another engine of the same replica.
    pub(crate) fn write(&self, handoff: &Handoff) -> io::Result<()> {
        let text = serde_json::to_vec(handoff)?;
        let _held = self.lock.lock();
        state_file::write(&self.path(&handoff.pool_id, &handoff.replica_id), &text)
    }

    /// Removes the handoff of the engine at `url`; that of another engine stays.
    pub(crate) fn remove(
        &self,
        pool: &PoolId,
        replica: &ReplicaId,
        url: &HttpUrl,
    ) -> io::Result<()> {
        let path = self.path(pool, replica);
        let _held = self.lock.lock();
        match announced_url(&path)? {
            Some(other) if other != *url => Ok(()),
            _ => files::remove(&path),
        }
    }

    /// Removes the handoff of a replica unless it announces the engine at `kept`. Returns whether
    /// it removed one.
    pub(crate) fn remove_unless(
        &self,
        pool: &PoolId,
        replica: &ReplicaId,
        kept: Option<&HttpUrl>,
    ) -> io::Result<bool> {
        let path = self.path(pool, replica);
        let _held = self.lock.lock();
        if !path.exists() || (kept.is_some() && announced_url(&path)?.as_ref() == kept) {
            return Ok(false);
        }
        files::remove(&path).map(|()| true)
    }
}

/// The URL that a file announces; `None` when it announces none. A file that cannot be read may
/// announce another engine.
fn announced_url(path: &Path) -> io::Result<Option<HttpUrl>> {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Handoff>(bytes);
    match state_file::read(path, parse) {
        Ok(handoff) => Ok(handoff.map(|handoff| handoff.url)),
        Err(ReadError::Damaged(_)) => Ok(None),
        Err(ReadError::Failed(error)) => Err(error),
    }
}

/// The handoff of an engine of `spec`.
pub(crate) fn handoff(spec: &PoolSpec, replica: &ReplicaId, url: &HttpUrl) -> Handoff {
    let mut handoff = Handoff::new(
        spec.pool_id.clone(),
        replica.clone(),
        spec.engine.clone(),
        url.clone(),
        spec.slots,
    );
    handoff.device_mask = spec.device_mask.clone();
    handoff.api_key_file = spec.api_key_file.clone();
    handoff.models = (!spec.models.is_empty()).then(|| spec.models.clone());
    handoff
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::PoolFile;

    #[test]
    fn an_engine_removes_only_its_own_handoff() {
        let dir = tempfile::tempdir().unwrap();
        let handoffs = HandoffDirectory::new(dir.path().to_owned());
        let pool =
            "[[pool]]\nid=\"p\"\nengine=\"x\"\ncommand=[\"x\"]\nslots=3\nport=1\nmodels=[\"m\"]";
        let spec = PoolFile::parse(pool).unwrap().pools.remove(0);
        let replica = ReplicaId::new("r0").unwrap();
        let url = |port: u16| HttpUrl::new(&format!("http://127.0.0.1:{port}")).unwrap();
        let exists = || dir.path().join("p_r0.json").exists();

        handoffs.write(&handoff(&spec, &replica, &url(1))).unwrap();
        handoffs.write(&handoff(&spec, &replica, &url(2))).unwrap();
        handoffs.remove(&spec.pool_id, &replica, &url(1)).unwrap();
        assert!(exists(), "the new handoff stays when the old engine stops");
        let text = fs::read_to_string(dir.path().join("p_r0.json")).unwrap();
        let read: Handoff = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (read.slots(), read.models.unwrap()),
            (3, vec!["m".parse().unwrap()])
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );

        assert!(
            !handoffs
                .remove_unless(&spec.pool_id, &replica, Some(&url(2)))
                .unwrap()
        );
        assert!(
            handoffs
                .remove_unless(&spec.pool_id, &replica, Some(&url(3)))
                .unwrap()
        );
        assert!(
            !handoffs
                .remove_unless(&spec.pool_id, &replica, None)
                .unwrap()
        );
        handoffs.remove(&spec.pool_id, &replica, &url(2)).unwrap();

        fs::write(dir.path().join("p_r0.json"), "{").unwrap();
        handoffs.remove(&spec.pool_id, &replica, &url(2)).unwrap();
        assert!(!exists(), "an incomplete handoff announces no engine");

        // A file that cannot be read may announce another engine.
        let path = dir.path().join("p_r0.json");
        symlink(&path, &path).unwrap();
        handoffs
            .remove(&spec.pool_id, &replica, &url(2))
            .unwrap_err();
        assert!(fs::symlink_metadata(&path).is_ok());
    }
}
