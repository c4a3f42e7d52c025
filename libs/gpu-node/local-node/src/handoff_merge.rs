//! Which of the engines that several sources announce count. No I/O.
//!
//! Sources differ in what they know: the runtime directory is written by the starters of engines,
//! the persistent directory may be older than its engines, and a scan only guesses. Where two of
//! them name the same replica or the same listener, the earlier source counts; the other is
//! refused, and counts when the first is gone.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use engine_discovery::is_same_listener;
use handoff_watcher::HandoffEvent;
use pool_registry::Trust;
use pool_registry_types::{Handoff, HttpUrl, PoolId, ReplicaId};

/// Who announces an engine, the most trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The directory of the starters of engines.
    Runtime,
    /// The directory that survives a restart of the machine.
    Persistent,
    /// A scan of this machine.
    Scan,
}

impl Source {
    /// How much its announcements are trusted.
    pub(crate) fn trust(self) -> Trust {
        match self {
            Self::Runtime => Trust::Fresh,
            Self::Persistent | Self::Scan => Trust::Unverified,
        }
    }
}

/// What to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MergeAction {
    /// Retire a replica.
    Remove(Handoff),
    /// Announce a replica, or change it.
    Upsert(Source, PathBuf, Handoff),
    /// A file does not count; why, for people.
    Refuse(PathBuf, String),
    /// A file is not refused any more.
    Resolve(PathBuf),
}

type Key = (PoolId, ReplicaId);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    path: PathBuf,
    handoff: Handoff,
}

/// What each source announces, and what counts.
#[derive(Debug, Default)]
pub(crate) struct HandoffMerge {
    claims: BTreeMap<(Source, Key), Claim>,
    counting: BTreeMap<Key, (Source, Claim)>,
    refused: BTreeMap<PathBuf, String>,
}

impl HandoffMerge {
    /// Applies an event of a directory.
    pub(crate) fn apply(&mut self, source: Source, event: HandoffEvent) -> Vec<MergeAction> {
        match event {
            HandoffEvent::Appeared { path, handoff, .. } => self.claim(source, path, handoff),
            HandoffEvent::Changed { path, new, .. } => self.claim(source, path, new),
            HandoffEvent::Gone { handoff, .. } => self.withdraw(source, &handoff),
            HandoffEvent::Refused { path, reason, .. } => {
                vec![MergeAction::Refuse(path, reason.to_string())]
            }
            HandoffEvent::Resolved { path, .. } => vec![MergeAction::Resolve(path)],
            _ => Vec::new(),
        }
    }

    /// A source announces an engine.
    pub(crate) fn claim(
        &mut self,
        source: Source,
        path: PathBuf,
        handoff: Handoff,
    ) -> Vec<MergeAction> {
        let claim = Claim { path, handoff };
        self.claims.insert((source, key(&claim.handoff)), claim);
        self.settle()
    }

    /// A source does not announce an engine any more.
    pub(crate) fn withdraw(&mut self, source: Source, handoff: &Handoff) -> Vec<MergeAction> {
        self.claims.remove(&(source, key(handoff)));
        self.settle()
    }

    /// The URLs in the files of both directories.
    pub(crate) fn urls_of_files(&self) -> Vec<HttpUrl> {
        let claims = self.claims.iter();
        let files = claims.filter(|((source, _), _)| *source != Source::Scan);
        files.map(|(_, claim)| claim.handoff.url.clone()).collect()
    }

    /// Decides again which claims count, and returns what has changed.
    fn settle(&mut self) -> Vec<MergeAction> {
        let mut counting: BTreeMap<Key, (Source, Claim)> = BTreeMap::new();
        let mut refused = BTreeMap::new();
        // In order of their sources.
        for ((source, key), claim) in &self.claims {
            let rival = counting.get(key).or_else(|| {
                let same = |(_, (other, rival)): &(&Key, &(Source, Claim))| {
                    // Within a directory its watcher decides.
                    other != source && is_same_listener(&rival.handoff.url, &claim.handoff.url)
                };
                counting.iter().find(same).map(|(_, rival)| rival)
            });
            match rival {
                // What a scan finds is in no file that an operator could correct.
                Some(_) if *source == Source::Scan => {}
                Some((_, rival)) => {
                    refused.insert(claim.path.clone(), reason(&rival.path));
                }
                None => {
                    counting.insert(key.clone(), (*source, claim.clone()));
                }
            }
        }
        let actions = self.changes(&counting, &refused);
        self.counting = counting;
        self.refused = refused;
        actions
    }

    fn changes(
        &self,
        counting: &BTreeMap<Key, (Source, Claim)>,
        refused: &BTreeMap<PathBuf, String>,
    ) -> Vec<MergeAction> {
        let gone = self.counting.iter();
        let gone = gone.filter(|(key, _)| !counting.contains_key(*key));
        let gone = gone.map(|(_, (_, claim))| MergeAction::Remove(claim.handoff.clone()));
        let new = counting.iter();
        let new = new.filter(|(key, now)| self.counting.get(*key) != Some(*now));
        let new = new.map(|(_, (source, claim))| {
            MergeAction::Upsert(*source, claim.path.clone(), claim.handoff.clone())
        });
        let refusals = refused.iter();
        let refusals = refusals.filter(|(path, why)| self.refused.get(*path) != Some(*why));
        let refusals = refusals.map(|(path, why)| MergeAction::Refuse(path.clone(), why.clone()));
        let resolved = self.refused.keys();
        let resolved = resolved.filter(|path| !refused.contains_key(*path));
        let resolved = resolved.map(|path| MergeAction::Resolve(path.clone()));
        gone.chain(resolved).chain(new).chain(refusals).collect()
    }
}

fn key(handoff: &Handoff) -> Key {
    (handoff.pool_id.clone(), handoff.replica_id.clone())
}

fn reason(rival: &Path) -> String {
    format!(
        "{} announces the same replica or the same url",
        rival.display()
    )
}

#[cfg(test)]
mod tests {
    use pool_registry_types::{EngineKind, KnownEngine};

    use super::*;

    fn handoff(replica: &str, port: u16) -> Handoff {
        Handoff::new(
            PoolId::new("p").unwrap(),
            ReplicaId::new(replica).unwrap(),
            EngineKind::from(KnownEngine::Vllm),
            HttpUrl::new(&format!("http://127.0.0.1:{port}")).unwrap(),
            1,
        )
    }

    /// Each in a few characters.
    fn words(actions: Vec<MergeAction>) -> Vec<String> {
        let word = |action| match action {
            MergeAction::Remove(handoff) => format!("-{}", handoff.replica_id),
            MergeAction::Upsert(source, _, handoff) => {
                format!("+{} of {source:?}", handoff.replica_id)
            }
            MergeAction::Refuse(path, _) => format!("!{}", path.display()),
            MergeAction::Resolve(path) => format!("={}", path.display()),
        };
        actions.into_iter().map(word).collect()
    }

    // spec: FIND-9
    #[test]
    fn the_runtime_directory_counts_before_the_persistent_one() {
        let mut merge = HandoffMerge::default();
        let claim = |merge: &mut HandoffMerge, source, path: &str, replica, port| {
            words(merge.claim(source, path.into(), handoff(replica, port)))
        };
        let kept = claim(&mut merge, Source::Persistent, "kept", "r0", 8000);
        assert_eq!(kept, ["+r0 of Persistent"]);
        // The same engine under another name, then the same name for another engine.
        let same_url = claim(&mut merge, Source::Runtime, "new", "r1", 8000);
        assert_eq!(same_url, ["-r0", "+r1 of Runtime", "!kept"]);
        let moved = claim(&mut merge, Source::Runtime, "new", "r1", 8001);
        assert_eq!(moved, ["=kept", "+r0 of Persistent", "+r1 of Runtime"]);
        let same_name = claim(&mut merge, Source::Runtime, "other", "r0", 8002);
        assert_eq!(same_name, ["+r0 of Runtime", "!kept"]);
        let again = claim(&mut merge, Source::Runtime, "other", "r0", 8002);
        assert_eq!(again, [""; 0]);
        let gone = words(merge.withdraw(Source::Runtime, &handoff("r0", 8002)));
        assert_eq!(gone, ["=kept", "+r0 of Persistent"]);
        let gone = words(merge.withdraw(Source::Persistent, &handoff("r0", 8000)));
        assert_eq!(gone, ["-r0"]);
    }

    // spec: FIND-9
    #[test]
    fn a_scan_counts_last_and_each_source_withdraws_only_its_own() {
        let mut merge = HandoffMerge::default();
        let found = words(merge.claim(Source::Scan, "scan".into(), handoff("8000", 8000)));
        assert_eq!(found, ["+8000 of Scan"]);
        assert_eq!(merge.urls_of_files(), []);
        let kept = words(merge.claim(Source::Persistent, "kept".into(), handoff("r0", 8000)));
        assert_eq!(kept, ["-8000", "+r0 of Persistent"]);
        assert_eq!(merge.urls_of_files(), [handoff("r0", 8000).url]);
        assert_eq!(
            words(merge.withdraw(Source::Scan, &handoff("8000", 8000))),
            [""; 0]
        );
        assert_eq!(
            words(merge.withdraw(Source::Scan, &handoff("r0", 8000))),
            [""; 0]
        );
    }
}
