//! Runtimes of one thread each, for work that comes in many small pieces of their own, as
//! connections are.
//!
//! A runtime of many threads hands tasks from one to another: each wake-up is a question of who
//! runs it, asked of shared queues and often of the kernel. A connection gains nothing from that.
//! Given to one thread for life, as nginx has it, its sockets, timers and memory stay with one
//! processor, and nobody is woken who then finds nothing to do.

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

/// Threads that each drive a runtime of their own, and what ends them.
///
/// ```
/// use std::{num::NonZeroUsize, time::Duration};
/// use service_runtime::CoreThreads;
///
/// # fn main() -> std::io::Result<()> {
/// let threads = CoreThreads::start(NonZeroUsize::MIN)?;
/// let seat = threads.cores().seat().expect("there is a core");
/// let name = seat.runtime().spawn(async { std::thread::current().name().map(str::to_owned) });
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// assert_eq!(runtime.block_on(name)?.as_deref(), Some("core-0"));
/// assert!(threads.stop(Duration::from_secs(1)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CoreThreads {
    cores: ConnectionThreads,
    stop: Shutdown,
    /// Each thread holds the other end for as long as it lives.
    ended: mpsc::Receiver<()>,
}

impl CoreThreads {
    /// Starts so many.
    ///
    /// # Errors
    /// When the system has no more threads, or a runtime no way to wait for sockets.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let stop = Shutdown::new();
        let (alive, ended) = mpsc::channel();
        let start = |number| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let core = Core {
                runtime: runtime.handle().clone(),
                taken: AtomicUsize::new(0),
            };
            let (stop, alive) = (stop.clone(), mpsc::Sender::clone(&alive));
            let drive = move || {
                runtime.block_on(stop.requested());
                // Its tasks are dropped here, on the thread where they lived; a lookup of a name
                // that hangs is not waited for.
                runtime.shutdown_background();
                drop(alive);
            };
            thread::Builder::new()
                .name(format!("core-{number}"))
                .spawn(drive)?;
            Ok(Arc::new(core))
        };
        let cores = (0..count.get())
            .map(start)
            .collect::<io::Result<Arc<[_]>>>();
        let cores = cores.inspect_err(|_| stop.request())?;
        Ok(Self {
            cores: ConnectionThreads {
                all: cores,
                stop: stop.clone(),
            },
            stop,
            ended,
        })
    }

    /// Where to put work.
    #[must_use]
    pub fn cores(&self) -> ConnectionThreads {
        self.cores.clone()
    }

    /// Ends them; what still runs there is dropped. False when a thread has not come to its end
    /// `within` that time.
    #[must_use]
    pub fn stop(self, within: Duration) -> bool {
        self.stop.request();
        // Nobody ever sends: what comes is the end of the last thread, or of our patience.
        matches!(
            self.ended.recv_timeout(within),
            Err(mpsc::RecvTimeoutError::Disconnected)
        )
    }
}

impl Drop for CoreThreads {
    fn drop(&mut self) {
        self.stop.request();
    }
}

/// The runtimes, as seen by who has work for them. Clones are the same ones; by default there are
/// none.
#[derive(Debug, Clone, Default)]
pub struct ConnectionThreads {
    all: Arc<[Arc<Core>]>,
    stop: Shutdown,
}

#[derive(Debug)]
struct Core {
    runtime: Handle,
    /// Seats that are out.
    taken: AtomicUsize,
}

impl ConnectionThreads {
    /// A seat where the fewest are taken; none where there are no cores.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        let taken = |core: &&Arc<Core>| core.taken.load(Ordering::Relaxed);
        let core = self.all.iter().min_by_key(taken)?;
        core.taken.fetch_add(1, Ordering::Relaxed);
        Some(Seat(Arc::clone(core)))
    }

    /// Returns when each of them has run a new task: one that hangs, or has ended by itself, is
    /// never past this.
    pub async fn alive(&self) {
        for core in self.all.iter() {
            let ran = core.runtime.spawn(async {}).await;
            // At a stop they all end.
            if ran.is_err() && !self.stop.is_requested() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// A place for one piece of work, counted until it is dropped: give it to the work.
#[derive(Debug)]
pub struct Seat(Arc<Core>);

impl Seat {
    /// Where the work belongs.
    #[must_use]
    pub fn runtime(&self) -> Handle {
        self.0.runtime.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tasks;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn started(count: usize) -> CoreThreads {
        CoreThreads::start(NonZeroUsize::new(count).expect("a test asks for some"))
            .expect("threads start")
    }

    /// The thread that a seat's work runs on.
    async fn thread_of(seat: &Seat) -> String {
        let name = async { thread::current().name().map(str::to_owned) };
        seat.runtime()
            .spawn(name)
            .await
            .expect("the task ends")
            .expect("the thread has a name")
    }

    // spec: DOOR-16
    #[tokio::test]
    async fn work_goes_where_the_least_is() {
        let threads = started(3);
        let cores = threads.cores();
        let mut seats: Vec<Seat> = (0..6).filter_map(|_| cores.seat()).collect();
        let mut names = Vec::new();
        for seat in &seats {
            names.push(thread_of(seat).await);
        }
        assert_eq!(
            names,
            ["core-0", "core-1", "core-2", "core-0", "core-1", "core-2"]
        );

        drop(seats.remove(1));
        let again = cores.seat().expect("there are cores");
        assert_eq!(thread_of(&again).await, "core-1");
        assert!(ConnectionThreads::default().seat().is_none());
    }

    // spec: DOOR-16
    #[tokio::test]
    async fn what_a_connection_spawns_runs_with_all_that_is_no_connection() {
        let threads = started(1);
        let tasks = Tasks::new(Shutdown::new());
        let seat = threads.cores().seat().expect("there is a core");
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
        let tasks = seat.runtime().spawn(connection).await.expect("it ends");
        tasks.join(PATIENCE).await.expect("all end");
        let mut ran_on = [names.recv().await.flatten(), names.recv().await.flatten()];
        ran_on.sort_by_key(|name| name.as_deref() != Some("core-0"));
        assert_eq!(ran_on[0].as_deref(), Some("core-0"));
        assert_ne!(ran_on[1].as_deref(), Some("core-0"));
    }

    #[tokio::test]
    async fn ends_with_what_runs_there() {
        let threads = started(2);
        let cores = threads.cores();
        cores.alive().await;
        let seat = cores.seat().expect("there are cores");
        let endless = seat.runtime().spawn(std::future::pending::<()>());
        assert!(threads.stop(PATIENCE));
        assert!(endless.await.expect_err("it was dropped").is_cancelled());
        // Nothing hangs afterwards.
        cores.alive().await;
    }

    // spec: STOP-8
    #[tokio::test]
    async fn a_core_that_hangs_is_not_alive_and_does_not_hold_up_the_end() {
        let threads = started(1);
        let (go_on, hold) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let seat = threads.cores().seat().expect("there is a core");
        let hanging = seat.runtime().spawn(async move {
            begun.send(()).ok();
            hold.recv().ok()
        });
        begins.recv().expect("it begins");
        let cores = threads.cores();
        let alive = tokio::time::timeout(Duration::from_millis(50), cores.alive());
        assert!(alive.await.is_err(), "it hangs");
        assert!(!threads.stop(Duration::ZERO));
        drop(go_on);
        assert_eq!(hanging.await.expect("it ends now"), None);
        cores.alive().await;
    }
}
