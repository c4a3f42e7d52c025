//! Keeps an inotify watch on the directory, or on the nearest existing directory above it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use notify::{RecursiveMode, Watcher as _};
use tracing::{info, warn};

use crate::hint_queue::HintQueue;

/// Each attempt may find one more directory of a path that is being created. Deeper paths are left
/// to the next event or poll.
const ATTEMPTS: usize = 32;

/// Opens a watch of one directory; dropping the watch closes it.
pub(crate) type OpenWatch = Box<dyn FnMut(&Path) -> notify::Result<Box<dyn Send>> + Send>;

/// The current watch, and how to open a new one.
pub(crate) struct DirectoryWatch {
    dir: PathBuf,
    /// For the log: how changes are found without events.
    poll_interval: Duration,
    open: OpenWatch,
    current: Option<ActiveWatch>,
    failure_logged: bool,
}

struct ActiveWatch {
    directory: DirectoryIdentity,
    _watcher: Box<dyn Send>,
}

/// Identifies a directory. The inode alone is not enough: file systems reuse the inode of a removed
/// directory.
#[derive(Debug, PartialEq, Eq)]
struct DirectoryIdentity {
    path: PathBuf,
    device: u64,
    inode: u64,
    created: Option<SystemTime>,
}

/// Opens inotify watches that put hints into `hints`.
pub(crate) fn inotify(dir: PathBuf, hints: Arc<HintQueue>) -> OpenWatch {
    Box::new(move |watched| {
        let (dir, hints) = (dir.clone(), Arc::clone(&hints));
        let mut watcher = notify::recommended_watcher(move |event| hints.push(&dir, &event))?;
        watcher.watch(watched, RecursiveMode::NonRecursive)?;
        Ok(Box::new(watcher))
    })
}

impl DirectoryWatch {
    pub(crate) fn new(dir: PathBuf, poll_interval: Duration, open: OpenWatch) -> Self {
        Self {
            dir,
            poll_interval,
            open,
            current: None,
            failure_logged: false,
        }
    }

    /// Closes the watch. The next [`Self::ensure`] opens a new one.
    pub(crate) fn discard(&mut self) {
        self.current = None;
    }

    /// Makes sure that the right directory is watched. Read the directory after this call, not
    /// before it, so that no change in between is missed.
    ///
    /// A new watch is a new inotify instance: removing the old watch cannot remove the new one.
    pub(crate) fn ensure(&mut self) {
        for _ in 0..ATTEMPTS {
            let Some(directory) = nearest(&self.dir) else {
                return self.log_failure(&"no directory of its path can be read");
            };
            if self
                .current
                .as_ref()
                .is_some_and(|watch| watch.directory == directory)
            {
                return;
            }
            match (self.open)(&directory.path) {
                Ok(watcher) => {
                    self.current = Some(ActiveWatch {
                        directory,
                        _watcher: watcher,
                    });
                    if std::mem::take(&mut self.failure_logged) {
                        let dir = self.dir.display();
                        info!(%dir, "the handoff directory is watched by events again");
                    }
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => {
                    self.current = None;
                    return self.log_failure(&error);
                }
            }
        }
    }

    /// Logs once: polls continue and would repeat it every second.
    fn log_failure(&mut self, error: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.failure_logged, true) {
            warn!(
                dir = %self.dir.display(), %error,
                "cannot watch the handoff directory by events, so it is polled every {:?}; raise \
                 fs.inotify.max_user_instances and fs.inotify.max_user_watches",
                self.poll_interval,
            );
        }
    }
}

/// The directory vanished between finding and watching it.
fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// `dir`, or the nearest existing directory above it.
fn nearest(dir: &Path) -> Option<DirectoryIdentity> {
    use std::os::unix::fs::MetadataExt as _;
    dir.ancestors().find_map(|path| {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
        Some(DirectoryIdentity {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            created: metadata.created().ok(),
        })
    })
}
