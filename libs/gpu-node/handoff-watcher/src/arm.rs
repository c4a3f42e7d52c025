//! Keeps an inotify watch on the directory, or on the nearest one above it that exists.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use notify::{RecursiveMode, Watcher as _};
use tracing::{info, warn};

use crate::inbox::Inbox;

/// While a path is being made, each try may find one more of its directories. Deeper ones are left
/// to the next event or poll.
const MAX_TRIES: usize = 32;

/// Makes a watch of one directory; it ends when it is dropped.
pub(crate) type Connect = Box<dyn FnMut(&Path) -> notify::Result<Box<dyn Send>> + Send>;

/// The watch, and what it takes to make it anew.
pub(crate) struct Arm {
    dir: PathBuf,
    /// For the log: what happens without events.
    poll_interval: Duration,
    connect: Connect,
    current: Option<Watch>,
    complained: bool,
}

struct Watch {
    place: Place,
    _watcher: Box<dyn Send>,
}

/// A directory on the way, and which one it is. Its number alone would not tell: file systems give
/// the number of a removed directory to the next one.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

/// Watches through inotify and drops what it says into `inbox`.
pub(crate) fn by_events(dir: PathBuf, inbox: Arc<Inbox>) -> Connect {
    Box::new(move |place| {
        let (dir, inbox) = (dir.clone(), Arc::clone(&inbox));
        let mut watcher = notify::recommended_watcher(move |event| inbox.event(&dir, &event))?;
        watcher.watch(place, RecursiveMode::NonRecursive)?;
        Ok(Box::new(watcher))
    })
}

impl Arm {
    pub(crate) fn new(dir: PathBuf, poll_interval: Duration, connect: Connect) -> Self {
        Self {
            dir,
            poll_interval,
            connect,
            current: None,
            complained: false,
        }
    }

    /// The watch may lead nowhere: the next [`Self::ensure`] makes a new one.
    pub(crate) fn forget(&mut self) {
        self.current = None;
    }

    /// Makes sure that the right directory is watched. Look at the directory after this, not
    /// before: then nothing that happens in between is missed.
    ///
    /// A new watch is a new inotify instance: a descriptor of the old one that is still on its way
    /// to being removed cannot take the new one with it.
    pub(crate) fn ensure(&mut self) {
        for _ in 0..MAX_TRIES {
            let Some(place) = nearest(&self.dir) else {
                return self.complain(&"no directory of its path can be looked at");
            };
            if self
                .current
                .as_ref()
                .is_some_and(|watch| watch.place == place)
            {
                return;
            }
            match (self.connect)(&place.path) {
                Ok(watcher) => {
                    self.current = Some(Watch {
                        place,
                        _watcher: watcher,
                    });
                    if std::mem::take(&mut self.complained) {
                        info!(dir = %self.dir.display(), "the handoff directory is watched by events again");
                    }
                }
                Err(error) if vanished(&error) => {}
                Err(error) => {
                    self.current = None;
                    return self.complain(&error);
                }
            }
        }
    }

    /// Polling goes on, so this is said once and not every second.
    fn complain(&mut self, error: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.complained, true) {
            warn!(
                dir = %self.dir.display(), %error,
                "the handoff directory cannot be watched by events, so it is looked at every {:?}; raise fs.inotify.max_user_instances and max_user_watches to hear at once",
                self.poll_interval,
            );
        }
    }
}

/// Between finding the directory and watching it, it went.
fn vanished(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// `dir`, or the nearest directory above it that exists.
fn nearest(dir: &Path) -> Option<Place> {
    use std::os::unix::fs::MetadataExt as _;
    dir.ancestors().find_map(|path| {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
        Some(Place {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            born: metadata.created().ok(),
        })
    })
}
