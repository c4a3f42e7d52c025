//! Single-threaded runtimes for connections, one per thread.
//!
//! A multi-threaded runtime moves tasks between its threads: each wake-up goes through shared
//! queues and often through the kernel. Connections gain nothing from that. Here a connection stays
//! on one thread, as in nginx, so its sockets, timers and memory stay with one processor.

use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tokio::runtime::{Builder, Handle};

use crate::Shutdown;

/// Threads that each drive their own runtime. Dropping this asks them to stop.
///
/// ```
/// use std::{num::NonZeroUsize, time::Duration};
/// use service_runtime::ConnectionThreads;
///
/// # fn main() -> std::io::Result<()> {
/// let threads = ConnectionThreads::start(NonZeroUsize::MIN)?;
/// let assigned = threads.handle().assign().expect("there is a thread");
/// let name = assigned.runtime().spawn(async { std::thread::current().name().map(str::to_owned) });
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// assert_eq!(runtime.block_on(name)?.as_deref(), Some("core-0"));
/// assert!(threads.stop(Duration::from_secs(1)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ConnectionThreads {
    handle: ConnectionThreadsHandle,
    stop: Shutdown,
    /// Each thread holds a sender until it ends.
    ended: mpsc::Receiver<()>,
}

impl ConnectionThreads {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system cannot create a thread, or a runtime cannot create its I/O driver.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let stop = Shutdown::new();
        let (alive, ended) = mpsc::channel();
        let start = |number| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let thread = ConnectionThread {
                runtime: runtime.handle().clone(),
                assigned: AtomicUsize::new(0),
            };
            let (stop, alive) = (stop.clone(), mpsc::Sender::clone(&alive));
            let drive = move || {
                runtime.block_on(stop.requested());
                // Drop the tasks on their own thread. Do not wait for a hanging name lookup.
                runtime.shutdown_background();
                drop(alive);
            };
            thread::Builder::new()
                .name(format!("core-{number}"))
                .spawn(drive)?;
            Ok(Arc::new(thread))
        };
        let threads = (0..count.get())
            .map(start)
            .collect::<io::Result<Arc<[_]>>>();
        let threads = threads.inspect_err(|_| stop.request())?;
        Ok(Self {
            handle: ConnectionThreadsHandle {
                threads,
                stop: stop.clone(),
            },
            stop,
            ended,
        })
    }

    /// A handle to assign connections to threads.
    #[must_use]
    pub fn handle(&self) -> ConnectionThreadsHandle {
        self.handle.clone()
    }

    /// Stops the threads and drops their tasks. False when a thread has not ended after `timeout`.
    #[must_use]
    pub fn stop(self, timeout: Duration) -> bool {
        self.stop.request();
        // Nothing is sent: the channel closes when the last thread ends.
        matches!(
            self.ended.recv_timeout(timeout),
            Err(mpsc::RecvTimeoutError::Disconnected)
        )
    }
}

impl Drop for ConnectionThreads {
    fn drop(&mut self) {
        self.stop.request();
    }
}

/// Assigns connections to threads. Clones share the threads; the default has none.
#[derive(Debug, Clone, Default)]
pub struct ConnectionThreadsHandle {
    threads: Arc<[Arc<ConnectionThread>]>,
    stop: Shutdown,
}

#[derive(Debug)]
struct ConnectionThread {
    runtime: Handle,
    /// Connections assigned now.
    assigned: AtomicUsize,
}

impl ConnectionThreadsHandle {
    /// Assigns the thread with the fewest connections; `None` without threads.
    #[must_use]
    pub fn assign(&self) -> Option<AssignedThread> {
        let assigned = |thread: &&Arc<ConnectionThread>| thread.assigned.load(Ordering::Relaxed);
        let thread = self.threads.iter().min_by_key(assigned)?;
        thread.assigned.fetch_add(1, Ordering::Relaxed);
        Some(AssignedThread(Arc::clone(thread)))
    }

    /// Returns when each thread has run a new task. Never returns while a thread hangs, or after
    /// one ended on its own.
    pub async fn all_responsive(&self) {
        for thread in self.threads.iter() {
            let ran = thread.runtime.spawn(async {}).await;
            // During a stop all threads end.
            if ran.is_err() && !self.stop.is_requested() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The thread of one connection, which counts until this is dropped: keep it with the connection.
#[derive(Debug)]
pub struct AssignedThread(Arc<ConnectionThread>);

impl AssignedThread {
    /// The runtime of the thread.
    #[must_use]
    pub fn runtime(&self) -> Handle {
        self.0.runtime.clone()
    }
}

impl Drop for AssignedThread {
    fn drop(&mut self) {
        self.0.assigned.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tasks;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn started(count: usize) -> ConnectionThreads {
        ConnectionThreads::start(NonZeroUsize::new(count).expect("a test starts some"))
            .expect("threads start")
    }

    /// The name of an assigned thread.
    async fn thread_of(assigned: &AssignedThread) -> String {
        let name = async { thread::current().name().map(str::to_owned) };
        assigned
            .runtime()
            .spawn(name)
            .await
            .expect("the task ends")
            .expect("the thread has a name")
    }

    // spec: DOOR-16
    #[tokio::test]
    async fn connections_go_to_the_thread_with_the_fewest() {
        let threads = started(3);
        let handle = threads.handle();
        let mut assigned: Vec<AssignedThread> = (0..6).filter_map(|_| handle.assign()).collect();
        let mut names = Vec::new();
        for thread in &assigned {
            names.push(thread_of(thread).await);
        }
        assert_eq!(
            names,
            ["core-0", "core-1", "core-2", "core-0", "core-1", "core-2"]
        );

        drop(assigned.remove(1));
        let again = handle.assign().expect("there are threads");
        assert_eq!(thread_of(&again).await, "core-1");
        assert!(ConnectionThreadsHandle::default().assign().is_none());
    }

    // spec: DOOR-16
    #[tokio::test]
    async fn isolated_tasks_of_a_connection_run_elsewhere() {
        let threads = started(1);
        let tasks = Tasks::new(Shutdown::new());
        let assigned = threads.handle().assign().expect("there is a thread");
        let (sender, mut names) = tokio::sync::mpsc::unbounded_channel();
        let name = move |sender: tokio::sync::mpsc::UnboundedSender<_>| async move {
            let name = thread::current().name().map(str::to_owned);
            sender.send(name).ok();
        };
        let connection = async move {
            tasks.spawn_here("here", name(sender.clone()));
            tasks.spawn_isolated("elsewhere", name(sender));
            tasks
        };
        let tasks = assigned.runtime().spawn(connection).await.expect("it ends");
        tasks.join(TIMEOUT).await.expect("all end");
        let mut ran_on = [names.recv().await.flatten(), names.recv().await.flatten()];
        ran_on.sort_by_key(|name| name.as_deref() != Some("core-0"));
        assert_eq!(ran_on[0].as_deref(), Some("core-0"));
        assert_ne!(ran_on[1].as_deref(), Some("core-0"));
    }

    #[tokio::test]
    async fn a_stop_drops_running_tasks() {
        let threads = started(2);
        let handle = threads.handle();
        handle.all_responsive().await;
        let assigned = handle.assign().expect("there are threads");
        let endless = assigned.runtime().spawn(std::future::pending::<()>());
        assert!(threads.stop(TIMEOUT));
        assert!(endless.await.expect_err("it was dropped").is_cancelled());
        // The check does not hang after a stop.
        handle.all_responsive().await;
    }

    // spec: STOP-8
    #[tokio::test]
    async fn a_hanging_thread_is_not_responsive_and_does_not_block_the_stop() {
        let threads = started(1);
        let (go_on, hold) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let assigned = threads.handle().assign().expect("there is a thread");
        let hanging = assigned.runtime().spawn(async move {
            begun.send(()).ok();
            hold.recv().ok()
        });
        begins.recv().expect("it begins");
        let handle = threads.handle();
        let check = tokio::time::timeout(Duration::from_millis(50), handle.all_responsive());
        assert!(check.await.is_err(), "it hangs");
        assert!(!threads.stop(Duration::ZERO));
        drop(go_on);
        assert_eq!(hanging.await.expect("it ends now"), None);
        handle.all_responsive().await;
    }
}
