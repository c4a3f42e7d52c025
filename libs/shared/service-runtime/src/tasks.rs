//! Tasks with a name: tracked while they live, waited for at shutdown, heard when they panic.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    fmt,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{FutureExt as _, future::CatchUnwind};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::{runtime::Handle, sync::Notify, task::AbortHandle};
use tracing::{Instrument as _, Span};

use crate::Shutdown;

/// Spawns tasks and knows which of them are alive. Clones share one set.
///
/// A task costs one map entry while it lives, so one per connection is fine.
#[derive(Clone)]
pub struct Tasks {
    set: Arc<TaskSet>,
}

struct TaskSet {
    shutdown: Shutdown,
    /// Where tasks run, wherever they are spawned; `None` when there was no runtime yet.
    home: Option<Handle>,
    live: Mutex<Live>,
    /// Told whenever the last live task ends.
    empty: Notify,
    /// The first task that panicked and was not isolated.
    panicked: OnceLock<&'static str>,
}

#[derive(Default)]
struct Live {
    next: u64,
    tasks: HashMap<u64, LiveTask>,
}

struct LiveTask {
    name: &'static str,
    /// Absent for the moment between being counted and being spawned.
    abort: Option<AbortHandle>,
}

/// What a panic of a task means for the process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnPanic {
    /// Something the process needs is gone: stop rather than limp on.
    RequestShutdown,
    /// The task stood for one client only.
    Isolate,
}

impl Tasks {
    /// An empty set. A task that panics requests `shutdown`. Tasks run in the runtime that this is
    /// called in, also those that a connection on a thread of its own spawns; called outside of
    /// one, each runs where it is spawned.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            set: Arc::new(TaskSet {
                shutdown,
                home: Handle::try_current().ok(),
                live: Mutex::new(Live::default()),
                empty: Notify::new(),
                panicked: OnceLock::new(),
            }),
        }
    }

    /// Runs `future` as a task of its own, inside a span of this name.
    ///
    /// When it panics, that is logged at ERROR and the shutdown is requested.
    ///
    /// # Panics
    /// Outside a tokio runtime, as [`tokio::spawn`] does.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_tracked(name, OnPanic::RequestShutdown, lasting_span(name), future);
    }

    /// As [`spawn`](Self::spawn), for a task that serves one client: a panic is logged and ends
    /// only this task.
    ///
    /// Its span is at DEBUG, because a span costs a little at each wake-up and there are many such
    /// tasks.
    ///
    /// # Panics
    /// Outside a tokio runtime, as [`tokio::spawn`] does.
    pub fn spawn_isolated(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let span = tracing::debug_span!("task", name);
        self.spawn_tracked(name, OnPanic::Isolate, span, future);
    }

    /// As [`spawn_isolated`](Self::spawn_isolated), in the runtime that this is called in: for what
    /// belongs to a thread of [`ConnectionThreads`](crate::ConnectionThreads).
    ///
    /// # Panics
    /// Outside a tokio runtime, as [`tokio::spawn`] does.
    pub fn spawn_here(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let span = tracing::debug_span!("task", name);
        self.track(name, OnPanic::Isolate, span, future, None);
    }

    /// As [`spawn`](Self::spawn), for a task that lives as long as the runtime:
    /// [`join`](Self::join) neither waits for it nor aborts it. The signal handler is one,
    /// because it must outlive everything else.
    ///
    /// # Panics
    /// Outside a tokio runtime, as [`tokio::spawn`] does.
    pub fn spawn_unjoined(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = Supervised {
            future: AssertUnwindSafe(future).catch_unwind(),
            name,
            on_panic: OnPanic::RequestShutdown,
            set: Arc::clone(&self.set),
            parent: Span::current(),
            entry: None,
        };
        start(task.instrument(lasting_span(name)), self.set.home.as_ref());
    }

    fn spawn_tracked(
        &self,
        name: &'static str,
        on_panic: OnPanic,
        span: Span,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        self.track(name, on_panic, span, future, self.set.home.as_ref());
    }

    /// Spawns a task in `home`, or else here.
    fn track(
        &self,
        name: &'static str,
        on_panic: OnPanic,
        span: Span,
        future: impl Future<Output = ()> + Send + 'static,
        home: Option<&Handle>,
    ) {
        let entry = Entry::new(&self.set, name);
        let id = entry.id;
        let task = Supervised {
            future: AssertUnwindSafe(future).catch_unwind(),
            name,
            on_panic,
            set: Arc::clone(&self.set),
            parent: Span::current(),
            entry: Some(entry),
        };
        let abort = start(task.instrument(span), home);
        // The lock is not held across the spawn: a runtime that is stopping drops the task right
        // there.
        if let Some(task) = self.set.live.lock().tasks.get_mut(&id) {
            task.abort = Some(abort);
        }
    }

    /// How many tasks are alive.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.live.lock().tasks.len()
    }

    /// No task is alive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until no task is left, for at most `deadline`; those still running then are aborted.
    ///
    /// # Errors
    /// When tasks had to be aborted; the error names them.
    pub async fn join(&self, deadline: Duration) -> Result<(), StillRunning> {
        if tokio::time::timeout(deadline, self.wait_until_empty())
            .await
            .is_ok()
        {
            return Ok(());
        }
        let live = self.set.live.lock();
        let mut names = BTreeMap::new();
        for task in live.tasks.values() {
            *names.entry(task.name).or_default() += 1;
            if let Some(abort) = &task.abort {
                abort.abort();
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        Err(StillRunning {
            deadline,
            tasks: names.into_iter().collect(),
        })
    }

    /// Whether all went well so far: a process in which it did not exits with an error, though it
    /// stopped in order.
    ///
    /// # Errors
    /// When a task panicked that was not isolated; the error names the first.
    pub fn outcome(&self) -> Result<(), TaskPanicked> {
        self.set
            .panicked
            .get()
            .map_or(Ok(()), |&task| Err(TaskPanicked { task }))
    }

    async fn wait_until_empty(&self) {
        loop {
            // Listening begins before looking, so that the last task cannot end in between unheard.
            let empty = self.set.empty.notified();
            if self.is_empty() {
                return;
            }
            empty.await;
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("live", &self.len()).finish()
    }
}

pin_project! {
    /// A task, with an eye on whether it panics.
    ///
    /// Written out, because an `async` block keeps what it was given beside what it made of it: a task would be three
    /// times as large as its future, and there is one for each connection.
    struct Supervised<F> {
        // Safe to assert that nobody sees what it left half-done: it is dropped right after a panic, and locks do not
        // poison.
        #[pin]
        future: CatchUnwind<AssertUnwindSafe<F>>,
        name: &'static str,
        on_panic: OnPanic,
        set: Arc<TaskSet>,
        // Where it was spawned: that it panicked is told there, whatever spans of its own are let through.
        parent: Span,
        // Dropped with the task, however it ends.
        entry: Option<Entry>,
    }
}

impl<F: Future<Output = ()>> Future for Supervised<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if let Err(payload) = ready!(this.future.poll(cx)) {
            this.parent.in_scope(|| {
                this.set
                    .panicked(this.name, *this.on_panic, payload.as_ref());
            });
        }
        Poll::Ready(())
    }
}

impl TaskSet {
    fn panicked(&self, name: &'static str, on_panic: OnPanic, payload: &(dyn Any + Send)) {
        let message = panic_message(payload);
        tracing::error!(task = name, panic = message, "a task panicked");
        if on_panic == OnPanic::RequestShutdown {
            // The first one is the cause; later ones may be its consequences.
            let _ = self.panicked.set(name);
            self.shutdown.request();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
fn start(future: impl Future<Output = ()> + Send + 'static, home: Option<&Handle>) -> AbortHandle {
    match home {
        Some(home) => home.spawn(future).abort_handle(),
        None => tokio::spawn(future).abort_handle(),
    }
}

/// The span of a task that lives long. Where its level is not let through, the task goes on in the
/// span that it was spawned in, so that what that says stands in its lines at every level.
fn lasting_span(name: &'static str) -> Span {
    let span = tracing::info_span!("task", name);
    if span.is_disabled() {
        Span::current()
    } else {
        span
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

/// A live task's place in the set; dropping it is how a task leaves.
struct Entry {
    id: u64,
    set: Arc<TaskSet>,
}

impl Entry {
    fn new(set: &Arc<TaskSet>, name: &'static str) -> Self {
        let mut live = set.live.lock();
        let id = live.next;
        live.next += 1;
        live.tasks.insert(id, LiveTask { name, abort: None });
        Self {
            id,
            set: Arc::clone(set),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut live = self.set.live.lock();
        live.tasks.remove(&self.id);
        if live.tasks.is_empty() {
            self.set.empty.notify_waiters();
        }
    }
}

/// A task panicked without which the process is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task {task} panicked")]
pub struct TaskPanicked {
    /// Its name.
    pub task: &'static str,
}

/// Tasks that did not end in time and were aborted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("still running after {deadline:?}: {}", list(.tasks))]
pub struct StillRunning {
    deadline: Duration,
    tasks: Vec<(&'static str, usize)>,
}

impl StillRunning {
    /// Each name and how many tasks had it, sorted by name.
    #[must_use]
    pub fn tasks(&self) -> &[(&'static str, usize)] {
        &self.tasks
    }
}

fn list(tasks: &[(&'static str, usize)]) -> String {
    let shown: Vec<String> = tasks
        .iter()
        .map(|&(name, count)| {
            if count == 1 {
                name.to_owned()
            } else {
                format!("{name} ({count} times)")
            }
        })
        .collect();
    shown.join(", ")
}
