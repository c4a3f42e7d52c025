//! Named tasks: tracked while they run, joined at shutdown, and checked for panics.

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

/// Spawns tasks and tracks the running ones. Clones share one set.
///
/// A task costs one map entry while it runs, so one per connection is fine.
#[derive(Clone)]
pub struct Tasks {
    set: Arc<TaskSet>,
}

struct TaskSet {
    shutdown: Shutdown,
    /// The runtime of the tasks, wherever they are spawned; `None` if there was no runtime.
    home: Option<Handle>,
    live: Mutex<Live>,
    /// Notified when the last running task ends.
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
    /// Absent between counting and spawning.
    abort: Option<AbortHandle>,
}

/// What a panic of a task means for the process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnPanic {
    /// The process cannot work without the task: stop.
    RequestShutdown,
    /// The task served one client only.
    Isolate,
}

impl Tasks {
    /// An empty set. A task that panics requests `shutdown`. Tasks run in the current runtime, also
    /// those that a connection on its own thread spawns. Without a current runtime, each task runs
    /// where it is spawned.
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

    /// Runs `future` as a task in a span of this name.
    ///
    /// A panic is logged at ERROR and requests the shutdown.
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

    /// As [`spawn_isolated`](Self::spawn_isolated), in the current runtime: for tasks that belong
    /// to a thread of [`ConnectionThreadsHandle`](crate::ConnectionThreadsHandle).
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
    /// [`join`](Self::join) neither waits for it nor aborts it. The signal handler is one, because
    /// it must outlive all other tasks.
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

    /// Spawns a task in `home`, or else in the current runtime.
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
        // The lock is not held during the spawn: a runtime that is stopping drops the task
        // immediately.
        if let Some(task) = self.set.live.lock().tasks.get_mut(&id) {
            task.abort = Some(abort);
        }
    }

    /// The number of running tasks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.live.lock().tasks.len()
    }

    /// Whether no task is running.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until all tasks have ended, for at most `deadline`; then aborts the remaining ones.
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

    /// Whether all tasks succeeded so far. If not, the process exits with an error even after an
    /// orderly stop.
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
            // Subscribe before checking, so that the end of the last task is not missed.
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
    /// A task that reports its panic.
    ///
    /// A hand-written future, because an `async` block stores its arguments beside the inner
    /// future: a task would be three times as large, and there is one for each connection.
    struct Supervised<F> {
        // A panicked future is dropped immediately, and locks do not poison, so its inner state is
        // never seen.
        #[pin]
        future: CatchUnwind<AssertUnwindSafe<F>>,
        name: &'static str,
        on_panic: OnPanic,
        set: Arc<TaskSet>,
        // In the span where it was spawned: the filter may not let the task's own spans through.
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
            // The first panic is the cause; later ones may be its consequences.
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
