//! The index of announced handoffs: turns file observations into events. No I/O, no clock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use pool_registry_types::{Handoff, HttpUrl, PoolId, ReplicaId};

use crate::{
    event::{HandoffEvent, Refusal},
    read::FileFingerprint,
};

/// A file that is still incomplete after this many polls in a row is refused: it is not being
/// written any more.
pub const POLLS_TO_REFUSE: u32 = 3;

/// The state of one file at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileObservation {
    pub(crate) name: OsString,
    pub(crate) state: FileState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileState {
    Absent,
    Valid(Handoff),
    Invalid {
        reason: Refusal,
        /// Identifies the content; `None` when even the metadata could not be read.
        fingerprint: Option<FileFingerprint>,
    },
}

type Key = (PoolId, ReplicaId);

fn key(handoff: &Handoff) -> Key {
    (handoff.pool_id.clone(), handoff.replica_id.clone())
}

#[derive(Debug, Default)]
struct File {
    /// The order of its claim to the replica: the earlier claim wins.
    claimed_at: u64,
    /// What it announces, or would announce without a conflict.
    claim: Option<Handoff>,
    /// Its claim is announced: it owns the replica and the URL.
    announced: bool,
    defect: Option<Defect>,
    /// A defect was reported since the file was last valid.
    defect_reported: bool,
    /// The reported conflict with another file.
    conflict: Option<Refusal>,
}

/// What is wrong with a file.
#[derive(Debug)]
struct Defect {
    reason: Refusal,
    fingerprint: Option<FileFingerprint>,
    polls: u32,
    reported: bool,
}

/// The files of a directory and what they announce.
#[derive(Debug, Default)]
pub(crate) struct HandoffIndex {
    dir: PathBuf,
    files: BTreeMap<OsString, File>,
    replicas: HashMap<Key, OsString>,
    urls: HashMap<HttpUrl, OsString>,
    /// Files whose claim conflicts with another file, the earliest claim first.
    waiting: BTreeSet<(u64, OsString)>,
    claims: u64,
    /// Files that were reported as refused.
    refused: BTreeSet<OsString>,
}

/// What one batch of observations changes.
#[derive(Default)]
struct ChangeSet {
    /// The handoff and file of each changed replica before the batch.
    before: BTreeMap<Key, Option<(OsString, Handoff)>>,
    refusals: Vec<HandoffEvent>,
}

impl HandoffIndex {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            ..Self::default()
        }
    }

    /// Applies observations that were made together. Only differences are reported: renaming a
    /// file, or writing the same content again, is no event.
    pub(crate) fn observe(&mut self, observations: Vec<FileObservation>) -> Vec<HandoffEvent> {
        let mut changes = ChangeSet::default();
        for FileObservation { name, state } in observations {
            match state {
                FileState::Absent => self.set_absent(&name, &mut changes),
                FileState::Valid(handoff) => self.set_valid(name, handoff, &mut changes),
                FileState::Invalid {
                    reason,
                    fingerprint,
                } => self.set_invalid(&name, reason, fingerprint, &mut changes),
            }
        }
        self.resolve_claims(&mut changes);
        let resolved = self.resolved();
        self.events(changes, resolved)
    }

    /// A poll is complete. Refuses files that have been incomplete for too many polls.
    pub(crate) fn poll_finished(&mut self) -> Vec<HandoffEvent> {
        let mut lasting = Vec::new();
        for (name, file) in &mut self.files {
            if let Some(defect) = file.defect.as_mut().filter(|defect| !defect.reported) {
                defect.polls += 1;
                if defect.polls >= POLLS_TO_REFUSE {
                    defect.reported = true;
                    file.defect_reported = true;
                    lasting.push((name.clone(), defect.reason.clone()));
                }
            }
        }
        lasting
            .into_iter()
            .map(|(name, reason)| self.refuse(&name, reason))
            .collect()
    }

    fn refuse(&mut self, name: &OsStr, reason: Refusal) -> HandoffEvent {
        self.refused.insert(name.to_owned());
        HandoffEvent::Refused {
            path: self.dir.join(name),
            reason,
        }
    }

    /// Refused files that are gone or valid now.
    fn resolved(&mut self) -> Vec<HandoffEvent> {
        let is_fine = |file: &File| file.defect.is_none() && file.conflict.is_none();
        let resolved: Vec<_> = (self.refused.iter())
            .filter(|name| self.files.get(*name).is_none_or(is_fine))
            .cloned()
            .collect();
        resolved
            .into_iter()
            .map(|name| {
                self.refused.remove(&name);
                HandoffEvent::Resolved {
                    path: self.dir.join(name),
                }
            })
            .collect()
    }

    fn set_absent(&mut self, name: &OsStr, changes: &mut ChangeSet) {
        self.withdraw(name, changes);
        self.files.remove(name);
    }

    fn set_valid(&mut self, name: OsString, handoff: Handoff, changes: &mut ChangeSet) {
        let file = self.files.entry(name.clone()).or_default();
        file.defect = None;
        if std::mem::take(&mut file.defect_reported) {
            // The defect was reported last, so an earlier conflict has to be reported again.
            file.conflict = None;
        }
        if file.claim.as_ref() == Some(&handoff) {
            return;
        }
        // A claim to another replica comes after the existing claims to it.
        let same_replica = file
            .claim
            .as_ref()
            .is_some_and(|old| key(old) == key(&handoff));
        self.withdraw(&name, changes);
        if !same_replica {
            self.claims += 1;
        }
        let claims = self.claims;
        let file = self.files.entry(name.clone()).or_default();
        if !same_replica {
            file.claimed_at = claims;
        }
        file.conflict = None;
        file.claim = Some(handoff);
        self.waiting.insert((file.claimed_at, name));
    }

    fn set_invalid(
        &mut self,
        name: &OsStr,
        reason: Refusal,
        fingerprint: Option<FileFingerprint>,
        changes: &mut ChangeSet,
    ) {
        if !reason.keeps_last_state() {
            self.withdraw(name, changes);
        }
        let file = self.files.entry(name.to_owned()).or_default();
        let polls = match &file.defect {
            Some(known) if known.reason == reason && known.fingerprint == fingerprint => return,
            // Still being written: keep counting polls.
            Some(known) if !known.reported => known.polls,
            _ => 0,
        };
        let reported = !reason.is_transient();
        file.defect = Some(Defect {
            reason: reason.clone(),
            fingerprint,
            polls,
            reported,
        });
        file.defect_reported |= reported;
        if reported {
            changes.refusals.push(self.refuse(name, reason));
        }
    }

    /// Withdraws the claim of a file. Its replica and URL are free for other files.
    fn withdraw(&mut self, name: &OsStr, changes: &mut ChangeSet) {
        let Some(file) = self.files.get_mut(name) else {
            return;
        };
        let Some(handoff) = file.claim.take() else {
            return;
        };
        self.waiting.remove(&(file.claimed_at, name.to_owned()));
        file.conflict = None;
        if std::mem::take(&mut file.announced) {
            let key = key(&handoff);
            self.replicas.remove(&key);
            self.urls.remove(&handoff.url);
            let before = changes.before.entry(key);
            before.or_insert_with(|| Some((name.to_owned(), handoff)));
        }
    }

    /// Announces every waiting claim that has no conflict, then reports the remaining conflicts.
    fn resolve_claims(&mut self, changes: &mut ChangeSet) {
        let waiting = std::mem::take(&mut self.waiting);
        for (claimed_at, name) in waiting {
            if !self.try_announce(&name, changes) {
                self.waiting.insert((claimed_at, name));
            }
        }
        let conflicting: Vec<_> = self.waiting.iter().map(|(_, name)| name.clone()).collect();
        for name in conflicting {
            self.report_conflict(&name, changes);
        }
    }

    /// Announces the claim of a file. Returns false when another file is in conflict.
    fn try_announce(&mut self, name: &OsStr, changes: &mut ChangeSet) -> bool {
        let Some(handoff) = self.files.get(name).and_then(|file| file.claim.as_ref()) else {
            return true;
        };
        let key = key(handoff);
        if self.conflict_of(handoff).is_some() {
            return false;
        }
        self.replicas.insert(key.clone(), name.to_owned());
        self.urls.insert(handoff.url.clone(), name.to_owned());
        changes.before.entry(key).or_insert(None);
        if let Some(file) = self.files.get_mut(name) {
            file.announced = true;
            file.conflict = None;
        }
        true
    }

    fn conflict_of(&self, handoff: &Handoff) -> Option<Refusal> {
        let path = |other: &OsString| self.dir.join(other);
        match (
            self.replicas.get(&key(handoff)),
            self.urls.get(&handoff.url),
        ) {
            (Some(other), _) => Some(Refusal::SameReplica { other: path(other) }),
            (None, Some(other)) => Some(Refusal::SameUrl { other: path(other) }),
            (None, None) => None,
        }
    }

    fn report_conflict(&mut self, name: &OsStr, changes: &mut ChangeSet) {
        let claim = self.files.get(name).and_then(|file| file.claim.as_ref());
        let conflict = claim.and_then(|handoff| self.conflict_of(handoff));
        let Some(file) = self.files.get_mut(name) else {
            return;
        };
        if std::mem::replace(&mut file.conflict, conflict.clone()) != conflict
            && let Some(reason) = conflict
        {
            changes.refusals.push(self.refuse(name, reason));
        }
    }

    /// The file that announces a replica, and its handoff.
    fn announced(&self, key: &Key) -> Option<(&OsString, &Handoff)> {
        let name = self.replicas.get(key)?;
        Some((name, self.files.get(name)?.claim.as_ref()?))
    }

    /// The events of a batch. Events that free a URL come before events that use it.
    fn events(&self, changes: ChangeSet, resolved: Vec<HandoffEvent>) -> Vec<HandoffEvent> {
        let (mut gone, mut changed, mut appeared) = (Vec::new(), Vec::new(), Vec::new());
        for (key, before) in changes.before {
            match (before, self.announced(&key)) {
                (Some((_, old)), Some((name, new))) if old != *new => {
                    changed.push(HandoffEvent::Changed {
                        path: self.dir.join(name),
                        old,
                        new: new.clone(),
                    });
                }
                (Some((name, handoff)), None) => gone.push(HandoffEvent::Gone {
                    path: self.dir.join(name),
                    handoff,
                }),
                (None, Some((name, handoff))) => appeared.push(HandoffEvent::Appeared {
                    path: self.dir.join(name),
                    handoff: handoff.clone(),
                }),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        gone.into_iter()
            .chain(changed)
            .chain(appeared)
            .chain(resolved)
            .chain(changes.refusals)
            .collect()
    }
}
