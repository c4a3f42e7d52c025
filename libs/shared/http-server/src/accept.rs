//! The accept loop: never stops because of an error, never takes more than the cap.

use std::{future::poll_fn, io, net::SocketAddr, sync::Arc, task::Poll, time::Duration};

use service_runtime::{ConnectionThreads, Seat, Shutdown, Tasks};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    HttpService, Limits, Listener, PeerAddr,
    connection::serve_connection,
    control::{Stage, Watcher},
    places::{Entry, Places},
    refusal::Refusals,
};

/// How long to wait after an error such as "too many open files": long enough not to burn a core,
/// short enough that a client hardly notices once a descriptor is free.
const ERROR_BACKOFF: Duration = Duration::from_millis(50);

/// How often such errors are logged: the backoff alone would allow 20 lines a second.
const ERROR_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// How often it is logged that connections without authentication make room for others: as long as
/// that goes on, once a minute is often enough for a person.
const DISPLACED_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How long to wait at a time for the threads of connections, and how often: together not longer
/// than what a thread may be busy with, so that one that hangs does not stop the others'
/// connections.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(1);
const CATCH_UP_ROUNDS: u32 = 20;

/// A line of the log that is wanted once in a while, however often its reason occurs.
struct Seldom {
    interval: Duration,
    last: Option<Instant>,
}

impl Seldom {
    fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
        }
    }

    /// Whether it is time to log it.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.last.is_none_or(|last| now - last >= self.interval);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

/// Everything the loop needs, and everything a connection gets from it.
pub(crate) struct Acceptor<L, S> {
    pub(crate) listener: L,
    pub(crate) service: S,
    pub(crate) limits: Arc<Limits>,
    pub(crate) tasks: Tasks,
    pub(crate) watcher: Watcher,
    /// One for each connection.
    pub(crate) places: Arc<Places>,
    /// Where connections live; without any, in the runtime of the loop.
    pub(crate) cores: ConnectionThreads,
    /// Held by the loop and by each connection: the server is over when nobody holds it.
    pub(crate) alive: watch::Receiver<()>,
}

enum Event<Io> {
    Accepted(Io, SocketAddr, Option<Seat>),
    Failed(io::Error),
    Stop,
}

impl<L: Listener, S: HttpService> Acceptor<L, S> {
    /// Accepts until told to stop; then waits until the server drains, so that a shutdown is never
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
            Seldom::new(ERROR_LOG_INTERVAL),
            Seldom::new(DISPLACED_LOG_INTERVAL),
        );
        loop {
            match self.next().await {
                Event::Stop => return,
                Event::Accepted(io, peer, seat) => {
                    if !self.admit(io, peer, seat, &refusals) {
                        continue;
                    }
                    if displaced.is_due() {
                        let share = self
                            .limits
                            .unauthenticated
                            .map(|share| share.max_connections);
                        tracing::warn!(share, %peer, "connections on which nobody is authenticated fill their share, and the oldest are closed; keep the network that they come from away from this port");
                    }
                    catch_up(&self.places).await;
                }
                Event::Failed(error) if concerns_one_connection(&error) => {}
                Event::Failed(error) => {
                    if failed.is_due() {
                        tracing::warn!(%error, "cannot accept connections and tries again; raise the limit of open files (LimitNOFILE=) if that is the error");
                    }
                    // A stop meanwhile is seen right after: the pause is short.
                    sleep(ERROR_BACKOFF).await;
                }
            }
        }
    }

    async fn next(&mut self) -> Event<L::Io> {
        poll_fn(|cx| {
            if self.watcher.poll_stage(cx) >= Stage::NotAccepting {
                return Poll::Ready(Event::Stop);
            }
            let seat = self.cores.seat();
            // A socket is watched by the runtime in which it is made.
            let core = seat.as_ref().map(Seat::runtime);
            let _here = core.as_ref().map(Handle::enter);
            self.listener
                .poll_accept(cx)
                .map(|accepted| match accepted {
                    Ok((io, peer)) => Event::Accepted(io, peer, seat),
                    Err(error) => Event::Failed(error),
                })
        })
        .await
    }

    /// Serves a connection, or refuses it. True when another one makes room for it.
    fn admit(&self, io: L::Io, peer: SocketAddr, seat: Option<Seat>, refusals: &Refusals) -> bool {
        let core = seat.as_ref().map(Seat::runtime);
        let _here = core.as_ref().map(Handle::enter);
        let alive = self.alive.clone();
        let Some(Entry { place, displaces }) = self.places.enter() else {
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
            Watcher::new(Arc::clone(self.watcher.control())),
            place.shared(),
        );
        self.tasks.spawn_here("http-connection", async move {
            connection.await;
            drop(seat);
            drop(place);
            drop(alive);
        });
        displaces
    }
}

/// Waits a moment while the threads of connections are behind with what was displaced. In a burst,
/// requests that hold a token are read before their connections are the oldest; the kernel holds
/// the others meanwhile.
async fn catch_up(places: &Places) {
    for _ in 0..CATCH_UP_ROUNDS {
        if !places.is_behind() {
            return;
        }
        sleep(CATCH_UP_PAUSE).await;
    }
}

/// Errors of a connection that was gone before we took it: the next one is not affected.
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
