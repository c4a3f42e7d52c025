//! Handoffs, and a map kept by events.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use pool_registry_types::{Handoff, HttpUrl, PoolId, ReplicaId};

use crate::{Event, Refusal};

pub(crate) fn json(replica: &str, port: u16, slots: u32) -> String {
    format!(
        r#"{{"pool_id":"p","replica_id":"{replica}","engine":"llamacpp","url":"http://localhost:{port}","slots":{slots}}}"#
    )
}

pub(crate) fn handoff(replica: &str, port: u16, slots: u32) -> Handoff {
    serde_json::from_str(&json(replica, port, slots)).unwrap()
}

/// Writes as an engine's start script should: to a temporary name, then renamed.
pub(crate) fn put(dir: &Path, name: &str, content: &str) {
    let temporary = dir.join(format!(".{name}.tmp"));
    fs::write(&temporary, content).unwrap();
    fs::rename(&temporary, dir.join(name)).unwrap();
}

/// What somebody believes who only hears the events. Every event must fit what was said before.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) replicas: BTreeMap<(PoolId, ReplicaId), Handoff>,
    pub(crate) refused: Vec<(PathBuf, Refusal)>,
    /// What is refused now.
    pub(crate) standing: BTreeMap<PathBuf, Refusal>,
    pub(crate) scanned: bool,
}

impl Replay {
    pub(crate) fn apply(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            match event {
                Event::Appeared(new) => assert_eq!(self.set(&new.clone(), Some(new)), None),
                Event::Changed { old, new } => {
                    assert_ne!(old, new);
                    assert_eq!(self.set(&new.clone(), Some(new)), Some(old));
                }
                Event::Gone(old) => assert_eq!(self.set(&old, None), Some(old)),
                Event::Refused { path, reason } => {
                    self.standing.insert(path.clone(), reason.clone());
                    self.refused.push((path, reason));
                }
                Event::Resolved { path } => {
                    assert!(self.standing.remove(&path).is_some(), "{path:?} was fine")
                }
                Event::Scanned => assert!(!std::mem::replace(&mut self.scanned, true), "said once"),
            }
        }
        let urls: std::collections::HashSet<&HttpUrl> =
            self.replicas.values().map(|handoff| &handoff.url).collect();
        assert_eq!(urls.len(), self.replicas.len(), "two replicas at one url");
    }

    fn set(&mut self, of: &Handoff, new: Option<Handoff>) -> Option<Handoff> {
        let key = (of.pool_id.clone(), of.replica_id.clone());
        match new {
            Some(new) => self.replicas.insert(key, new),
            None => self.replicas.remove(&key),
        }
    }
}
