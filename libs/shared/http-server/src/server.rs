//! Binds, serves, and stops in three phases.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use service_runtime::{ConnectionThreadsHandle, Shutdown, Tasks};
use tls_config::ServerTls;
use tokio::{sync::watch, time::timeout};

use crate::{
    HttpService, Limits, Listener, PlainHttp, TcpListener,
    accept::Acceptor,
    control::{Control, Stage, StageWatcher},
    listener::listen,
    permits::ConnectionPermits,
};

/// How long a kill waits for connections to be dropped: one round of their threads. If a handler
/// hangs, the connections of its thread are not dropped in time.
const LAST_POLL: Duration = Duration::from_secs(1);

/// Listens on `addr`; connections wait in the kernel until [`BoundServer::serve`]. Port 0 lets the
/// system choose.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(addr: SocketAddr, limits: Limits) -> io::Result<BoundServer> {
    adopt(listen(addr)?, limits)
}

/// Takes a socket that is bound and listening already, for example from the service manager.
///
/// # Errors
/// When it is closed, or not a socket.
pub fn adopt(listener: std::net::TcpListener, limits: Limits) -> io::Result<BoundServer> {
    listener.set_nonblocking(true)?;
    let local_addr = listener.local_addr()?;
    Ok(BoundServer {
        listener,
        local_addr,
        limits,
        connection_threads: ConnectionThreadsHandle::default(),
        tls: None,
    })
}

/// A server with an address that does not serve yet.
#[derive(Debug)]
pub struct BoundServer {
    listener: std::net::TcpListener,
    local_addr: SocketAddr,
    limits: Limits,
    connection_threads: ConnectionThreadsHandle,
    tls: Option<(ServerTls, PlainHttp)>,
}

impl BoundServer {
    /// Assigns each connection to one of `connection_threads` for its whole life, instead of to the
    /// runtime that the server runs in.
    #[must_use]
    pub fn on(self, connection_threads: ConnectionThreadsHandle) -> Self {
        Self {
            connection_threads,
            ..self
        }
    }

    /// Serves TLS on the same port: the first byte of a connection tells it from plain HTTP, which
    /// `plain` allows or refuses. Clients that offer HTTP/2 get it.
    #[must_use]
    pub fn with_tls(self, tls: ServerTls, plain: PlainHttp) -> Self {
        Self {
            tls: Some((tls, plain)),
            ..self
        }
    }

    /// The address it listens on, with the port that the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves requests with `service` from now on. All tasks run in `tasks`.
    ///
    /// When `shutdown` is requested, the server stops accepting and drains. To wait between the
    /// two, pass a separate token and use the handle.
    ///
    /// # Errors
    /// When the runtime cannot register the socket.
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
            self.connection_threads,
            self.tls,
        ))
    }
}

/// Like [`BoundServer::serve`], for any source of connections.
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
        ConnectionThreadsHandle::default(),
        None,
    )
}

/// Like [`serve_on`], with TLS beside plain HTTP; see [`BoundServer::with_tls`].
///
/// # Panics
/// Outside a tokio runtime.
pub fn serve_tls_on<L: Listener, S: HttpService>(
    listener: L,
    limits: Limits,
    (tls, plain): (ServerTls, PlainHttp),
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
        ConnectionThreadsHandle::default(),
        Some((tls, plain)),
    )
}

fn start<L: Listener, S: HttpService>(
    listener: L,
    limits: Limits,
    service: S,
    tasks: &Tasks,
    shutdown: Shutdown,
    connection_threads: ConnectionThreadsHandle,
    tls: Option<(ServerTls, PlainHttp)>,
) -> ServerHandle {
    let control = Arc::new(Control::new());
    let permits = ConnectionPermits::new(&limits);
    let (over, alive) = watch::channel(());
    let acceptor = Acceptor {
        listener,
        service,
        limits: Arc::new(limits),
        tasks: tasks.clone(),
        watcher: StageWatcher::new(Arc::clone(&control)),
        permits: Arc::clone(&permits),
        connection_threads,
        tls,
        alive,
    };
    tasks.spawn("http-accept", acceptor.run(shutdown));
    ServerHandle {
        control,
        over,
        permits,
    }
}

/// A running server. Dropping the handle does not stop the server.
///
/// It stops in three phases: [`stop_accepting`](Self::stop_accepting), [`drain`](Self::drain),
/// [`kill`](Self::kill). Each includes those before it. [`close`](Self::close) runs all of them.
#[derive(Debug)]
pub struct ServerHandle {
    control: Arc<Control>,
    over: watch::Sender<()>,
    permits: Arc<ConnectionPermits>,
}

impl ServerHandle {
    /// Closes the listener. The system refuses new connections; open ones continue.
    pub fn stop_accepting(&self) {
        self.control.advance(Stage::NotAccepting);
    }

    /// Closes idle connections at once, and each busy one after its response.
    pub fn drain(&self) {
        self.control.advance(Stage::Draining);
    }

    /// Drops all connections immediately.
    pub fn kill(&self) {
        self.control.advance(Stage::Killed);
    }

    /// Returns when the listener and all connections have ended.
    pub async fn finished(&self) {
        self.over.closed().await;
    }

    /// The number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.permits.open()
    }

    /// Stops accepting, drains for at most `deadline`, then drops the remaining connections and
    /// returns how many there were.
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
