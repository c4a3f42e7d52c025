//! Scanning the directory: which files exist, and which changed since the last scan.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use pool_registry_types::Handoff;

use crate::{
    event::Refusal,
    index::{FileObservation, FileState},
    read::{FileFingerprint, check_metadata, read},
};

/// Returns the reason for which a valid handoff is refused.
pub(crate) type HandoffFilter = Box<dyn Fn(&Handoff) -> Result<(), String> + Send>;

/// Reads files, and remembers their fingerprints so that unchanged files are not read again.
pub(crate) struct Scanner {
    dir: PathBuf,
    /// The user of this process.
    own_uid: u32,
    known: HashMap<OsString, LastSeen>,
    filter: Option<HandoffFilter>,
    /// How many files were read; for tests.
    pub(crate) reads: u64,
}

#[derive(Debug, Clone, Copy)]
struct LastSeen {
    fingerprint: Option<FileFingerprint>,
    /// An equal fingerprint means equal content.
    reliable: bool,
}

/// Whether a file of this name can be a handoff. Excludes temporary names such as `.x.json` and
/// `x.json.tmp`.
pub(crate) fn is_candidate(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.ends_with(b".json") && !name.starts_with(b".")
}

impl Scanner {
    pub(crate) fn new(dir: PathBuf, filter: Option<HandoffFilter>) -> Self {
        Self {
            filter,
            dir,
            own_uid: rustix::process::geteuid().as_raw(),
            known: HashMap::new(),
            reads: 0,
        }
    }

    /// Scans all files and returns the changed ones, in order of their names. A directory that does
    /// not exist has no files.
    ///
    /// # Errors
    /// When the directory cannot be listed. The known state stays, because the files may still be
    /// there.
    pub(crate) fn scan(&mut self, now: SystemTime) -> io::Result<Vec<FileObservation>> {
        let mut names = list(&self.dir)?;
        // A listing may miss a file that is renamed meanwhile, so check known files one by one.
        names.extend(self.known.keys().cloned());
        names.sort_unstable();
        names.dedup();
        Ok(names
            .into_iter()
            .filter_map(|name| self.observe(name, false, now))
            .collect())
    }

    /// Reads the named files, even when their fingerprint is unchanged.
    pub(crate) fn read_files(
        &mut self,
        names: impl IntoIterator<Item = OsString>,
        now: SystemTime,
    ) -> Vec<FileObservation> {
        names
            .into_iter()
            .filter_map(|name| self.observe(name, true, now))
            .collect()
    }

    fn observe(
        &mut self,
        name: OsString,
        force_read: bool,
        now: SystemTime,
    ) -> Option<FileObservation> {
        let path = self.dir.join(&name);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => {
                let was_known = self.known.remove(&name).is_some();
                return was_known.then_some(FileObservation {
                    name,
                    state: FileState::Absent,
                });
            }
            Err(error) => {
                let reason = Refusal::Unreadable(error.to_string());
                return Some(self.record(name, None, false, Err(reason)));
            }
        };
        let fingerprint = FileFingerprint::of(&metadata);
        let unchanged = self
            .known
            .get(&name)
            .is_some_and(|known| known.reliable && known.fingerprint == Some(fingerprint));
        if unchanged && !force_read {
            return None;
        }
        let found = match check_metadata(&metadata, self.own_uid) {
            Ok(()) => {
                self.reads += 1;
                read(&path, self.own_uid).and_then(|handoff| self.apply_filter(handoff))
            }
            Err(reason) => Err(reason),
        };
        // An unreadable file may become readable without a change of its metadata.
        let reliable =
            fingerprint.is_reliable(now) && !matches!(found, Err(Refusal::Unreadable(_)));
        Some(self.record(name, Some(fingerprint), reliable, found))
    }

    fn apply_filter(&self, handoff: Handoff) -> Result<Handoff, Refusal> {
        match self.filter.as_ref().map(|filter| filter(&handoff)) {
            Some(Err(reason)) => Err(Refusal::Rejected(reason)),
            Some(Ok(())) | None => Ok(handoff),
        }
    }

    fn record(
        &mut self,
        name: OsString,
        fingerprint: Option<FileFingerprint>,
        reliable: bool,
        found: Result<Handoff, Refusal>,
    ) -> FileObservation {
        self.known.insert(
            name.clone(),
            LastSeen {
                fingerprint,
                reliable,
            },
        );
        let state = match found {
            Ok(handoff) => FileState::Valid(handoff),
            Err(reason) => FileState::Invalid {
                reason,
                fingerprint,
            },
        };
        FileObservation { name, state }
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

/// The file, or a directory of its path, does not exist.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
