//! Starting the thread, and what its owner holds of it.

use std::{fmt, io, num::NonZeroUsize, sync::Arc, time::Duration};

use pool_registry_types::Capabilities;
use thiserror::Error;
use tracing::dispatcher;

use crate::{
    clock::Clock,
    config::Config,
    control_plane::ControlPlane,
    http::HttpControlPlane,
    incarnation,
    journal::Journal,
    machine::Machine,
    report::NodeReport,
    shared::{Left, Shared},
    status::{RegistrationState, RegistrationStatus},
    worker::{Source, Worker},
};

/// Why the registration could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// [`Config::orchestrators`] is empty.
    #[error("there must be at least one orchestrator address")]
    NoOrchestrator,
    /// The heartbeat interval or a timeout is zero.
    #[error("the {0} must be more than zero")]
    Zero(&'static str),
    /// The system gave no thread.
    #[error("cannot start the registration thread")]
    Thread(#[source] io::Error),
}

/// Why the registration could not be taken back. The control plane notices by the missing
/// heartbeats.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DeregisterError {
    /// A request was still on its way when the time was up. The thread ends after it.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The control plane could not be asked, or refused.
    #[error("the registration stays until its timeout: {0}")]
    Failed(String),
}

/// Registers a node and keeps it registered; see the crate documentation.
#[derive(Debug, Clone, Copy)]
pub struct NodeRegistration;

impl NodeRegistration {
    /// Starts the thread; it registers at once and keeps trying until it is stopped.
    ///
    /// `report` is asked on that thread for the full state of the node whenever a heartbeat is
    /// written: a [`NodeReport`], or its pools alone. It should be quick, for the heartbeat
    /// waits for it.
    ///
    /// # Errors
    /// When the configuration cannot work or the system gives no thread. That the control plane
    /// cannot be reached is not an error: see [`RegistrationHandle::status`].
    pub fn start<R: Into<NodeReport>>(
        config: Config,
        report: impl Fn() -> R + Send + 'static,
    ) -> Result<RegistrationHandle, StartError> {
        Self::start_with_capabilities(config, report, Capabilities::default)
    }

    /// Like [`start`](Self::start), with the hardware of the node, which is asked for at each
    /// registration.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_with_capabilities<R: Into<NodeReport>>(
        config: Config,
        report: impl Fn() -> R + Send + 'static,
        capabilities: impl Fn() -> Capabilities + Send + 'static,
    ) -> Result<RegistrationHandle, StartError> {
        let source = Source {
            report: Box::new(move || report().into()),
            capabilities: Box::new(capabilities),
        };
        let control_plane = HttpControlPlane::new(config.connect_timeout, config.token.clone());
        start(config, source, control_plane)
    }
}

/// Starts the thread with any control plane.
pub(crate) fn start(
    config: Config,
    source: Source,
    control_plane: impl ControlPlane,
) -> Result<RegistrationHandle, StartError> {
    let (Some(endpoints), Some(first)) = (
        NonZeroUsize::new(config.orchestrators.len()),
        config.orchestrators.first(),
    ) else {
        return Err(StartError::NoOrchestrator);
    };
    for (name, span) in [
        ("heartbeat interval", config.heartbeat_interval),
        ("connect timeout", config.connect_timeout),
        ("request timeout", config.request_timeout),
    ] {
        if span.is_zero() {
            return Err(StartError::Zero(name));
        }
    }
    let incarnation = incarnation::next(config.incarnation_file.as_deref());
    let shared = Arc::new(Shared::new(
        Clock::start(),
        RegistrationStatus {
            state: RegistrationState::Registering,
            incarnation,
            orchestrator: first.clone(),
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
        machine: Machine::new(config.heartbeat_interval, endpoints),
        journal: Journal::new(config.node_id.clone()),
        source,
        control_plane,
        incarnation,
        shared: Arc::clone(&shared),
        config,
    };
    // The thread logs to wherever its starter logs.
    let log = dispatcher::get_default(Clone::clone);
    let span = tracing::Span::current();
    std::thread::Builder::new()
        .name("node-registration".to_owned())
        .spawn(move || dispatcher::with_default(&log, || span.in_scope(|| worker.run())))
        .map_err(StartError::Thread)?;
    Ok(RegistrationHandle { shared })
}

/// The owner's end of the registration. Dropping it stops the thread and keeps the registration,
/// which then ends by its timeout; [`deregister`](Self::deregister) takes it back.
///
/// The thread ends at once, or after the request that is on its way, which takes 5 s at most by
/// default. Dropping does not wait for that.
#[must_use = "dropping the handle stops the heartbeats"]
pub struct RegistrationHandle {
    shared: Arc<Shared>,
}

impl RegistrationHandle {
    /// The state of a pool changed, for instance it began to drain: report it within 50 ms. Cheap,
    /// never blocks, and many calls become one heartbeat.
    pub fn notify(&self) {
        self.shared.notify();
    }

    /// Something to call [`notify`](Self::notify) with from anywhere else.
    #[must_use]
    pub fn notifier(&self) -> Notifier {
        Notifier {
            shared: Arc::clone(&self.shared),
        }
    }

    /// How things stand.
    #[must_use]
    pub fn status(&self) -> RegistrationStatus {
        self.shared.status()
    }

    /// Takes the registration back and stops the thread. Blocks for `timeout` at most, even when
    /// the control plane hangs; in async code, call it from a thread that may block.
    ///
    /// # Errors
    /// When the registration could not be taken back in time. The thread is stopped all the same.
    pub fn deregister(self, timeout: Duration) -> Result<(), DeregisterError> {
        let until = self.shared.clock.now().saturating_add(timeout);
        self.shared.stop(Some(until));
        match self.shared.wait_finished(until) {
            Left::Nothing => Ok(()),
            Left::Running => Err(DeregisterError::TimedOut(timeout)),
            Left::Registration(error) => {
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
    /// The state of a pool changed: report it within 50 ms. Cheap, and never blocks.
    pub fn notify(&self) {
        self.shared.notify();
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}
