//! The accept loop: survives every error, and never exceeds the connection limits.

use std::{future::poll_fn, io, net::SocketAddr, sync::Arc, task::Poll, time::Duration};

use service_runtime::{AssignedThread, ConnectionThreadsHandle, Shutdown, Tasks};
use tls_config::ServerTls;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    HttpService, Limits, Listener, PeerAddr, PlainHttp,
    connection::serve_connection,
    control::{Stage, StageWatcher},
    permits::{Acquired, ConnectionPermits},
    refusal::Refusals,
};

/// Pause after an error such as "too many open files": long enough not to burn a core, short enough
/// that clients hardly notice once a descriptor is free.
const ERROR_BACKOFF: Duration = Duration::from_millis(50);

/// At most one log line per interval for such errors; the backoff alone would allow 20 lines a
/// second.
const ERROR_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// At most one log line per interval about displaced connections.
const DISPLACED_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Limits how often a recurring event is logged.
struct LogThrottle {
    interval: Duration,
    last: Option<Instant>,
}

impl LogThrottle {
    fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
        }
    }

    /// Whether the next line may be logged now.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.last.is_none_or(|last| now - last >= self.interval);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

/// The state of the loop, shared with each connection.
pub(crate) struct Acceptor<L, S> {
    pub(crate) listener: L,
    pub(crate) service: S,
    pub(crate) limits: Arc<Limits>,
    pub(crate) tasks: Tasks,
    pub(crate) watcher: StageWatcher,
    /// One per connection.
    pub(crate) permits: Arc<ConnectionPermits>,
    /// The threads of connections; without any, connections run in the runtime of the loop.
    pub(crate) connection_threads: ConnectionThreadsHandle,
    /// Served beside plain HTTP, where it is configured.
    pub(crate) tls: Option<(ServerTls, PlainHttp)>,
    /// Held by the loop and by each connection: the server has ended when all are dropped.
    pub(crate) alive: watch::Receiver<()>,
}

enum AcceptEvent<Io> {
    Accepted(Io, SocketAddr, Option<AssignedThread>),
    Failed(io::Error),
    Stop,
}

impl<L: Listener, S: HttpService> Acceptor<L, S> {
    /// Accepts until a stop, then waits for the drain, so that a shutdown during the wait is not
    /// missed.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.requested() => {}
            () = self.accept_all() => {}
        }
        let Self {
            listener,
            mut watcher,
            alive,
            ..
        } = self;
        drop(listener);
        tokio::select! {
            () = shutdown.requested() => watcher.control().advance(Stage::Draining),
            () = watcher.reached(Stage::Draining) => {}
        }
        drop(alive);
    }

    async fn accept_all(&mut self) {
        let refusals = Refusals::new();
        let (mut failed, mut displaced) = (
            LogThrottle::new(ERROR_LOG_INTERVAL),
            LogThrottle::new(DISPLACED_LOG_INTERVAL),
        );
        loop {
            tokio::select! {
                () = self.permits.room() => {}
                () = self.watcher.reached(Stage::NotAccepting) => return,
            }
            match self.next().await {
                AcceptEvent::Stop => return,
                AcceptEvent::Accepted(io, peer, thread) => {
                    if !self.admit(io, peer, thread, &refusals) {
                        continue;
                    }
                    if displaced.is_due() {
                        let share = self
                            .limits
                            .unauthenticated
                            .map(|share| share.max_connections);
                        tracing::warn!(share, %peer, "unauthenticated connections fill their \
                            share, and the oldest are closed; block the network that they come \
                            from");
                    }
                }
                AcceptEvent::Failed(error) if concerns_one_connection(&error) => {}
                AcceptEvent::Failed(error) => {
                    if failed.is_due() {
                        tracing::warn!(
                            %error,
                            "cannot accept connections and retries; raise the limit of open files \
                             (LimitNOFILE=) if that is the error"
                        );
                    }
                    // A stop during this short pause is noticed afterwards.
                    sleep(ERROR_BACKOFF).await;
                }
            }
        }
    }

    async fn next(&mut self) -> AcceptEvent<L::Io> {
        poll_fn(|cx| {
            if self.watcher.poll_stage(cx) >= Stage::NotAccepting {
                return Poll::Ready(AcceptEvent::Stop);
            }
            let thread = self.connection_threads.assign();
            // The current runtime polls a new socket.
            let runtime = thread.as_ref().map(AssignedThread::runtime);
            let _entered = runtime.as_ref().map(Handle::enter);
            self.listener
                .poll_accept(cx)
                .map(|accepted| match accepted {
                    Ok((io, peer)) => AcceptEvent::Accepted(io, peer, thread),
                    Err(error) => AcceptEvent::Failed(error),
                })
        })
        .await
    }

    /// Serves a connection, or refuses it. Returns true if it displaced another one.
    fn admit(
        &self,
        io: L::Io,
        peer: SocketAddr,
        thread: Option<AssignedThread>,
        refusals: &Refusals,
    ) -> bool {
        let runtime = thread.as_ref().map(AssignedThread::runtime);
        let _entered = runtime.as_ref().map(Handle::enter);
        let alive = self.alive.clone();
        let Some(Acquired { permit, displaces }) = self.permits.acquire() else {
            if let Some(refusal) = refusals.refuse(io) {
                self.tasks.spawn_here("http-refusal", async move {
                    refusal.await;
                    drop(alive);
                });
            }
            return false;
        };
        let connection = serve_connection(
            io,
            PeerAddr::new(peer),
            self.service.clone(),
            Arc::clone(&self.limits),
            StageWatcher::new(Arc::clone(self.watcher.control())),
            permit.shared(),
            self.tls.clone(),
        );
        self.tasks.spawn_here("http-connection", async move {
            connection.await;
            drop(thread);
            drop(permit);
            drop(alive);
        });
        displaces
    }
}

/// Errors of a connection that ended before it was accepted. They do not affect the next one.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Interrupted
    )
}
