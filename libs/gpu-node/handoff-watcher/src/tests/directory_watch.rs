//! Tests of which directory is watched, and of the log when none can be.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use captured_log::Log;
use parking_lot::Mutex;
use tracing::Level;

use crate::directory_watch::DirectoryWatch;

/// A watch that only records which directories it would watch.
fn recording(dir: PathBuf) -> (DirectoryWatch, Arc<Mutex<Vec<PathBuf>>>) {
    let places = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&places);
    let connect = Box::new(move |place: &std::path::Path| {
        noted.lock().push(place.to_owned());
        Ok(Box::new(()) as Box<dyn Send>)
    });
    (
        DirectoryWatch::new(dir, Duration::from_secs(1), connect),
        places,
    )
}

#[test]
fn the_nearest_directory_is_watched_until_the_right_one_exists() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b");
    let (mut watch, places) = recording(dir.clone());
    let mut next = || {
        watch.ensure();
        std::mem::take(&mut *places.lock())
    };
    assert_eq!(next(), [root.path()]);
    assert_eq!(next(), [] as [PathBuf; 0], "already watched");
    fs::create_dir(root.path().join("a")).unwrap();
    assert_eq!(next(), [root.path().join("a")]);
    fs::create_dir(&dir).unwrap();
    assert_eq!(next(), [dir.as_path()]);
    fs::rename(&dir, root.path().join("old")).unwrap();
    fs::create_dir(&dir).unwrap();
    assert_eq!(next(), [dir.as_path()], "the same path, another directory");
    fs::remove_dir(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    assert_eq!(next(), [dir.as_path()], "the inode may be reused");
    fs::remove_dir(&dir).unwrap();
    assert_eq!(next(), [root.path().join("a")]);
}

#[test]
fn a_watch_limit_is_logged_once_and_retried_at_each_poll() {
    let dir = tempfile::tempdir().unwrap();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let connect =
        Box::new(
            move |_: &std::path::Path| match counted.fetch_add(1, Ordering::SeqCst) {
                3 => Ok(Box::new(()) as Box<dyn Send>),
                _ => Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)),
            },
        );
    let mut watch = DirectoryWatch::new(dir.path().to_owned(), Duration::from_secs(1), connect);
    let (log, _guard) = Log::of_this_thread(Level::WARN);
    for _ in 0..3 {
        watch.ensure();
    }
    let logged = || log.text().lines().count();
    assert_eq!((tries.load(Ordering::SeqCst), logged()), (3, 1));
    watch.ensure();
    watch.ensure();
    assert_eq!(tries.load(Ordering::SeqCst), 4, "watched again");
    watch.discard();
    watch.ensure();
    assert_eq!(logged(), 2, "a new failure is logged again");
}
