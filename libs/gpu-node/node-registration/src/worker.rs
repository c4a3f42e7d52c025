//! The thread: asks the machine, sends what it wants, tells it what came of it, sleeps.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use pool_registry_types::{Capabilities, HeartbeatRequest, HttpUrl, RegisterRequest};

use crate::{
    config::Config,
    control_plane::{ControlPlane, RequestError},
    fit::fit,
    journal::Journal,
    machine::{Event, Failure, Input, Machine, Phase, Request, Send},
    report::NodeReport,
    shared::Shared,
};

/// The node's state, asked for when a message is written, so that it is never stale.
pub(crate) struct Source {
    pub(crate) report: Box<dyn Fn() -> NodeReport + std::marker::Send>,
    pub(crate) capabilities: Box<dyn Fn() -> Capabilities + std::marker::Send>,
}

/// Everything the thread owns.
pub(crate) struct Worker<C> {
    pub(crate) config: Config,
    pub(crate) source: Source,
    pub(crate) control_plane: C,
    pub(crate) machine: Machine,
    pub(crate) journal: Journal,
    pub(crate) incarnation: u64,
    pub(crate) shared: Arc<Shared>,
}

/// Says that the thread has ended however it ends, so that nobody waits for a thread that is gone.
struct Finished(Arc<Shared>);

impl Drop for Finished {
    fn drop(&mut self) {
        self.0.finish(std::thread::panicking());
    }
}

impl<C: ControlPlane> Worker<C> {
    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        let _finished = Finished(Arc::clone(&self.shared));
        let mut to_send = self.step(Event::Tick);
        while self.machine.phase() != Phase::Stopped {
            if let Some(send) = to_send {
                let outcome = self.exchange(send);
                // What happened meanwhile comes first: a stop must not wait for the request after
                // this one.
                self.take_signals();
                to_send = self.step(outcome);
            } else {
                self.shared.sleep(self.machine.wake_at());
                to_send = self.take_signals().or_else(|| self.step(Event::Tick));
            }
        }
    }

    /// Passes the signals on. At most one of them leads to a request, because it is then in flight.
    fn take_signals(&mut self) -> Option<Send> {
        let signals = self.shared.take_signals();
        signals.fold(None, |to_send, signal| to_send.or(self.step(signal)))
    }

    fn step(&mut self, event: Event) -> Option<Send> {
        let (machine, send) = self.machine.step(Input {
            event,
            now: self.shared.clock.now(),
            jitter: fastrand::f64(),
        });
        self.machine = machine;
        if let Event::Registered { .. } = event {
            self.journal.heartbeats_begin(machine.interval());
        }
        self.shared.publish_machine(&machine);
        send
    }

    fn exchange(&mut self, send: Send) -> Event {
        let Some(url) = self.config.orchestrators.get(send.endpoint).cloned() else {
            // The machine's endpoint is always below the number of addresses; should that ever be
            // wrong, the next one is tried.
            return Event::Failed(Failure::Unavailable { retry_after: None });
        };
        let outcome = match send.request {
            Request::Register => self.register(&url),
            Request::Heartbeat { seq } => self.heartbeat(&url, seq),
            Request::Deregister => self.deregister(&url),
        };
        self.shared
            .publish(|status| status.orchestrator = url.clone());
        match outcome {
            Ok(event) => {
                self.shared.succeeded();
                event
            }
            Err(error) => {
                self.journal
                    .failed(send.request, &url, &error, self.shared.clock.now());
                self.shared.publish(|status| {
                    status.failures += 1;
                    status.last_error = Some(error.to_string());
                });
                Event::Failed(error.failure(send.request))
            }
        }
    }

    fn register(&mut self, url: &HttpUrl) -> Result<Event, RequestError> {
        let mut request = RegisterRequest::new(
            self.config.node_id.clone(),
            self.config.machine_id.clone(),
            self.config.address.clone(),
        );
        request.pools = self.config.pools.clone();
        request.capabilities = (self.source.capabilities)();
        request.version = self.config.version.clone();
        request.incarnation = Some(self.incarnation);
        request.metrics_address = self.config.metrics_address.clone();
        request.takes_replica_hint = true;
        request.bound();
        let answer = self
            .control_plane
            .register(url, &request, self.config.request_timeout)?;
        self.shared.publish(|status| status.registrations += 1);
        self.journal.registered(url);
        Ok(Event::Registered {
            next_heartbeat: answer.next_heartbeat_ms.map(Duration::from_millis),
            timeout: answer.timeout_ms.map(Duration::from_millis),
        })
    }

    fn heartbeat(&mut self, url: &HttpUrl, seq: u64) -> Result<Event, RequestError> {
        let NodeReport { pools, gpus } = (self.source.report)();
        let mut request = HeartbeatRequest::new(
            humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            pools,
        );
        request.incarnation = Some(self.incarnation);
        request.seq = Some(seq);
        request.gpus = gpus;
        request.bound();
        let max_bytes = self.machine.max_report_bytes();
        self.journal
            .report_size(fit(&mut request, max_bytes), max_bytes);
        let answer = self.control_plane.heartbeat(
            url,
            &self.config.node_id,
            &request,
            self.config.request_timeout,
        )?;
        self.shared.publish(|status| status.heartbeats += 1);
        self.journal
            .heartbeat_accepted(url, seq, self.shared.clock.now());
        Ok(Event::HeartbeatAccepted {
            next_heartbeat: Duration::from_millis(answer.next_heartbeat_ms),
            timeout: answer.timeout_ms.map(Duration::from_millis),
        })
    }

    fn deregister(&mut self, url: &HttpUrl) -> Result<Event, RequestError> {
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
            Ok(()) => self.journal.deregistered(url),
            // There is nothing of ours to take back any more.
            Err(error) if error.failure(Request::Deregister) == Failure::Superseded => {
                self.journal.replaced(url);
            }
            Err(error) => return Err(error),
        }
        Ok(Event::Deregistered)
    }
}
