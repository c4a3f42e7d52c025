//! The thread: sends the requests of the state machine and feeds back their outcomes.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use pool_registry_types::{Capabilities, HeartbeatRequest, HttpUrl, RegisterRequest, Text};

use crate::{
    config::RegistrationConfig,
    control_plane::{ControlPlane, RequestError},
    machine::{
        ControlPlaneRequest, Input, OutgoingRequest, RegistrationEvent, RegistrationMachine,
        RegistrationPhase, RequestFailure,
    },
    registration_log::RegistrationLog,
    report::NodeReport,
    report_limit::limit_size,
    shared::Shared,
};

/// The source of the node's state. It is read when a message is written, so that it is current.
pub(crate) struct NodeSource {
    pub(crate) report: Box<dyn Fn() -> NodeReport + Send>,
    pub(crate) capabilities: Box<dyn Fn() -> Capabilities + Send>,
}

/// Everything the thread owns.
pub(crate) struct Worker<C> {
    pub(crate) config: RegistrationConfig,
    pub(crate) source: NodeSource,
    pub(crate) control_plane: C,
    pub(crate) machine: RegistrationMachine,
    pub(crate) log: RegistrationLog,
    pub(crate) incarnation: u64,
    pub(crate) shared: Arc<Shared>,
}

/// Marks the thread as ended, also when it panics, so that waiting for it ends.
struct Finished(Arc<Shared>);

impl Drop for Finished {
    fn drop(&mut self) {
        self.0.finish(std::thread::panicking());
    }
}

impl<C: ControlPlane> Worker<C> {
    /// Runs until it is stopped.
    pub(crate) fn run(mut self) {
        let _finished = Finished(Arc::clone(&self.shared));
        let mut to_send = self.step(RegistrationEvent::Tick);
        while self.machine.phase() != RegistrationPhase::Stopped {
            if let Some(send) = to_send {
                let outcome = self.exchange(send);
                // Signals come first: a stop must not wait for one more request.
                self.take_signals();
                to_send = self.step(outcome);
            } else {
                self.shared.sleep(self.machine.wake_at());
                to_send = self
                    .take_signals()
                    .or_else(|| self.step(RegistrationEvent::Tick));
            }
        }
    }

    /// Feeds signals to the machine. At most one leads to a request, because it is then in flight.
    fn take_signals(&mut self) -> Option<OutgoingRequest> {
        let signals = self.shared.take_signals();
        signals.fold(None, |to_send, signal| to_send.or(self.step(signal)))
    }

    fn step(&mut self, event: RegistrationEvent) -> Option<OutgoingRequest> {
        let (machine, send) = self.machine.step(Input {
            event,
            now: self.shared.clock.now(),
            jitter: fastrand::f64(),
        });
        self.machine = machine;
        if let RegistrationEvent::Registered { .. } = event {
            self.log.heartbeats_begin(machine.interval());
        }
        self.shared.publish_machine(&machine);
        send
    }

    fn exchange(&mut self, send: OutgoingRequest) -> RegistrationEvent {
        let Some(url) = self.config.control_planes().nth(send.endpoint).cloned() else {
            // The endpoint is always below the number of addresses. Otherwise the next one is
            // tried.
            return RegistrationEvent::Failed(RequestFailure::Unavailable { retry_after: None });
        };
        let outcome = match send.request {
            ControlPlaneRequest::Register => self.register(&url),
            ControlPlaneRequest::Heartbeat { seq } => self.heartbeat(&url, seq),
            ControlPlaneRequest::Deregister => self.deregister(&url),
        };
        self.shared
            .publish(|status| status.control_plane = url.clone());
        match outcome {
            Ok(event) => {
                self.shared.succeeded();
                event
            }
            Err(error) => {
                self.log
                    .failed(send.request, &url, &error, self.shared.clock.now());
                self.shared.publish(|status| {
                    status.failures += 1;
                    status.last_error = Some(error.to_string());
                });
                RegistrationEvent::Failed(error.failure(send.request))
            }
        }
    }

    fn register(&mut self, url: &HttpUrl) -> Result<RegistrationEvent, RequestError> {
        let mut request = RegisterRequest::new(
            self.config.node_id.clone(),
            self.config.machine_id.clone(),
            self.config.address.clone(),
        );
        request.pools = self.config.pools.clone();
        request.capabilities = (self.source.capabilities)();
        request.version = self.config.version.clone();
        request.incarnation = Some(self.incarnation);
        request.boot_id = self.config.boot_id.clone();
        request.metrics_address = self.config.metrics_address.clone();
        request.takes_replica_hint = true;
        request.bound();
        let answer = self
            .control_plane
            .register(url, &request, self.config.request_timeout)?;
        self.shared.publish(|status| status.registrations += 1);
        self.log.registered(url);
        Ok(RegistrationEvent::Registered {
            next_heartbeat: answer.next_heartbeat_ms.map(Duration::from_millis),
            timeout: answer.timeout_ms.map(Duration::from_millis),
        })
    }

    fn heartbeat(&mut self, url: &HttpUrl, seq: u64) -> Result<RegistrationEvent, RequestError> {
        let NodeReport {
            pools,
            gpus,
            refused_handoffs,
        } = (self.source.report)();
        let mut request = HeartbeatRequest::new(
            Text::cut(&humantime::format_rfc3339_millis(SystemTime::now()).to_string()),
            pools,
        );
        request.incarnation = Some(self.incarnation);
        request.seq = Some(seq);
        request.gpus = gpus;
        request.refused_handoffs = refused_handoffs;
        request.bound();
        let max_bytes = self.machine.max_report_bytes();
        self.log
            .report_size(limit_size(&mut request, max_bytes), max_bytes);
        let answer = self.control_plane.heartbeat(
            url,
            &self.config.node_id,
            &request,
            self.config.request_timeout,
        )?;
        self.shared.publish(|status| status.heartbeats += 1);
        self.log
            .heartbeat_accepted(url, seq, self.shared.clock.now());
        Ok(RegistrationEvent::HeartbeatAccepted {
            next_heartbeat: Duration::from_millis(answer.next_heartbeat_ms),
            timeout: answer.timeout_ms.map(Duration::from_millis),
        })
    }

    fn deregister(&mut self, url: &HttpUrl) -> Result<RegistrationEvent, RequestError> {
        let left = self
            .machine
            .deregister_by()
            .unwrap_or_default()
            .saturating_sub(self.shared.clock.now());
        let timeout = left.min(self.config.request_timeout);
        let node_id = &self.config.node_id;
        match self
            .control_plane
            .deregister(url, node_id, self.incarnation, timeout)
        {
            Ok(()) => self.log.deregistered(url),
            // The registration belongs to a later incarnation.
            Err(error)
                if error.failure(ControlPlaneRequest::Deregister) == RequestFailure::Superseded =>
            {
                self.log.replaced(url);
            }
            Err(error) => return Err(error),
        }
        Ok(RegistrationEvent::Deregistered)
    }
}
