//! The services of a running daemon: listeners, tasks, stop requests, the service manager.

use std::{
    fmt::Display,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use http_server::{
    AllowedHosts, BoundServer, HttpService, Limits, OnlyFor, PlainHttp, ServerHandle,
    UnauthenticatedLimits, metrics_routes, with_fallbacks,
};
use pool_registry_types::limits::Limit;
use service_runtime::{
    ConnectionThreadsHandle, ServiceManager, Shutdown, TaskPanicked, Tasks, raise_descriptor_limit,
    signals,
};
use stream_proxy::StreamProxy;
use telemetry::Metrics;
use tls_config::{ClientTls, IdentityFiles, Reload};
use tokio::sync::watch;

use crate::{
    common::METRICS_ADDR, configuration_file::MAX_CONFIGURATION_FILE_BYTES, program::Program,
    renewal, settings::Settings, tls,
};

/// How long background tasks may take to end, once nothing else is left to do.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Limits of connections to the metrics listener, which has no authentication. Beyond this many
/// connections a new one displaces the oldest. A few collectors have one or two each; the rest
/// makes it hard for other peers to displace a collector before it is answered.
const METRICS_CONNECTIONS: UnauthenticatedLimits = UnauthenticatedLimits {
    max_connections: 128,
    // A collector sends its request with the connection; one that waits behind others loses more.
    grace: Duration::ZERO,
    // Longer than the usual time between two scrapes, a minute at most.
    idle: Duration::from_secs(75),
    life: Duration::from_secs(20 * 60),
};

/// The bounds of the metrics listener and of the configuration file.
pub const LIMITS: &[Limit] = &[
    Limit::new(
        "METRICS_CONNECTIONS",
        METRICS_CONNECTIONS.max_connections as u64,
        "connections",
    )
    .because("Connections of the metrics listener, which are not authenticated.")
    .enforced_by("listeners of `…_METRICS_ADDR`")
    .beyond("the oldest of them is closed for a new one"),
    Limit::new(
        "MAX_CONFIGURATION_FILE_BYTES",
        MAX_CONFIGURATION_FILE_BYTES,
        "bytes",
    )
    .because("The configuration file: every setting with long comments is a tenth of it.")
    .enforced_by("the reader of the file")
    .beyond("the daemon does not start, and exits 64"),
];

/// The shortest time between two changes of the line in `systemctl status`.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Why a daemon could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gives no threads, or no way to wait for sockets.
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    /// The system refuses signal handlers.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
    /// The address is taken, or does not belong to this machine.
    #[error("listen on {addr}, as {variable} says")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The setting that holds it.
        variable: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The runtime cannot watch a listener.
    #[error("serve connections")]
    Serve(#[source] io::Error),
    /// A task panicked while the daemon ran.
    #[error(transparent)]
    Panicked(#[from] TaskPanicked),
}

/// The sockets of a daemon. Connections wait in the kernel until it serves them.
#[derive(Debug)]
pub struct Listeners {
    main: BoundServer,
    metrics: Option<BoundServer>,
}

impl Listeners {
    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.main.local_addr()
    }

    /// Where metrics are served without a token, if anywhere.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(BoundServer::local_addr)
    }

    /// Every address where this process listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let metrics = self.metrics_addr();
        [self.addr()].into_iter().chain(metrics).collect()
    }
}

/// The services of a running daemon.
#[derive(Debug)]
pub struct Daemon {
    /// The program that runs.
    pub program: &'static Program,
    /// Requested by a signal, or when a task panics: the daemon begins to stop.
    pub stop: Shutdown,
    /// Requested by [`end`](Self::end): background tasks and listeners end.
    pub shutdown: Shutdown,
    /// All background tasks of the process.
    pub tasks: Tasks,
    /// The threads that serve connections.
    threads: ConnectionThreadsHandle,
    /// The socket that the service manager has bound.
    inherited: Option<TcpListener>,
    /// Which upstream servers with TLS are trusted.
    client_tls: ClientTls,
    /// The hosts under which the metrics listener is asked; `None` with a token, when every host
    /// is served.
    metrics_hosts: Option<AllowedHosts>,
}

impl Daemon {
    /// Must be called within the runtime.
    pub(crate) fn start(
        program: &'static Program,
        settings: &Settings,
        threads: ConnectionThreadsHandle,
        inherited: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        tracing::info!("Configuration loaded. Cloud profile: {}", settings.is_cloud);
        tracing::info!("{}", settings.auth.describe());
        let stop = Shutdown::new();
        let tasks = Tasks::new(stop.clone());
        signals(stop.clone(), &tasks).map_err(StartError::Signals)?;
        Ok(Self {
            program,
            stop,
            shutdown: Shutdown::new(),
            tasks,
            threads,
            inherited,
            client_tls: settings.client_tls.clone(),
            metrics_hosts: (!settings.auth.has_token()).then(|| settings.allowed_hosts.clone()),
        })
    }

    /// Binds the listen address and the metrics address. A socket of the service manager takes the
    /// place of the former.
    ///
    /// With TLS a task reads its files again when they change.
    ///
    /// The system's limit of open files bounds the number of connections; few of them may be
    /// unauthenticated.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn bind(&self, settings: &Settings) -> Result<Listeners, StartError> {
        let main = self.bind_main(settings.addr, settings.max_body_bytes as u64)?;
        if let Some(tls) = &settings.tls {
            let server = tls.server.clone();
            self.keep_current(move || server.reload());
        }
        let client = settings.client_tls.clone();
        if client.has_files() {
            self.keep_current(move || client.reload());
        }
        Ok(Listeners {
            main: match &settings.tls {
                Some(tls) => main.with_tls(tls.server.clone(), tls.plain),
                None => main,
            },
            metrics: settings
                .metrics_addr
                .map(|addr| self.bind_metrics(addr, settings))
                .transpose()?,
        })
    }

    fn keep_current(&self, reload: impl Fn() -> Reload + Clone + Send + 'static) {
        tls::keep_current(reload, &self.tasks, self.shutdown.clone());
    }

    fn bind_main(&self, addr: SocketAddr, max_body_bytes: u64) -> Result<BoundServer, StartError> {
        let limits = Limits {
            unauthenticated: Some(UnauthenticatedLimits::default()),
            max_body_bytes,
            ..Limits::default()
        };
        let limits = limits.within_descriptors(raise_descriptor_limit());
        let bound = match &self.inherited {
            Some(listener) => listener
                .try_clone()
                .and_then(|listener| http_server::adopt(listener, limits)),
            None => http_server::bind(addr, limits),
        };
        let variable = || self.program.address.variable(self.program.prefix);
        bound
            .map(|bound| bound.on(self.threads.clone()))
            .map_err(|source| cannot_listen(addr, variable(), source))
    }

    fn bind_metrics(
        &self,
        addr: SocketAddr,
        settings: &Settings,
    ) -> Result<BoundServer, StartError> {
        let limits = Limits {
            unauthenticated: Some(METRICS_CONNECTIONS),
            ..Limits::default()
        };
        let variable = || METRICS_ADDR.variable(self.program.prefix);
        let bound = http_server::bind(addr, limits);
        let bound = bound.map_err(|source| cannot_listen(addr, variable(), source))?;
        Ok(match &settings.tls {
            // No token travels here, so collectors without TLS are served as well.
            Some(tls) => bound.with_tls(tls.server.clone(), PlainHttp::FromAnywhere),
            None => bound,
        })
    }

    /// Keeps the certificate in `files` from expiring: calls `renew` after two thirds of its life,
    /// and again until it succeeds.
    pub fn keep_renewed<E: Display + Send + 'static>(
        &self,
        files: IdentityFiles,
        renew: impl Fn() -> Result<(), E> + Clone + Send + 'static,
    ) {
        let renewing = renewal::keep_renewed(files, renew);
        let shutdown = self.shutdown.clone();
        self.tasks.spawn("certificate-renewal", async move {
            tokio::select! {
                () = shutdown.requested() => {}
                () = renewing => {}
            }
        });
    }

    /// Serves `service` at the listen address and `metrics` at theirs, and tells people, scripts
    /// and the service manager that the daemon listens.
    ///
    /// The metrics listener serves `/metrics` and `/health` until [`end`](Self::end), also during
    /// a stop. While no token is set it answers only requests for this machine's names and the
    /// allowed hosts.
    ///
    /// # Errors
    /// When the runtime cannot watch a socket.
    pub fn serve<S: HttpService>(
        &self,
        listeners: Listeners,
        service: S,
        metrics: &Metrics,
    ) -> Result<ServerHandle, StartError> {
        if let Some(listener) = listeners.metrics {
            self.serve_metrics(listener, metrics.clone())
                .map_err(StartError::Serve)?;
        }
        let addr = listeners.main.local_addr();
        let server = listeners
            .main
            .serve(service, &self.tasks, self.shutdown.clone())
            .map_err(StartError::Serve)?;
        tracing::info!("{} listening on {addr}", self.program.name);
        ServiceManager.ready();
        Ok(server)
    }

    fn serve_metrics(&self, listener: BoundServer, metrics: Metrics) -> io::Result<()> {
        let addr = listener.local_addr();
        let routes = metrics_routes(Arc::new(move || metrics.render()));
        let service = OnlyFor::new(
            self.metrics_hosts.clone(),
            with_fallbacks(routes.into_router()),
        );
        listener.serve(service, &self.tasks, self.shutdown.clone())?;
        tracing::info!("metrics are served on {addr}, without a token");
        Ok(())
    }

    /// Follows the file of keys, if there is one.
    pub fn follow_keys(&self, settings: &Settings) {
        if let Some(file) = settings.keys_file.clone() {
            let (policy, shutdown) = (settings.auth.clone(), self.shutdown.clone());
            self.tasks.spawn("key-file", file.follow(policy, shutdown));
        }
    }

    /// A client for upstream servers, and a task that closes its idle connections.
    #[must_use]
    pub fn proxy(&self) -> StreamProxy {
        let proxy = StreamProxy::with_tls(self.client_tls.clone());
        let shutdown = self.shutdown.clone();
        let sweep = proxy
            .clone()
            .sweep(async move { shutdown.requested().await });
        self.tasks.spawn("idle-connections", sweep);
        proxy
    }

    /// The metrics registry of this program.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.program.name, self.program.version)
    }

    /// Feeds the watchdog of the service manager, as long as background tasks and connection
    /// threads make progress and `progress` returns; see [`ServiceManager::beat`].
    pub fn watch_progress<F>(&self, progress: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let threads = self.threads.clone();
        ServiceManager.beat(&self.tasks, self.shutdown.clone(), move || {
            let (threads, progress) = (threads.clone(), progress());
            async move {
                threads.all_responsive().await;
                progress.await;
            }
        });
    }

    /// Shows `state` in the status line of the service manager.
    pub fn show<T: Send + Sync + 'static>(
        &self,
        mut state: watch::Receiver<T>,
        line: impl Fn(&T) -> String + Send + Sync + 'static,
    ) {
        let shutdown = self.shutdown.clone();
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
                () = shutdown.requested() => {}
                () = shown => {}
            }
        });
    }

    /// Returns when a stop is requested. Tells the service manager that the stop may take `within`,
    /// plus the time for background tasks to end.
    pub async fn stop_requested(&self, within: Duration) {
        self.stop.requested().await;
        ServiceManager.status("stopping: running requests finish");
        self.stops_within(within);
    }

    /// Tells the service manager that the stop may take `within` from now on, plus the time for
    /// background tasks to end.
    pub fn stops_within(&self, within: Duration) {
        ServiceManager.stopping(within + 2 * JOIN_TIMEOUT);
    }

    /// Ends the listeners and the background tasks; logs and abandons those that miss the deadline.
    /// This is the last step of a stop.
    pub async fn end(self) {
        self.shutdown.request();
        if let Err(still_running) = self.tasks.join(JOIN_TIMEOUT).await {
            tracing::warn!(%still_running, "tasks did not end in time");
        }
        tracing::info!("{} stopped", self.program.name);
    }
}

fn cannot_listen(addr: SocketAddr, variable: String, source: io::Error) -> StartError {
    StartError::Listen {
        addr,
        variable,
        source,
    }
}
