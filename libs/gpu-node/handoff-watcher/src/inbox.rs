//! What inotify said, until the watcher's thread gets to it: coalesced, bounded, and only ever a
//! hint.

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

/// More names than this are not worth listing: looking at every file costs the same.
const MAX_NAMES: usize = 1024;

/// How long to gather hints after the first one. Creating, writing and closing a file are three
/// events, a rename two; looking after each would read half-written files and see renamed ones
/// disappear.
const GATHER: Duration = Duration::from_millis(2);

/// What may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// These files.
    pub(crate) names: BTreeSet<OsString>,
    /// Anything.
    pub(crate) everything: bool,
    /// What was watched is no longer where it was.
    pub(crate) moved: bool,
}

impl Hints {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.everything
    }

    /// Takes in what inotify said about a watch of `dir` or of a directory above it.
    pub(crate) fn add(&mut self, dir: &Path, event: &notify::Result<Event>) {
        let Ok(event) = event else {
            self.everything = true;
            return;
        };
        if event.need_rescan() {
            self.everything = true;
        }
        // Our own reading opens files. Answering to that would never end.
        if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
        {
            return;
        }
        for path in &event.paths {
            if dir.starts_with(path) {
                self.everything = true;
                self.moved |= matches!(
                    event.kind,
                    EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
                );
            } else if path.parent() == Some(dir) {
                let name = path.file_name().filter(|name| is_candidate(name));
                self.names.extend(name.map(ToOwned::to_owned));
            }
        }
        if self.names.len() > MAX_NAMES {
            self.names.clear();
            self.everything = true;
        }
    }
}

/// Why the watcher's thread goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// It is to end.
    Stop,
    /// The time it waited for has come.
    Due,
    /// Something may have changed.
    Hints(Hints),
}

/// Where hints and the request to stop meet the watcher's thread.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    hints: Hints,
    stop: bool,
}

impl Inbox {
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.wake.notify_all();
    }

    pub(crate) fn event(&self, dir: &Path, event: &notify::Result<Event>) {
        let mut state = self.state.lock();
        state.hints.add(dir, event);
        if !state.hints.is_empty() {
            self.wake.notify_all();
        }
    }

    /// Waits for hints, for `until`, or for the end. When `until` has passed it wins over hints, so
    /// that a busy directory cannot put off the poll.
    pub(crate) fn wait(&self, until: Instant) -> Woken {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return Woken::Stop;
            }
            if now() >= until {
                return Woken::Due;
            }
            if !state.hints.is_empty() {
                break;
            }
            self.wake.wait_until(&mut state, until);
        }
        let gathered = now() + GATHER;
        while !state.stop && !self.wake.wait_until(&mut state, gathered).timed_out() {}
        Woken::Hints(std::mem::take(&mut state.hints))
    }
}

/// The time by which this thread waits.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread without an async runtime; its tests wait for events, not for times"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
