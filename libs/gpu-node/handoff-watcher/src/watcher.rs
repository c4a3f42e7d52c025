//! The thread that joins the parts, and its handle.

use std::{
    fmt, io,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use tracing::{debug, warn};

use crate::{
    arm::{Arm, Connect, by_events},
    core::{Core, Observation},
    event::Event,
    inbox::{Hints, Inbox, Woken, now},
    scan::{Rule, Scanner},
};

/// How often every file is looked at when nobody says otherwise. Events are faster; this is for
/// file systems and moments that have none, and a second is soon enough then.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest poll interval: below that the watcher would do nothing else.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What to watch, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory; it need not exist.
    pub dir: PathBuf,
    /// How often every file is looked at; at least 10 ms.
    pub poll_interval: Duration,
    /// Also be told by the kernel. False where it knows nothing of changes, as on network file
    /// systems.
    pub events: bool,
}

impl Config {
    /// Events and [`DEFAULT_POLL_INTERVAL`] for `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            poll_interval: DEFAULT_POLL_INTERVAL,
            events: true,
        }
    }
}

/// Watches a directory of handoff files until it is dropped.
pub struct HandoffWatcher {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl HandoffWatcher {
    /// Starts watching. `on_event` is called on the watcher's thread, first with what is there
    /// already; while it runs nothing is watched, so it should be quick, and it must not wait
    /// for this handle to be dropped.
    ///
    /// # Errors
    /// When the directory is relative and there is no current directory, or no thread can be
    /// started.
    pub fn start(config: Config, on_event: impl FnMut(Event) + Send + 'static) -> io::Result<Self> {
        Self::start_with_rule(config, None, on_event)
    }

    /// The same, with what is to be refused although nothing is wrong with it.
    ///
    /// # Errors
    /// As [`HandoffWatcher::start`].
    pub fn start_with_rule(
        config: Config,
        rule: Option<Rule>,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> io::Result<Self> {
        let Config {
            dir,
            poll_interval,
            events,
        } = config;
        let dir = std::path::absolute(dir)?;
        let inbox = Arc::new(Inbox::default());
        let connect = events.then(|| by_events(dir.clone(), Arc::clone(&inbox)));
        let scanner = Scanner::new(dir.clone(), rule);
        Self::start_with(dir, poll_interval, inbox, connect, scanner, on_event)
    }

    /// The same with another source of events.
    pub(crate) fn start_with(
        dir: PathBuf,
        poll_interval: Duration,
        inbox: Arc<Inbox>,
        connect: Option<Connect>,
        scanner: Scanner,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> io::Result<Self> {
        let poll_interval = poll_interval.max(MIN_POLL_INTERVAL);
        let loop_ = Loop {
            inbox: Arc::clone(&inbox),
            arm: connect.map(|connect| Arm::new(dir.clone(), poll_interval, connect)),
            scanner,
            core: Core::new(dir.clone()),
            dir,
            poll_interval,
            unlistable: false,
            scanned: false,
            on_event,
        };
        // The thread's lines say what those of its starter say.
        let span = tracing::Span::current();
        let thread = thread::Builder::new()
            .name("handoff-watcher".to_owned())
            .spawn(move || span.in_scope(|| loop_.run()))?;
        Ok(Self {
            inbox,
            thread: Some(thread),
        })
    }

    /// Ends watching and returns when the thread has ended: no event comes afterwards. Dropping
    /// does the same.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for HandoffWatcher {
    fn drop(&mut self) {
        self.inbox.stop();
        if let Some(thread) = self.thread.take() {
            // An error means that `on_event` panicked, which the panic hook has told already.
            let _: thread::Result<()> = thread.join();
        }
    }
}

impl fmt::Debug for HandoffWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandoffWatcher").finish_non_exhaustive()
    }
}

struct Loop<F> {
    inbox: Arc<Inbox>,
    dir: PathBuf,
    poll_interval: Duration,
    /// `None`: polling is all there is.
    arm: Option<Arm>,
    scanner: Scanner,
    core: Core,
    /// The directory could not be listed, and that was said.
    unlistable: bool,
    /// The directory has been listed once, and that was said.
    scanned: bool,
    on_event: F,
}

impl<F: FnMut(Event)> Loop<F> {
    fn run(mut self) {
        self.scan();
        let mut next_poll = now() + self.poll_interval;
        loop {
            match self.inbox.wait(next_poll) {
                Woken::Stop => return,
                Woken::Due => {
                    self.scan();
                    let refusals = self.core.polled();
                    self.tell(refusals);
                    // From now, not from when it was due: after a stall there is nothing to catch
                    // up with.
                    next_poll = now() + self.poll_interval;
                }
                Woken::Hints(hints) => self.follow(hints),
            }
        }
    }

    fn follow(&mut self, hints: Hints) {
        if hints.moved
            && let Some(arm) = &mut self.arm
        {
            arm.forget();
        }
        if !hints.names.is_empty() {
            let observations = self.scanner.look_at(hints.names, SystemTime::now());
            self.observe(observations);
        }
        if hints.everything {
            self.scan();
        }
    }

    fn scan(&mut self) {
        if let Some(arm) = &mut self.arm {
            arm.ensure();
        }
        match self.scanner.scan(SystemTime::now()) {
            Ok(observations) => {
                self.unlistable = false;
                self.observe(observations);
                if !std::mem::replace(&mut self.scanned, true) {
                    self.tell(vec![Event::Scanned]);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unlistable, true) {
                    warn!(dir = %self.dir.display(), %error, "the handoff directory cannot be listed and its last state stays; let this user read it");
                }
            }
        }
    }

    fn observe(&mut self, observations: Vec<Observation>) {
        if !observations.is_empty() {
            let events = self.core.observe(observations);
            self.tell(events);
        }
    }

    fn tell(&mut self, events: Vec<Event>) {
        for event in events {
            debug!(?event, "handoff");
            (self.on_event)(event);
        }
    }
}
