//! The decisions: from what looks at files found to events. No I/O, no clock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use pool_registry_types::{Handoff, HttpUrl, PoolId, ReplicaId};

use crate::{
    event::{Event, Refusal},
    read::Stamp,
};

/// This many polls in a row must find a file unfinished before it is refused: a writer that needs
/// longer than that is not writing.
pub const POLLS_TO_REFUSE: u32 = 3;

/// What a look at one file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) name: OsString,
    pub(crate) seen: Seen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Gone,
    Good(Handoff),
    Bad {
        reason: Refusal,
        /// Which state of the file this is about; `None` when it could not even be looked at.
        stamp: Option<Stamp>,
    },
}

type Key = (PoolId, ReplicaId);

fn key(handoff: &Handoff) -> Key {
    (handoff.pool_id.clone(), handoff.replica_id.clone())
}

#[derive(Debug, Default)]
struct File {
    /// Since when it claims its replica: the earlier claim stays.
    since: u64,
    /// What it announces, or would if another file did not stand in its way.
    wanted: Option<Handoff>,
    /// The replica and the URL are its own.
    holds: bool,
    trouble: Option<Trouble>,
    /// A trouble was told since it was last good.
    trouble_told: bool,
    /// What stands in its way; said.
    blocked: Option<Refusal>,
}

#[derive(Debug)]
struct Trouble {
    reason: Refusal,
    stamp: Option<Stamp>,
    polls: u32,
    said: bool,
}

/// The files of a directory and what they announce.
#[derive(Debug, Default)]
pub(crate) struct Core {
    dir: PathBuf,
    files: BTreeMap<OsString, File>,
    replicas: HashMap<Key, OsString>,
    urls: HashMap<HttpUrl, OsString>,
    /// Files that want to announce something and do not yet, the earliest claim first.
    waiting: BTreeSet<(u64, OsString)>,
    claims: u64,
    /// Files that are refused, as far as it was told.
    refused: BTreeSet<OsString>,
}

/// What one batch of observations changes: each replica touched, with what it announced before.
#[derive(Default)]
struct Batch {
    before: BTreeMap<Key, Option<Handoff>>,
    refusals: Vec<Event>,
}

impl Core {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            ..Self::default()
        }
    }

    /// Takes in what was seen together. Only the difference to before is told: a file that was
    /// renamed, or written anew with the same content, is no event.
    pub(crate) fn observe(&mut self, observations: Vec<Observation>) -> Vec<Event> {
        let mut batch = Batch::default();
        for Observation { name, seen } in observations {
            match seen {
                Seen::Gone => self.forget(&name, &mut batch),
                Seen::Good(handoff) => self.want(name, handoff, &mut batch),
                Seen::Bad { reason, stamp } => self.doubt(&name, reason, stamp, &mut batch),
            }
        }
        self.settle(&mut batch);
        let resolved = self.resolved();
        self.tell(batch, resolved)
    }

    /// Another poll is over: whatever is still unfinished has been so once more.
    pub(crate) fn polled(&mut self) -> Vec<Event> {
        let mut lasting = Vec::new();
        for (name, file) in &mut self.files {
            if let Some(trouble) = file.trouble.as_mut().filter(|trouble| !trouble.said) {
                trouble.polls += 1;
                if trouble.polls >= POLLS_TO_REFUSE {
                    trouble.said = true;
                    file.trouble_told = true;
                    lasting.push((name.clone(), trouble.reason.clone()));
                }
            }
        }
        lasting
            .into_iter()
            .map(|(name, reason)| self.refuse(&name, reason))
            .collect()
    }

    fn refuse(&mut self, name: &OsStr, reason: Refusal) -> Event {
        self.refused.insert(name.to_owned());
        Event::Refused {
            path: self.dir.join(name),
            reason,
        }
    }

    /// What was refused and is gone, or stands for itself again.
    fn resolved(&mut self) -> Vec<Event> {
        let is_fine = |file: &File| file.trouble.is_none() && file.blocked.is_none();
        let resolved: Vec<_> = (self.refused.iter())
            .filter(|name| self.files.get(*name).is_none_or(is_fine))
            .cloned()
            .collect();
        resolved
            .into_iter()
            .map(|name| {
                self.refused.remove(&name);
                Event::Resolved {
                    path: self.dir.join(name),
                }
            })
            .collect()
    }

    fn forget(&mut self, name: &OsStr, batch: &mut Batch) {
        self.retract(name, batch);
        self.files.remove(name);
    }

    fn want(&mut self, name: OsString, handoff: Handoff, batch: &mut Batch) {
        let file = self.files.entry(name.clone()).or_default();
        file.trouble = None;
        if std::mem::take(&mut file.trouble_told) {
            // Whatever stood in its way before is the reason again, and was not the last one that
            // was told.
            file.blocked = None;
        }
        if file.wanted.as_ref() == Some(&handoff) {
            return;
        }
        // Another replica is another claim, and stands behind those that are there already.
        let same_replica = file
            .wanted
            .as_ref()
            .is_some_and(|old| key(old) == key(&handoff));
        self.retract(&name, batch);
        if !same_replica {
            self.claims += 1;
        }
        let claims = self.claims;
        let file = self.files.entry(name.clone()).or_default();
        if !same_replica {
            file.since = claims;
        }
        file.blocked = None;
        file.wanted = Some(handoff);
        self.waiting.insert((file.since, name));
    }

    fn doubt(&mut self, name: &OsStr, reason: Refusal, stamp: Option<Stamp>, batch: &mut Batch) {
        if !reason.keeps_last_good() {
            self.retract(name, batch);
        }
        let file = self.files.entry(name.to_owned()).or_default();
        let polls = match &file.trouble {
            Some(known) if known.reason == reason && known.stamp == stamp => return,
            // Still being written: the count goes on.
            Some(known) if !known.said => known.polls,
            _ => 0,
        };
        let said = !reason.may_pass();
        file.trouble = Some(Trouble {
            reason: reason.clone(),
            stamp,
            polls,
            said,
        });
        file.trouble_told |= said;
        if said {
            batch.refusals.push(self.refuse(name, reason));
        }
    }

    /// The file announces nothing any more; what it held is free for others.
    fn retract(&mut self, name: &OsStr, batch: &mut Batch) {
        let Some(file) = self.files.get_mut(name) else {
            return;
        };
        let Some(handoff) = file.wanted.take() else {
            return;
        };
        self.waiting.remove(&(file.since, name.to_owned()));
        file.blocked = None;
        if std::mem::take(&mut file.holds) {
            let key = key(&handoff);
            self.replicas.remove(&key);
            self.urls.remove(&handoff.url);
            batch.before.entry(key).or_insert(Some(handoff));
        }
    }

    /// Gives every waiting file what it claims, unless another one holds it; then says what is in
    /// whose way.
    fn settle(&mut self, batch: &mut Batch) {
        let waiting = std::mem::take(&mut self.waiting);
        for (since, name) in waiting {
            if !self.announce(&name, batch) {
                self.waiting.insert((since, name));
            }
        }
        let blocked: Vec<_> = self.waiting.iter().map(|(_, name)| name.clone()).collect();
        for name in blocked {
            self.say_blocked(&name, batch);
        }
    }

    /// Whether the file holds now what it claims.
    fn announce(&mut self, name: &OsStr, batch: &mut Batch) -> bool {
        let Some(handoff) = self.files.get(name).and_then(|file| file.wanted.as_ref()) else {
            return true;
        };
        let key = key(handoff);
        if self.in_the_way_of(handoff).is_some() {
            return false;
        }
        self.replicas.insert(key.clone(), name.to_owned());
        self.urls.insert(handoff.url.clone(), name.to_owned());
        batch.before.entry(key).or_insert(None);
        if let Some(file) = self.files.get_mut(name) {
            file.holds = true;
            file.blocked = None;
        }
        true
    }

    fn in_the_way_of(&self, handoff: &Handoff) -> Option<Refusal> {
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

    fn say_blocked(&mut self, name: &OsStr, batch: &mut Batch) {
        let wanted = self.files.get(name).and_then(|file| file.wanted.as_ref());
        let blocked = wanted.and_then(|handoff| self.in_the_way_of(handoff));
        let Some(file) = self.files.get_mut(name) else {
            return;
        };
        if std::mem::replace(&mut file.blocked, blocked.clone()) != blocked
            && let Some(reason) = blocked
        {
            batch.refusals.push(self.refuse(name, reason));
        }
    }

    /// What a replica's file announces now.
    fn announced(&self, key: &Key) -> Option<&Handoff> {
        self.files.get(self.replicas.get(key)?)?.wanted.as_ref()
    }

    /// First what frees a URL, then what may take it.
    fn tell(&self, batch: Batch, resolved: Vec<Event>) -> Vec<Event> {
        let (mut gone, mut changed, mut appeared) = (Vec::new(), Vec::new(), Vec::new());
        for (key, before) in batch.before {
            match (before, self.announced(&key).cloned()) {
                (Some(old), Some(new)) if old != new => changed.push(Event::Changed { old, new }),
                (Some(old), None) => gone.push(Event::Gone(old)),
                (None, Some(new)) => appeared.push(Event::Appeared(new)),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        gone.into_iter()
            .chain(changed)
            .chain(appeared)
            .chain(resolved)
            .chain(batch.refusals)
            .collect()
    }
}
