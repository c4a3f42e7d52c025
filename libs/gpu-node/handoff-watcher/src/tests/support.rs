//! Handoffs, events, and a map that is kept by events.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use pool_registry_types::{Handoff, HttpUrl, PoolId, ReplicaId};

use crate::{HandoffEvent, Refusal};

pub(crate) fn json(replica: &str, port: u16, slots: u32) -> String {
    format!(
        r#"{{"pool_id":"p","replica_id":"{replica}","engine":"llamacpp",
            "url":"http://localhost:{port}","slots":{slots}}}"#
    )
}

pub(crate) fn handoff(replica: &str, port: u16, slots: u32) -> Handoff {
    serde_json::from_str(&json(replica, port, slots)).unwrap()
}

pub(crate) fn appeared(dir: &Path, name: &str, handoff: Handoff) -> HandoffEvent {
    HandoffEvent::Appeared {
        path: dir.join(name),
        handoff,
    }
}

pub(crate) fn changed(dir: &Path, name: &str, old: Handoff, new: Handoff) -> HandoffEvent {
    HandoffEvent::Changed {
        path: dir.join(name),
        old,
        new,
    }
}

pub(crate) fn removed(dir: &Path, name: &str, handoff: Handoff) -> HandoffEvent {
    HandoffEvent::Gone {
        path: dir.join(name),
        handoff,
    }
}

/// Writes as an engine's start script should: to a temporary name, then renamed.
pub(crate) fn put(dir: &Path, name: &str, content: &str) {
    let temporary = dir.join(format!(".{name}.tmp"));
    fs::write(&temporary, content).unwrap();
    fs::rename(&temporary, dir.join(name)).unwrap();
}

/// The state of the directory according to the events. Every event must fit the events before it.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) replicas: BTreeMap<(PoolId, ReplicaId), Handoff>,
    pub(crate) refused: Vec<(PathBuf, Refusal)>,
    /// Files that are refused now.
    pub(crate) refused_now: BTreeMap<PathBuf, Refusal>,
    pub(crate) scanned: bool,
}

impl Replay {
    pub(crate) fn apply(&mut self, events: impl IntoIterator<Item = HandoffEvent>) {
        for event in events {
            match event {
                HandoffEvent::Appeared { handoff: new, .. } => {
                    assert_eq!(self.set(&new.clone(), Some(new)), None);
                }
                HandoffEvent::Changed { old, new, .. } => {
                    assert_ne!(old, new);
                    assert_eq!(self.set(&new.clone(), Some(new)), Some(old));
                }
                HandoffEvent::Gone { handoff: old, .. } => {
                    assert_eq!(self.set(&old, None), Some(old));
                }
                HandoffEvent::Refused { path, reason } => {
                    self.refused_now.insert(path.clone(), reason.clone());
                    self.refused.push((path, reason));
                }
                HandoffEvent::Resolved { path } => {
                    assert!(
                        self.refused_now.remove(&path).is_some(),
                        "{path:?} was fine"
                    )
                }
                HandoffEvent::Scanned => {
                    assert!(!std::mem::replace(&mut self.scanned, true), "once");
                }
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
