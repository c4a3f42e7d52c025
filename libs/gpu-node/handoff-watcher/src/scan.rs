//! The files of the directory: which there are, and which changed since the last look.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use pool_registry_types::Handoff;

use crate::{
    core::{Observation, Seen},
    event::Refusal,
    read::{Stamp, admit, read},
};

/// Says why a handoff is of no use, although nothing is wrong with it. It is asked on the watcher's
/// thread, so it should be quick.
pub type Rule = Box<dyn Fn(&Handoff) -> Result<(), String> + Send>;

/// Looks at files, and remembers their stamps so that an unchanged one is not read again.
pub(crate) struct Scanner {
    dir: PathBuf,
    /// The user whose files are ours.
    ours: u32,
    known: HashMap<OsString, Known>,
    /// What is to be refused although nothing is wrong with it.
    rule: Option<Rule>,
    /// How many files were read: what the tests of not reading look at.
    pub(crate) reads: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    stamp: Option<Stamp>,
    /// An equal stamp means equal content.
    settled: bool,
}

/// Whether a file of this name can be a handoff. Temporary names are not: `.x.json`, `x.json.tmp`.
pub(crate) fn is_candidate(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.ends_with(b".json") && !name.starts_with(b".")
}

impl Scanner {
    pub(crate) fn new(dir: PathBuf, rule: Option<Rule>) -> Self {
        Self {
            rule,
            dir,
            ours: rustix::process::geteuid().as_raw(),
            known: HashMap::new(),
            reads: 0,
        }
    }

    /// Looks at every file and says what changed, in order of the names. A directory that does not
    /// exist has no files.
    ///
    /// # Errors
    /// When the directory cannot be listed: that is no evidence that a file is gone, so nothing
    /// changes.
    pub(crate) fn scan(&mut self, now: SystemTime) -> io::Result<Vec<Observation>> {
        let mut names = list(&self.dir)?;
        // A listing may miss a file that is renamed meanwhile. Whether it is gone only a look can
        // tell.
        names.extend(self.known.keys().cloned());
        names.sort_unstable();
        names.dedup();
        Ok(names
            .into_iter()
            .filter_map(|name| self.look(name, false, now))
            .collect())
    }

    /// Looks at those files that somebody said have changed, and reads them also when their stamp
    /// did not.
    pub(crate) fn look_at(
        &mut self,
        names: impl IntoIterator<Item = OsString>,
        now: SystemTime,
    ) -> Vec<Observation> {
        names
            .into_iter()
            .filter_map(|name| self.look(name, true, now))
            .collect()
    }

    fn look(
        &mut self,
        name: OsString,
        certainly_changed: bool,
        now: SystemTime,
    ) -> Option<Observation> {
        let path = self.dir.join(&name);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => {
                let was_known = self.known.remove(&name).is_some();
                return was_known.then_some(Observation {
                    name,
                    seen: Seen::Gone,
                });
            }
            Err(error) => {
                let reason = Refusal::Unreadable(error.to_string());
                return Some(self.saw(name, None, false, Err(reason)));
            }
        };
        let stamp = Stamp::of(&metadata);
        let unchanged = self
            .known
            .get(&name)
            .is_some_and(|known| known.settled && known.stamp == Some(stamp));
        if unchanged && !certainly_changed {
            return None;
        }
        let found = match admit(&metadata, self.ours) {
            Ok(()) => {
                self.reads += 1;
                read(&path, self.ours).and_then(|handoff| self.check(handoff))
            }
            Err(reason) => Err(reason),
        };
        // What could not be read may be readable next time without any change of the file.
        let settled = stamp.is_settled(now) && !matches!(found, Err(Refusal::Unreadable(_)));
        Some(self.saw(name, Some(stamp), settled, found))
    }

    fn check(&self, handoff: Handoff) -> Result<Handoff, Refusal> {
        match self.rule.as_ref().map(|rule| rule(&handoff)) {
            Some(Err(reason)) => Err(Refusal::Unwanted(reason)),
            Some(Ok(())) | None => Ok(handoff),
        }
    }

    fn saw(
        &mut self,
        name: OsString,
        stamp: Option<Stamp>,
        settled: bool,
        found: Result<Handoff, Refusal>,
    ) -> Observation {
        self.known.insert(name.clone(), Known { stamp, settled });
        let seen = match found {
            Ok(handoff) => Seen::Good(handoff),
            Err(reason) => Seen::Bad { reason, stamp },
        };
        Observation { name, seen }
    }
}

fn list(dir: &Path) -> io::Result<Vec<OsString>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if is_candidate(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// No such file, or no such directory on the way to it.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
