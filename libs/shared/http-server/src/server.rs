//! Binding, serving, and ending in three phases.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use service_runtime::{ConnectionThreads, Shutdown, Tasks};
use tokio::{sync::watch, time::timeout};

use crate::{
    HttpService, Limits, Listener, TcpListener,
    accept::Acceptor,
    control::{Control, Stage, Watcher},
    listener::listen,
    places::Places,
};

/// How long connections get to hear that they are dropped: a turn of their thread. One whose
/// handler hangs never hears it, and all others of its thread with it.
const LAST_POLL: Duration = Duration::from_secs(1);

/// Listens on `addr`; connections wait in the kernel until [`BoundServer::serve`]. Port 0 lets the
/// system choose.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(addr: SocketAddr, limits: Limits) -> io::Result<BoundServer> {
    adopt(listen(addr)?, limits)
}

/// Takes a socket that somebody else has bound and listens on, for example the service manager.
///
/// # Errors
/// When it cannot be used: it is closed, or no socket.
pub fn adopt(listener: std::net::TcpListener, limits: Limits) -> io::Result<BoundServer> {
    listener.set_nonblocking(true)?;
    let local_addr = listener.local_addr()?;
    Ok(BoundServer {
        listener,
        local_addr,
        limits,
        cores: ConnectionThreads::default(),
    })
}

/// A server with an address, not yet answering.
#[derive(Debug)]
pub struct BoundServer {
    listener: std::net::TcpListener,
    local_addr: SocketAddr,
    limits: Limits,
    cores: ConnectionThreads,
}

impl BoundServer {
    /// Deals connections out to `cores`, each to one of them for life, instead of to the runtime
    /// that it serves in.
    #[must_use]
    pub fn on(self, cores: ConnectionThreads) -> Self {
        Self { cores, ..self }
    }

    /// The address it listens on, with the port the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers requests with `service` from now on; all its tasks are in `tasks`.
    ///
    /// When `shutdown` is requested the server stops accepting and drains. Whoever needs time
    /// between those two passes a token of its own and uses the handle.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O driver enabled.
    pub fn serve<S: HttpService>(
        self,
        service: S,
        tasks: &Tasks,
        shutdown: Shutdown,
    ) -> io::Result<ServerHandle> {
        let listener = TcpListener::from_std(self.listener)?;
        Ok(start(
            listener,
            self.limits,
            service,
            tasks,
            shutdown,
            self.cores,
        ))
    }
}

/// As [`BoundServer::serve`], for any source of connections.
///
/// # Panics
/// Outside a tokio runtime.
pub fn serve_on<L: Listener, S: HttpService>(
    listener: L,
    limits: Limits,
    service: S,
    tasks: &Tasks,
    shutdown: Shutdown,
) -> ServerHandle {
    start(
        listener,
        limits,
        service,
        tasks,
        shutdown,
        ConnectionThreads::default(),
    )
}

fn start<L: Listener, S: HttpService>(
    listener: L,
    limits: Limits,
    service: S,
    tasks: &Tasks,
    shutdown: Shutdown,
    cores: ConnectionThreads,
) -> ServerHandle {
    let control = Arc::new(Control::new());
    let places = Places::new(&limits);
    let (over, alive) = watch::channel(());
    let acceptor = Acceptor {
        listener,
        service,
        limits: Arc::new(limits),
        tasks: tasks.clone(),
        watcher: Watcher::new(Arc::clone(&control)),
        places: Arc::clone(&places),
        cores,
        alive,
    };
    tasks.spawn("http-accept", acceptor.run(shutdown));
    ServerHandle {
        control,
        over,
        places,
    }
}

/// A running server. Dropping the handle changes nothing; the server goes on.
///
/// It ends in three phases: [`stop_accepting`](Self::stop_accepting), [`drain`](Self::drain),
/// [`kill`](Self::kill). Each includes the ones before it. [`close`](Self::close) does all of them.
#[derive(Debug)]
pub struct ServerHandle {
    control: Arc<Control>,
    over: watch::Sender<()>,
    places: Arc<Places>,
}

impl ServerHandle {
    /// Closes the listener: new connections are refused by the system, open ones go on.
    pub fn stop_accepting(&self) {
        self.control.advance(Stage::NotAccepting);
    }

    /// Closes idle connections at once, and each busy one after its response.
    pub fn drain(&self) {
        self.control.advance(Stage::Draining);
    }

    /// Drops every connection as it is.
    pub fn kill(&self) {
        self.control.advance(Stage::Killed);
    }

    /// Returns when the listener and the last connection are gone.
    pub async fn finished(&self) {
        self.over.closed().await;
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.places.open()
    }

    /// Stops accepting, drains for at most `deadline`, then drops what is left and says how many
    /// connections that was.
    pub async fn close(&self, deadline: Duration) -> usize {
        self.drain();
        if timeout(deadline, self.finished()).await.is_ok() {
            return 0;
        }
        let dropped = self.connections();
        self.kill();
        if timeout(LAST_POLL, self.finished()).await.is_err() {
            tracing::warn!(
                open = self.connections(),
                "connections were left behind: what serves them hangs"
            );
        }
        dropped
    }
}
