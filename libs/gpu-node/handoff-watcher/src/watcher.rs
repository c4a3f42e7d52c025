//! The watcher: its builder, its thread and its handle.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use pool_registry_types::Handoff;
use tracing::{debug, warn};

use crate::{
    directory_watch::{DirectoryWatch, OpenWatch, inotify},
    event::HandoffEvent,
    hint_queue::{ChangeHints, HintQueue, Wakeup, now},
    index::{FileObservation, HandoffIndex},
    scan::{HandoffFilter, Scanner},
};

/// The default interval of polls, which look at every file. Events are faster; polls are for file
/// systems without events and for lost events.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest poll interval. A shorter one would keep the thread busy with polling alone.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Configures and starts a [`HandoffWatcher`].
pub struct HandoffWatcherBuilder {
    dir: PathBuf,
    poll_interval: Duration,
    inotify: bool,
    filter: Option<HandoffFilter>,
}

impl HandoffWatcherBuilder {
    /// Sets how often every file is looked at. The default is [`DEFAULT_POLL_INTERVAL`], the
    /// minimum 10 ms.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.max(MIN_POLL_INTERVAL);
        self
    }

    /// Watches by polls alone, without inotify: for network file systems, which report no changes.
    #[must_use]
    pub fn without_inotify(mut self) -> Self {
        self.inotify = false;
        self
    }

    /// Refuses valid handoffs for which `filter` returns a reason, as
    /// [`Refusal::Rejected`](crate::Refusal::Rejected). The filter runs on the watcher's thread, so
    /// it should be quick.
    #[must_use]
    pub fn filter(
        mut self,
        filter: impl Fn(&Handoff) -> Result<(), String> + Send + 'static,
    ) -> Self {
        self.filter = Some(Box::new(filter));
        self
    }

    /// Starts watching. `on_event` runs on the watcher's thread, first with the files that are
    /// there already. Nothing is watched while it runs, so it should be quick. It must not drop the
    /// handle.
    ///
    /// # Errors
    /// When the directory is relative and there is no current directory, or no thread can be
    /// started.
    pub fn start(
        self,
        on_event: impl FnMut(HandoffEvent) + Send + 'static,
    ) -> io::Result<HandoffWatcher> {
        let dir = std::path::absolute(&self.dir)?;
        let hints = Arc::new(HintQueue::default());
        let open = (self.inotify).then(|| inotify(dir.clone(), Arc::clone(&hints)));
        let scanner = Scanner::new(dir.clone(), self.filter);
        HandoffWatcher::spawn(dir, self.poll_interval, hints, open, scanner, on_event)
    }
}

impl fmt::Debug for HandoffWatcherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandoffWatcherBuilder")
            .field("dir", &self.dir)
            .field("poll_interval", &self.poll_interval)
            .field("inotify", &self.inotify)
            .finish_non_exhaustive()
    }
}

/// Watches a directory of handoff files until it is dropped.
pub struct HandoffWatcher {
    hints: Arc<HintQueue>,
    thread: Option<JoinHandle<()>>,
}

impl HandoffWatcher {
    /// A watcher of `dir`, which need not exist yet.
    #[must_use]
    pub fn builder(dir: impl AsRef<Path>) -> HandoffWatcherBuilder {
        HandoffWatcherBuilder {
            dir: dir.as_ref().to_owned(),
            poll_interval: DEFAULT_POLL_INTERVAL,
            inotify: true,
            filter: None,
        }
    }

    /// Starts the thread, with any source of hints.
    pub(crate) fn spawn(
        dir: PathBuf,
        poll_interval: Duration,
        hints: Arc<HintQueue>,
        open: Option<OpenWatch>,
        scanner: Scanner,
        on_event: impl FnMut(HandoffEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let watch_loop = WatchLoop {
            hints: Arc::clone(&hints),
            watch: open.map(|open| DirectoryWatch::new(dir.clone(), poll_interval, open)),
            scanner,
            index: HandoffIndex::new(dir.clone()),
            dir,
            poll_interval,
            list_error_logged: false,
            first_scan_done: false,
            on_event,
        };
        // Log lines of the thread carry the span of its starter.
        let span = tracing::Span::current();
        let thread = thread::Builder::new()
            .name("handoff-watcher".to_owned())
            .spawn(move || span.in_scope(|| watch_loop.run()))?;
        Ok(Self {
            hints,
            thread: Some(thread),
        })
    }

    /// Stops watching. No event is reported after it returns. Dropping does the same.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for HandoffWatcher {
    fn drop(&mut self) {
        self.hints.stop();
        if let Some(thread) = self.thread.take() {
            // An error means that `on_event` panicked; the panic hook has reported that.
            let _: thread::Result<()> = thread.join();
        }
    }
}

impl fmt::Debug for HandoffWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandoffWatcher").finish_non_exhaustive()
    }
}

struct WatchLoop<F> {
    hints: Arc<HintQueue>,
    dir: PathBuf,
    poll_interval: Duration,
    /// `None` when only polls are used.
    watch: Option<DirectoryWatch>,
    scanner: Scanner,
    index: HandoffIndex,
    list_error_logged: bool,
    first_scan_done: bool,
    on_event: F,
}

impl<F: FnMut(HandoffEvent)> WatchLoop<F> {
    fn run(mut self) {
        self.scan();
        let mut next_poll = now() + self.poll_interval;
        loop {
            match self.hints.wait(next_poll) {
                Wakeup::Stop => return,
                Wakeup::PollDue => {
                    self.scan();
                    let refusals = self.index.poll_finished();
                    self.emit(refusals);
                    // Count from now, so that no polls are caught up after a stall.
                    next_poll = now() + self.poll_interval;
                }
                Wakeup::Hints(hints) => self.apply_hints(hints),
            }
        }
    }

    fn apply_hints(&mut self, hints: ChangeHints) {
        if hints.watch_lost
            && let Some(watch) = &mut self.watch
        {
            watch.discard();
        }
        if !hints.names.is_empty() {
            let observations = self.scanner.read_files(hints.names, SystemTime::now());
            self.observe(observations);
        }
        if hints.rescan {
            self.scan();
        }
    }

    fn scan(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.ensure();
        }
        match self.scanner.scan(SystemTime::now()) {
            Ok(observations) => {
                self.list_error_logged = false;
                self.observe(observations);
                if !std::mem::replace(&mut self.first_scan_done, true) {
                    self.emit(vec![HandoffEvent::Scanned]);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.list_error_logged, true) {
                    warn!(
                        dir = %self.dir.display(), %error,
                        "cannot list the handoff directory, so its last state stays; allow this \
                         user to read it"
                    );
                }
            }
        }
    }

    fn observe(&mut self, observations: Vec<FileObservation>) {
        if !observations.is_empty() {
            let events = self.index.observe(observations);
            self.emit(events);
        }
    }

    fn emit(&mut self, events: Vec<HandoffEvent>) {
        for event in events {
            debug!(?event, "handoff");
            (self.on_event)(event);
        }
    }
}
