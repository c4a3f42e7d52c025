//! A daemon that runs: what it is built around, from its first log line to its last.

use std::{io, net::SocketAddr, time::Duration};

use http_server::{BoundServer, Limits};
use service_runtime::{Shutdown, TaskPanicked, Tasks, raise_descriptor_limit, signals};
use stream_proxy::StreamProxy;
use telemetry::Metrics;

use crate::{Program, Settings};

/// How long tasks get to end once nothing is left to do.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

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
}

impl Daemon {
    /// Must be called within the runtime.
    pub(crate) fn start(program: &'static Program, settings: &Settings) -> Result<Self, StartError> {
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
        })
    }

    /// Takes the address that the settings name; connections wait in the kernel until the server serves. As many
    /// are accepted as the system's limit of open files allows.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(&self, settings: &Settings) -> Result<BoundServer, StartError> {
        let limits = Limits::default().within_descriptors(raise_descriptor_limit());
        let addr = settings.addr;
        http_server::bind(addr, limits).map_err(|source| StartError::Listen {
            addr,
            variable: Settings::variable(self.program, "ADDR"),
            source,
        })
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

    /// Says where it listens: people and scripts wait for this line.
    pub fn listening(&self, addr: SocketAddr) {
        tracing::info!("{} listening on {addr}", self.program.name);
    }

    /// The last step of a stop: everything behind the doors ends. Who does not end in time is named and left behind.
    pub async fn end(self) {
        self.parts.request();
        if let Err(still_running) = self.tasks.join(JOIN_TIMEOUT).await {
            tracing::warn!(%still_running, "tasks did not end in time");
        }
        tracing::info!("{} stopped", self.program.name);
    }
}
