//! Records of engines that are scaled to zero, so that the next agent does not start them.

use std::{
    io,
    path::{Path, PathBuf},
};

use pool_registry_types::{Handoff, PoolId, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::{files, spec::PoolSpec};

/// The extension of these files; process records have `.json`.
const EXTENSION: &str = "asleep";

/// The consequence of a damaged file. It continues a sentence after "so ".
const CONSEQUENCE: &str = "an engine that was scaled to zero is started";

/// The content of a file. Unknown fields are ignored, so that an older agent can replace a newer
/// one.
#[derive(Debug, Serialize, Deserialize)]
struct OfferRecord {
    /// The configuration with which it was started.
    fingerprint: String,
    /// Its offer, with the models that the engine named.
    #[serde(rename = "promise")]
    offer: Handoff,
}

fn path(dir: &Path, pool: &PoolId, replica: &ReplicaId) -> PathBuf {
    dir.join(format!("{pool}_{replica}.{EXTENSION}"))
}

/// Records that an engine of `spec` is scaled to zero.
pub(crate) fn save(dir: &Path, spec: &PoolSpec, offer: &Handoff) -> io::Result<()> {
    let record = OfferRecord {
        fingerprint: spec.fingerprint(),
        offer: offer.clone(),
    };
    let path = path(dir, &offer.pool_id, &offer.replica_id);
    state_file::write(&path, &serde_json::to_vec(&record)?)
}

/// Removes the record of a replica. A missing record is no error.
pub(crate) fn remove(dir: &Path, pool: &PoolId, replica: &ReplicaId) -> io::Result<()> {
    files::remove(&path(dir, pool, replica))
}

/// The offer of a replica that was scaled to zero when the last agent ended, if `spec` still scales
/// to zero and is otherwise unchanged.
pub(crate) fn load(dir: &Path, spec: &PoolSpec, replica: &ReplicaId) -> Option<Handoff> {
    spec.sleep_after?;
    let parse = |bytes: &[u8]| serde_json::from_slice::<OfferRecord>(bytes);
    let found = state_file::recover(&path(dir, &spec.pool_id, replica), parse, CONSEQUENCE);
    let record = found.unwrap_or_else(|error| {
        let cause = std::error::Error::source(&error).map(tracing::field::display);
        tracing::warn!(%error, cause, "so {CONSEQUENCE}");
        None
    })?;
    let offer = record.offer;
    let matches = record.fingerprint == spec.fingerprint()
        && (&offer.pool_id, &offer.replica_id) == (&spec.pool_id, replica);
    // The current pool file takes precedence over the record.
    matches.then(|| {
        let mut handoff = offer;
        handoff.set_slots(spec.slots);
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
    use crate::{PoolFile, handoff_directory::handoff};

    const POOL: &str =
        "[[pool]]\nid=\"p\"\nengine=\"x\"\ncommand=[\"x\"]\nslots=1\nport=1\nsleep_after_secs=9\n";

    fn spec(text: &str) -> PoolSpec {
        PoolFile::parse(text).unwrap().pools.remove(0)
    }

    // spec: PROV-23
    #[test]
    fn an_offer_is_loaded_unless_the_configuration_changed() {
        let dir = tempfile::tempdir().unwrap();
        let replica = ReplicaId::new("r0").unwrap();
        let known = |text: &str| load(dir.path(), &spec(text), &replica);
        assert_eq!(known(POOL), None);
        let url = HttpUrl::new("http://127.0.0.1:1").unwrap();
        let mut offer = handoff(&spec(POOL), &replica, &url);
        offer.models = Some(vec!["m".parse().unwrap()]);
        save(dir.path(), &spec(POOL), &offer).unwrap();
        assert_eq!(known(POOL), Some(offer.clone()));
        let more = known(&POOL.replace("slots=1", "slots=2\nmodels=[\"n\"]")).unwrap();
        assert_eq!(
            (more.slots(), more.models.unwrap()),
            (2, vec!["n".parse().unwrap()])
        );
        assert_eq!(
            known(&POOL.replace("\"x\"]", "\"y\"]")),
            None,
            "another engine"
        );
        assert_eq!(
            known(&POOL.replace("sleep_after_secs=9", "")),
            None,
            "it no longer scales to zero"
        );
        fs::write(dir.path().join("p_r0.asleep"), "{").unwrap();
        assert_eq!(known(POOL), None);
        remove(dir.path(), &offer.pool_id, &replica).unwrap();
        remove(dir.path(), &offer.pool_id, &replica).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].file_name(), "p_r0.asleep.unreadable-1");
    }
}
