//! What is remembered of engines that sleep, so that the next agent lets them sleep on.

use std::{
    io,
    path::{Path, PathBuf},
};

use pool_registry_types::{Handoff, PoolId, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::{PoolSpec, files};

/// Ends the names of these files; records of processes end in `.json`.
const ENDING: &str = "asleep";

/// What a damaged file means. It goes on after "so ".
const CONSEQUENCE: &str = "an engine that slept is started";

/// The content of such a file. Unknown fields are ignored, so that an older agent can follow a
/// newer one.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    /// How it was started; see [`PoolSpec`].
    fingerprint: String,
    /// As it is offered, with the models that it named.
    promise: Handoff,
}

fn path(dir: &Path, pool: &PoolId, replica: &ReplicaId) -> PathBuf {
    dir.join(format!("{pool}_{replica}.{ENDING}"))
}

/// Remembers that an engine of `spec` sleeps.
pub(crate) fn remember(dir: &Path, spec: &PoolSpec, promise: &Handoff) -> io::Result<()> {
    let content = Content {
        fingerprint: spec.fingerprint(),
        promise: promise.clone(),
    };
    let path = path(dir, &promise.pool_id, &promise.replica_id);
    state_file::write(&path, &serde_json::to_vec(&content)?)
}

/// Forgets that it does. Of one that did not it is no error.
pub(crate) fn forget(dir: &Path, pool: &PoolId, replica: &ReplicaId) -> io::Result<()> {
    files::remove(&path(dir, pool, replica))
}

/// What is offered of a replica that slept when the last agent ended, if it is one that `spec` lets
/// sleep.
pub(crate) fn remembered(dir: &Path, spec: &PoolSpec, replica: &ReplicaId) -> Option<Handoff> {
    spec.sleep_after?;
    let parse = |bytes: &[u8]| serde_json::from_slice::<Content>(bytes);
    let found = state_file::recover(&path(dir, &spec.pool_id, replica), parse, CONSEQUENCE);
    let content = found.unwrap_or_else(|error| {
        let cause = std::error::Error::source(&error).map(tracing::field::display);
        tracing::warn!(%error, cause, "so {CONSEQUENCE}");
        None
    })?;
    let promise = content.promise;
    let is_it = content.fingerprint == spec.fingerprint()
        && (&promise.pool_id, &promise.replica_id) == (&spec.pool_id, replica);
    // What the pool file says now goes before what was said then.
    is_it.then(|| {
        let mut handoff = promise;
        handoff.slots = spec.slots;
        handoff.device_mask = spec.device_mask.clone();
        if !spec.models.is_empty() {
            handoff.models = Some(spec.models.clone());
        }
        handoff
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pool_registry_types::HttpUrl;

    use super::*;
    use crate::{PoolFile, handoffs::handoff};

    const POOL: &str =
        "[[pool]]\nid=\"p\"\nengine=\"x\"\ncommand=[\"x\"]\nslots=1\nport=1\nsleep_after_secs=9\n";

    fn spec(text: &str) -> PoolSpec {
        PoolFile::parse(text).unwrap().pools.remove(0)
    }

    // spec: PROV-23
    #[test]
    fn what_slept_is_known_again_unless_it_is_to_be_another() {
        let dir = tempfile::tempdir().unwrap();
        let replica = ReplicaId::new("r0").unwrap();
        let known = |text: &str| remembered(dir.path(), &spec(text), &replica);
        assert_eq!(known(POOL), None);
        let url = HttpUrl::new("http://127.0.0.1:1").unwrap();
        let mut promise = handoff(&spec(POOL), &replica, &url);
        promise.models = Some(vec!["m".to_owned()]);
        remember(dir.path(), &spec(POOL), &promise).unwrap();
        assert_eq!(known(POOL), Some(promise.clone()));
        let more = known(&POOL.replace("slots=1", "slots=2\nmodels=[\"n\"]")).unwrap();
        assert_eq!((more.slots, more.models), (2, Some(vec!["n".to_owned()])));
        assert_eq!(
            known(&POOL.replace("\"x\"]", "\"y\"]")),
            None,
            "another engine"
        );
        assert_eq!(
            known(&POOL.replace("sleep_after_secs=9", "")),
            None,
            "it is to run"
        );
        fs::write(dir.path().join("p_r0.asleep"), "{").unwrap();
        assert_eq!(known(POOL), None);
        forget(dir.path(), &promise.pool_id, &replica).unwrap();
        forget(dir.path(), &promise.pool_id, &replica).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].file_name(), "p_r0.asleep.unreadable-1");
    }
}
