//! A daemon that runs: what it is built around, from its first log line to its last.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use http_server::{
    AllowedHosts, BoundServer, Limits, OnlyFor, UnauthenticatedLimits, metrics_routes,
    with_fallbacks,
};
use pool_registry_types::limits::Limit;
use service_runtime::{
    ConnectionThreadsHandle, ServiceManager, Shutdown, TaskPanicked, Tasks, raise_descriptor_limit,
    signals,
};
use stream_proxy::StreamProxy;
use telemetry::Metrics;
use tokio::sync::watch;

use crate::{Program, Settings};

/// How long tasks get to end once nothing is left to do.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What holds for the connections of the listener for metrics. Nobody is authenticated there, so a
/// new connection displaces the oldest when there are as many as this. A few collectors have one or
/// two each; the rest is so that those of others must come fast to push a collector out before it
/// is answered.
const METRICS_CONNECTIONS: UnauthenticatedLimits = UnauthenticatedLimits {
    max_connections: 128,
    // Longer than the usual time between two scrapes, a minute at most.
    idle: Duration::from_secs(75),
    life: Duration::from_secs(20 * 60),
};

/// The bounds of the listener for metrics.
pub const LIMITS: &[Limit] = &[Limit::new(
    "METRICS_CONNECTIONS",
    METRICS_CONNECTIONS.max_connections as u64,
    "connections",
)
.because("Connections of the metrics listener, which are not authenticated.")
.enforced_by("listeners of `…_METRICS_ADDR`")
.beyond("the oldest of them is closed for a new one")];

/// How often the line for `systemctl status` changes at most; nobody reads faster.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Why a daemon could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No threads, or no way to wait for sockets.
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    /// The system refuses signal handlers.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
    /// The address is taken, or not of this machine.
    #[error("listen on {addr}, as {variable} says")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The setting that names it.
        variable: String,
        /// What the system says.
        source: io::Error,
    },
    /// A part of it failed while it ran.
    #[error(transparent)]
    Panicked(#[from] TaskPanicked),
}

/// What a daemon is built around.
#[derive(Debug)]
pub struct Daemon {
    /// Who it is.
    pub program: &'static Program,
    /// Requested by a signal, or by a task that panicked.
    pub stop: Shutdown,
    /// What the parts stop by, each in its turn; requested by [`end`](Self::end).
    pub parts: Shutdown,
    /// Every task of the process.
    pub tasks: Tasks,
    /// Where connections live.
    connection_threads: ConnectionThreadsHandle,
    /// What the service manager has bound for us.
    listener: Option<TcpListener>,
    /// Under which names metrics are served at an address of their own; `None` with a token, as
    /// everything is then.
    metrics_hosts: Option<AllowedHosts>,
}

impl Daemon {
    /// Must be called within the runtime.
    pub(crate) fn start(
        program: &'static Program,
        settings: &Settings,
        connection_threads: ConnectionThreadsHandle,
        listener: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        tracing::info!("Configuration loaded. Cloud profile: {}", settings.is_cloud);
        tracing::info!("{}", settings.auth.describe());
        let stop = Shutdown::new();
        let tasks = Tasks::new(stop.clone());
        signals(stop.clone(), &tasks).map_err(StartError::Signals)?;
        Ok(Self {
            program,
            stop,
            parts: Shutdown::new(),
            tasks,
            connection_threads,
            listener,
            metrics_hosts: (!settings.auth.has_token()).then(|| settings.allowed_hosts.clone()),
        })
    }

    /// Takes the socket of the service manager, or else the address that the settings name;
    /// connections wait in the kernel until the server serves. As many are accepted as the
    /// system's limit of open files allows, few of them without authentication, and dealt out to
    /// the threads that the settings ask for.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(&self, settings: &Settings) -> Result<BoundServer, StartError> {
        let limits = Limits {
            unauthenticated: Some(UnauthenticatedLimits::default()),
            ..Limits::default()
        };
        let limits = limits.within_descriptors(raise_descriptor_limit());
        let addr = settings.addr;
        let bound = match &self.listener {
            Some(listener) => listener
                .try_clone()
                .and_then(|listener| http_server::adopt(listener, limits)),
            None => http_server::bind(addr, limits),
        };
        bound
            .map(|bound| bound.on(self.connection_threads.clone()))
            .map_err(|source| self.cannot_listen(addr, "ADDR", source))
    }

    /// Takes the address of the door for metrics, if the settings name one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind_metrics(&self, settings: &Settings) -> Result<Option<BoundServer>, StartError> {
        let Some(addr) = settings.metrics_addr else {
            return Ok(None);
        };
        let limits = Limits {
            unauthenticated: Some(METRICS_CONNECTIONS),
            ..Limits::default()
        };
        let bound = http_server::bind(addr, limits);
        bound
            .map(Some)
            .map_err(|source| self.cannot_listen(addr, "METRICS_ADDR", source))
    }

    /// Serves `/metrics` and `/health` at `bound`, to everybody, until the parts end: a stop is
    /// watched as well. While no token is set, `/metrics` is served under the names of this
    /// machine and the allowed ones only.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub fn serve_metrics(&self, bound: BoundServer, metrics: Metrics) -> io::Result<()> {
        let addr = bound.local_addr();
        let routes = metrics_routes(Arc::new(move || metrics.render()));
        let service = OnlyFor::new(
            self.metrics_hosts.clone(),
            with_fallbacks(routes.into_router()),
        );
        bound.serve(service, &self.tasks, self.parts.clone())?;
        tracing::info!("metrics are served on {addr}, without a token");
        Ok(())
    }

    fn cannot_listen(&self, addr: SocketAddr, name: &str, source: io::Error) -> StartError {
        StartError::Listen {
            addr,
            variable: Settings::variable(self.program, name),
            source,
        }
    }

    /// The way to other servers, whose idle connections are closed in time.
    #[must_use]
    pub fn proxy(&self) -> StreamProxy {
        let (proxy, parts) = (StreamProxy::new(), self.parts.clone());
        let sweep = proxy.clone().sweep(async move { parts.requested().await });
        self.tasks.spawn("idle-connections", sweep);
        proxy
    }

    /// The process's figures, under its name.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.program.name, self.program.version)
    }

    /// Says where it listens: people and scripts wait for this line, and the service manager for
    /// the word.
    pub fn listening(&self, addr: SocketAddr) {
        tracing::info!("{} listening on {addr}", self.program.name);
        ServiceManager.ready();
    }

    /// Under a watchdog, gives signs of life as long as tasks run, those of connections too, and
    /// `progress` returns; see [`ServiceManager::beat`].
    pub fn watched<F>(&self, progress: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let connection_threads = self.connection_threads.clone();
        ServiceManager.beat(&self.tasks, self.parts.clone(), move || {
            let (connection_threads, progress) = (connection_threads.clone(), progress());
            async move {
                connection_threads.all_responsive().await;
                progress.await;
            }
        });
    }

    /// Keeps the service manager's line about us up to date with `state`.
    pub fn show<T: Send + Sync + 'static>(
        &self,
        mut state: watch::Receiver<T>,
        line: impl Fn(&T) -> String + Send + Sync + 'static,
    ) {
        let parts = self.parts.clone();
        self.tasks.spawn("status-line", async move {
            let shown = async {
                loop {
                    let line = line(&state.borrow_and_update());
                    ServiceManager.status(&line);
                    tokio::time::sleep(STATUS_INTERVAL).await;
                    if state.changed().await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = parts.requested() => {}
                () = shown => {}
            }
        });
    }

    /// Returns when somebody has asked for a stop. The service manager is told that it may take as
    /// long as `within`, and the time that everything gets to end after that.
    pub async fn asked_to_stop(&self, within: Duration) {
        self.stop.requested().await;
        ServiceManager.status("stopping: running requests finish");
        self.stops_within(within);
    }

    /// The stop under way may take as long as `within` from now on, and the time that everything
    /// gets to end after that.
    pub fn stops_within(&self, within: Duration) {
        ServiceManager.stopping(within + 2 * JOIN_TIMEOUT);
    }

    /// The last step of a stop: everything behind the doors ends. Who does not end in time is named
    /// and left behind.
    pub async fn end(self) {
        self.parts.request();
        if let Err(still_running) = self.tasks.join(JOIN_TIMEOUT).await {
            tracing::warn!(%still_running, "tasks did not end in time");
        }
        tracing::info!("{} stopped", self.program.name);
    }
}
