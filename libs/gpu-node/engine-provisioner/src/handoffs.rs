//! The handoffs of our engines: written when an engine is ready, removed before anything else when
//! it goes.

use std::{
    io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use pool_registry_types::{Handoff, HttpUrl, PoolId, ReplicaId};
use state_file::ReadError;

use crate::{PoolSpec, files};

/// The directory of handoffs.
#[derive(Debug)]
pub(crate) struct Handoffs {
    dir: PathBuf,
    /// Held over a look and what follows from it, so that an engine that goes never takes the
    /// handoff of the one that replaces it.
    lock: Mutex<()>,
}

impl Handoffs {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            lock: Mutex::new(()),
        }
    }

    fn path(&self, pool: &PoolId, replica: &ReplicaId) -> PathBuf {
        self.dir.join(format!("{pool}_{replica}.json"))
    }

    /// Announces an engine, in place of any other of its name.
    pub(crate) fn announce(&self, handoff: &Handoff) -> io::Result<()> {
        let text = serde_json::to_vec(handoff)?;
        let _held = self.lock.lock();
        state_file::write(&self.path(&handoff.pool_id, &handoff.replica_id), &text)
    }

    /// Takes back the announcement of the engine at `url`; that of another engine stays.
    pub(crate) fn retract(
        &self,
        pool: &PoolId,
        replica: &ReplicaId,
        url: &HttpUrl,
    ) -> io::Result<()> {
        let path = self.path(pool, replica);
        let _held = self.lock.lock();
        match announced(&path)? {
            Some(announced) if announced != *url => Ok(()),
            _ => files::remove(&path),
        }
    }

    /// Takes back every announcement of that name but that of the engine at `kept`. True when there
    /// was one.
    pub(crate) fn retract_all_but(
        &self,
        pool: &PoolId,
        replica: &ReplicaId,
        kept: Option<&HttpUrl>,
    ) -> io::Result<bool> {
        let path = self.path(pool, replica);
        let _held = self.lock.lock();
        if !path.exists() || (kept.is_some() && announced(&path)?.as_ref() == kept) {
            return Ok(false);
        }
        files::remove(&path).map(|()| true)
    }
}

/// Where the engine listens that this file announces; `None` when it announces none. A file that
/// cannot be read just now may announce another engine.
fn announced(path: &Path) -> io::Result<Option<HttpUrl>> {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Handoff>(bytes);
    match state_file::read(path, parse) {
        Ok(handoff) => Ok(handoff.map(|handoff| handoff.url)),
        Err(ReadError::Damaged(_)) => Ok(None),
        Err(ReadError::Failed(error)) => Err(error),
    }
}

/// What is announced of an engine of `spec`.
pub(crate) fn handoff(spec: &PoolSpec, replica: &ReplicaId, url: &HttpUrl) -> Handoff {
    let mut handoff = Handoff::new(
        spec.pool_id.clone(),
        replica.clone(),
        spec.engine.clone(),
        url.clone(),
        spec.slots,
    );
    handoff.device_mask = spec.device_mask.clone();
    handoff.models = (!spec.models.is_empty()).then(|| spec.models.clone());
    handoff
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::PoolFile;

    #[test]
    fn an_engine_takes_back_only_its_own_announcement() {
        let dir = tempfile::tempdir().unwrap();
        let handoffs = Handoffs::new(dir.path().to_owned());
        let pool =
            "[[pool]]\nid=\"p\"\nengine=\"x\"\ncommand=[\"x\"]\nslots=3\nport=1\nmodels=[\"m\"]";
        let spec = PoolFile::parse(pool).unwrap().pools.remove(0);
        let replica = ReplicaId::new("r0").unwrap();
        let url = |port: u16| HttpUrl::new(&format!("http://127.0.0.1:{port}")).unwrap();
        let there = || dir.path().join("p_r0.json").exists();

        handoffs
            .announce(&handoff(&spec, &replica, &url(1)))
            .unwrap();
        handoffs
            .announce(&handoff(&spec, &replica, &url(2)))
            .unwrap();
        handoffs.retract(&spec.pool_id, &replica, &url(1)).unwrap();
        assert!(there(), "the new one stays when the old one goes");
        let text = fs::read_to_string(dir.path().join("p_r0.json")).unwrap();
        let read: Handoff = serde_json::from_str(&text).unwrap();
        assert_eq!((read.slots, read.models), (3, Some(vec!["m".to_owned()])));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );

        assert!(
            !handoffs
                .retract_all_but(&spec.pool_id, &replica, Some(&url(2)))
                .unwrap()
        );
        assert!(
            handoffs
                .retract_all_but(&spec.pool_id, &replica, Some(&url(3)))
                .unwrap()
        );
        assert!(
            !handoffs
                .retract_all_but(&spec.pool_id, &replica, None)
                .unwrap()
        );
        handoffs.retract(&spec.pool_id, &replica, &url(2)).unwrap();

        fs::write(dir.path().join("p_r0.json"), "{").unwrap();
        handoffs.retract(&spec.pool_id, &replica, &url(2)).unwrap();
        assert!(!there(), "half a handoff announces nobody");

        // It cannot be read, and may announce another engine.
        let path = dir.path().join("p_r0.json");
        symlink(&path, &path).unwrap();
        handoffs
            .retract(&spec.pool_id, &replica, &url(2))
            .unwrap_err();
        assert!(fs::symlink_metadata(&path).is_ok());
    }
}
