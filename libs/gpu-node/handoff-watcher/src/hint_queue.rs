//! Hints from inotify for the watcher's thread: coalesced and bounded. A hint only says which files
//! to read.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::Path,
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind,
    event::{AccessKind, AccessMode, ModifyKind},
};
use parking_lot::{Condvar, Mutex};

use crate::scan::is_candidate;

/// With more names than this a full scan costs the same.
const NAMES_BEFORE_RESCAN: usize = 1024;

/// How long to collect hints after the first one. Creating, writing and closing a file are three
/// events, a rename two. Reading after each event would find half-written files, and renamed ones
/// as missing.
const COALESCE: Duration = Duration::from_millis(2);

/// What may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ChangeHints {
    /// These files.
    pub(crate) names: BTreeSet<OsString>,
    /// Any file may have changed.
    pub(crate) rescan: bool,
    /// The watched directory was moved or removed.
    pub(crate) watch_lost: bool,
}

impl ChangeHints {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.rescan
    }

    /// Adds an event of inotify about `dir` or a directory above it.
    pub(crate) fn add(&mut self, dir: &Path, event: &notify::Result<Event>) {
        let Ok(event) = event else {
            self.rescan = true;
            return;
        };
        if event.need_rescan() {
            self.rescan = true;
        }
        // Our own reads open files. Reacting to them would never end.
        let written = AccessKind::Close(AccessMode::Write);
        if matches!(event.kind, EventKind::Access(kind) if kind != written) {
            return;
        }
        for path in &event.paths {
            if dir.starts_with(path) {
                self.rescan = true;
                self.watch_lost |= matches!(
                    event.kind,
                    EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
                );
            } else if path.parent() == Some(dir) {
                let name = path.file_name().filter(|name| is_candidate(name));
                self.names.extend(name.map(ToOwned::to_owned));
            }
        }
        if self.names.len() > NAMES_BEFORE_RESCAN {
            self.names.clear();
            self.rescan = true;
        }
    }
}

/// Why the watcher's thread wakes up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wakeup {
    /// It should stop.
    Stop,
    /// A poll is due.
    PollDue,
    /// Something may have changed.
    Hints(ChangeHints),
}

/// Passes hints and the request to stop to the watcher's thread.
#[derive(Debug, Default)]
pub(crate) struct HintQueue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    hints: ChangeHints,
    stop: bool,
}

impl HintQueue {
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.wake.notify_all();
    }

    pub(crate) fn push(&self, dir: &Path, event: &notify::Result<Event>) {
        let mut state = self.state.lock();
        state.hints.add(dir, event);
        if !state.hints.is_empty() {
            self.wake.notify_all();
        }
    }

    /// Waits for hints, for `until`, or for the request to stop. A poll that is due takes
    /// precedence over hints, so that a busy directory cannot delay it.
    pub(crate) fn wait(&self, until: Instant) -> Wakeup {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return Wakeup::Stop;
            }
            if now() >= until {
                return Wakeup::PollDue;
            }
            if !state.hints.is_empty() {
                break;
            }
            self.wake.wait_until(&mut state, until);
        }
        let deadline = now() + COALESCE;
        while !state.stop && !self.wake.wait_until(&mut state, deadline).timed_out() {}
        Wakeup::Hints(std::mem::take(&mut state.hints))
    }
}

/// The clock of this thread.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread without an async runtime; its tests wait for events, not for times"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
