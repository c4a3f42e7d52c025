//! The directory of handoffs that survive a restart of the machine.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use pool_registry_types::{Handoff, MAX_HANDOFF_BYTES};
use rustix::process::geteuid;
use thiserror::Error;

/// The most files that are listed. A node has fewer engines.
pub(crate) const MAX_FILES: usize = 4096;

/// Why a handoff was not written or removed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory or a file cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The handoff cannot be written as JSON.
    #[error("the handoff cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// A directory of handoffs.
#[derive(Debug, Clone)]
pub struct HandoffStore {
    dir: PathBuf,
}

impl HandoffStore {
    /// The directory `dir`, which need not exist yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Its path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every valid handoff and its file, in order of the files. A missing directory has none;
    /// other files are left out.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn list(&self) -> Result<Vec<(PathBuf, Handoff)>, StoreError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&self.dir, error)),
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut paths: Vec<PathBuf> = paths
            .filter(|path| is_handoff(path))
            .take(MAX_FILES)
            .collect();
        paths.sort();
        let read = paths.into_iter().filter_map(|path| {
            let handoff = read(&path)?;
            Some((path, handoff))
        });
        Ok(read.collect())
    }

    /// Writes a handoff, replacing that of the same replica. A reader never sees half of it. Only
    /// its owner can read one that names the file of a key. The owner of the directory owns it,
    /// where this user may give files away, because the node reads no files of other users.
    ///
    /// # Errors
    /// When the directory cannot be created or written.
    pub fn write(&self, handoff: &Handoff) -> Result<PathBuf, StoreError> {
        let mut text = serde_json::to_vec_pretty(handoff)?;
        text.push(b'\n');
        self.create().map_err(|error| failed(&self.dir, error))?;
        let name = format!("{}_{}.json", handoff.pool_id, handoff.replica_id);
        let path = self.dir.join(name);
        let written = if handoff.api_key_file.is_some() {
            state_file::write_private(&path, &text)
        } else {
            state_file::write(&path, &text)
        };
        written
            .and_then(|()| give_away(&path, &self.dir))
            .map_err(|error| failed(&path, error))?;
        Ok(path)
    }

    /// Creates the directory. It belongs to the owner of the one above it, as do those between.
    fn create(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self
            .dir
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
            .collect();
        state_file::create_directory(&self.dir)?;
        let mut made = missing.into_iter().rev();
        made.try_for_each(|path| match path.parent() {
            Some(above) if !above.as_os_str().is_empty() => give_away(path, above),
            _ => Ok(()),
        })
    }

    /// Removes a file of [`list`](Self::list).
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, path: &Path) -> Result<(), StoreError> {
        fs::remove_file(path)
            .and_then(|()| state_file::sync_directory(&self.dir))
            .map_err(|error| failed(path, error))
    }
}

/// Gives `path` to the owner of the directory `above`, where this user may.
fn give_away(path: &Path, above: &Path) -> io::Result<()> {
    let owner = fs::metadata(above)?;
    if !geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::File {
        path: path.to_owned(),
        source,
    }
}

/// Temporary files of writers begin with a dot, or have another ending.
fn is_handoff(path: &Path) -> bool {
    let is_hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden && path.extension().is_some_and(|ending| ending == "json")
}

fn read(path: &Path) -> Option<Handoff> {
    let is_file = path.symlink_metadata().ok()?.is_file();
    let limit = MAX_HANDOFF_BYTES as u64;
    let text = is_file.then(|| state_file::read_plain_text(path, limit).ok());
    serde_json::from_str(&text???).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use pool_registry_types::{EngineKind, HttpUrl, KeyFile, KnownEngine, PoolId, ReplicaId};

    use super::*;

    fn handoff(replica: &str) -> Handoff {
        Handoff::new(
            PoolId::new("chat").unwrap(),
            ReplicaId::new(replica).unwrap(),
            EngineKind::from(KnownEngine::Vllm),
            HttpUrl::new("http://127.0.0.1:8000").unwrap(),
            4,
        )
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    // spec: FIND-10
    #[test]
    fn a_handoff_is_written_whole_and_one_with_a_key_is_private() {
        let root = tempfile::tempdir().unwrap();
        let store = HandoffStore::new(root.path().join("a/handoffs"));
        assert_eq!(store.list().unwrap(), []);
        let open = store.write(&handoff("r0")).unwrap();
        let mut secret = handoff("r1");
        secret.api_key_file = Some(KeyFile::new("/etc/llorch/key").unwrap());
        let private = store.write(&secret).unwrap();
        assert!(open.ends_with("chat_r0.json") && private.ends_with("chat_r1.json"));
        assert_eq!(mode(&private), 0o600);
        assert_ne!(mode(&open), 0o600);
        for (name, text) in [(".new.json", "{"), ("half.json", "{"), ("other.txt", "{")] {
            fs::write(store.dir().join(name), text).unwrap();
        }
        let expected = [(open.clone(), handoff("r0")), (private, secret)];
        assert_eq!(store.list().unwrap(), expected);
        let mut changed = handoff("r0");
        changed.set_slots(9);
        assert_eq!(store.write(&changed).unwrap(), open);
        assert_eq!(store.list().unwrap()[0].1, changed);
        store.remove(&open).unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
        assert!(store.remove(&open).is_err());
    }

    // spec: FIND-10
    #[test]
    fn what_root_writes_belongs_to_the_owner_of_the_directory() {
        if !geteuid().is_root() {
            eprintln!("not tested: this user may not give files away");
            return;
        }
        /// A user that no process has.
        const DAEMON: u32 = 54_321;
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(root.path(), Some(DAEMON), Some(DAEMON)).unwrap();
        let store = HandoffStore::new(root.path().join("a/handoffs"));
        let file = store.write(&handoff("r0")).unwrap();
        for path in [&file, store.dir(), &root.path().join("a")] {
            assert_eq!(
                fs::metadata(path).unwrap().uid(),
                DAEMON,
                "{}",
                path.display()
            );
        }
    }
}
