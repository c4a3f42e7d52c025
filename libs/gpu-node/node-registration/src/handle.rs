//! Starting the thread, and its handle.

use std::{fmt, io, num::NonZeroUsize, sync::Arc, time::Duration};

use pool_registry_types::Capabilities;
use thiserror::Error;
use tracing::dispatcher;

use crate::{
    clock::Clock,
    config::RegistrationConfig,
    control_plane::ControlPlane,
    http::HttpControlPlane,
    incarnation,
    machine::RegistrationMachine,
    registration_log::RegistrationLog,
    report::NodeReport,
    shared::{Remaining, Shared},
    status::{RegistrationState, RegistrationStatus},
    worker::{NodeSource, Worker},
};

/// Why a registration could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The system gave no thread.
    #[error("cannot start the registration thread")]
    Thread(#[source] io::Error),
}

/// Why deregistration failed. The control plane notices by the missing heartbeats.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DeregisterError {
    /// A request was still running at the deadline. The thread ends after it.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The control plane could not be reached, or refused.
    #[error("the registration stays until its timeout: {0}")]
    Failed(String),
}

/// Registers a node and keeps it registered; see the crate documentation.
pub struct NodeRegistration {
    config: RegistrationConfig,
    capabilities: Box<dyn Fn() -> Capabilities + Send>,
}

impl NodeRegistration {
    /// A registration that is not started yet, of a node without known hardware.
    #[must_use]
    pub fn new(config: RegistrationConfig) -> Self {
        Self {
            config,
            capabilities: Box::new(Capabilities::default),
        }
    }

    /// Sets the source of the node's hardware, which is read at each registration.
    #[must_use]
    pub fn with_capabilities(
        mut self,
        capabilities: impl Fn() -> Capabilities + Send + 'static,
    ) -> Self {
        self.capabilities = Box::new(capabilities);
        self
    }

    /// Starts the thread. It registers at once and retries until it is stopped.
    ///
    /// `report` runs on that thread for each heartbeat and returns the full state of the node: a
    /// [`NodeReport`], or its pools alone. It should be quick, because the heartbeat waits for it.
    ///
    /// # Errors
    /// When the system gives no thread. An unreachable control plane is not an error: see
    /// [`RegistrationHandle::status`].
    pub fn start<R: Into<NodeReport>>(
        self,
        report: impl Fn() -> R + Send + 'static,
    ) -> Result<RegistrationHandle, StartError> {
        let source = NodeSource {
            report: Box::new(move || report().into()),
            capabilities: self.capabilities,
        };
        let config = self.config;
        let control_plane =
            HttpControlPlane::new(config.connect_timeout, config.token.clone(), &config.tls);
        start(config, source, control_plane)
    }
}

impl fmt::Debug for NodeRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRegistration")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Starts the thread with any control plane.
pub(crate) fn start(
    config: RegistrationConfig,
    source: NodeSource,
    control_plane: impl ControlPlane,
) -> Result<RegistrationHandle, StartError> {
    let endpoints = NonZeroUsize::MIN.saturating_add(config.fallbacks.len());
    let incarnation = incarnation::next(config.incarnation_file.as_deref());
    let shared = Arc::new(Shared::new(
        Clock::start(),
        RegistrationStatus {
            state: RegistrationState::Registering,
            incarnation,
            control_plane: config.control_plane.clone(),
            last_error: None,
            last_success_age: None,
            failures_in_a_row: 0,
            registrations: 0,
            heartbeats: 0,
            failures: 0,
            heartbeat_interval: config.heartbeat_interval,
        },
    ));
    let worker = Worker {
        machine: RegistrationMachine::new(config.heartbeat_interval, endpoints),
        log: RegistrationLog::new(config.node_id.clone()),
        source,
        control_plane,
        incarnation,
        shared: Arc::clone(&shared),
        config,
    };
    // The thread uses the log of its starter.
    let log = dispatcher::get_default(Clone::clone);
    let span = tracing::Span::current();
    std::thread::Builder::new()
        .name("node-registration".to_owned())
        .spawn(move || dispatcher::with_default(&log, || span.in_scope(|| worker.run())))
        .map_err(StartError::Thread)?;
    Ok(RegistrationHandle { shared })
}

/// The handle of a registration. Dropping it stops the thread and keeps the registration, which
/// then ends by its timeout; [`deregister`](Self::deregister) removes it.
///
/// The thread ends at once, or after the request in flight, which takes 5 s at most by default.
/// Dropping does not wait for that.
#[must_use = "dropping the handle stops the heartbeats"]
pub struct RegistrationHandle {
    shared: Arc<Shared>,
}

impl RegistrationHandle {
    /// Reports a change of a pool within 50 ms, for example a drain. Cheap and non-blocking;
    /// several calls become one heartbeat.
    pub fn notify(&self) {
        self.shared.notify();
    }

    /// A handle that can only [`notify`](Self::notify).
    #[must_use]
    pub fn notifier(&self) -> Notifier {
        Notifier {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The current status.
    #[must_use]
    pub fn status(&self) -> RegistrationStatus {
        self.shared.status()
    }

    /// Deregisters and stops the thread. Blocks for `timeout` at most, even when the control plane
    /// hangs; in async code, call it from a thread that may block.
    ///
    /// # Errors
    /// When the node could not be deregistered in time. The thread is stopped anyway.
    pub fn deregister(self, timeout: Duration) -> Result<(), DeregisterError> {
        let until = self.shared.clock.now().saturating_add(timeout);
        self.shared.stop(Some(until));
        match self.shared.wait_finished(until) {
            Remaining::Nothing => Ok(()),
            Remaining::Running => Err(DeregisterError::TimedOut(timeout)),
            Remaining::Registration(error) => {
                Err(DeregisterError::Failed(error.unwrap_or_else(|| {
                    "there was no time left to ask".to_owned()
                })))
            }
        }
    }
}

impl Drop for RegistrationHandle {
    fn drop(&mut self) {
        self.shared.stop(None);
    }
}

impl fmt::Debug for RegistrationHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationHandle")
            .field("status", &self.status())
            .finish()
    }
}

/// Reports changes; see [`RegistrationHandle::notify`]. Outlives the handle harmlessly.
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

impl Notifier {
    /// Reports a change of a pool within 50 ms. Cheap and non-blocking.
    pub fn notify(&self) {
        self.shared.notify();
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}
