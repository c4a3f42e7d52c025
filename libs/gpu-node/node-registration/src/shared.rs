//! State shared by the thread and its handles: signals to the thread, status from it.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::{
    clock::Clock,
    machine::{RegistrationEvent, RegistrationMachine},
    status::{RegistrationState, RegistrationStatus},
};

/// Shared by the thread, the handle and its notifiers.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pending: Mutex<Pending>,
    wake: Condvar,
    status: Mutex<Published>,
    finished: Condvar,
}

/// Signals that the thread has not handled yet. Each is kept once.
#[derive(Default)]
struct Pending {
    changed: bool,
    stop: Option<RegistrationEvent>,
}

struct Published {
    status: RegistrationStatus,
    last_success: Option<Duration>,
    /// The control plane may still have a registration of this node.
    held: bool,
    finished: bool,
}

/// What remains after waiting for the thread.
pub(crate) enum Remaining {
    /// Nothing.
    Nothing,
    /// The thread has ended, but the control plane still has the registration; with the last error.
    Registration(Option<String>),
    /// A request is still in flight; the thread ends after it.
    Running,
}

impl Shared {
    pub(crate) fn new(clock: Clock, status: RegistrationStatus) -> Self {
        Self {
            clock,
            pending: Mutex::default(),
            wake: Condvar::new(),
            status: Mutex::new(Published {
                status,
                last_success: None,
                held: false,
                finished: false,
            }),
            finished: Condvar::new(),
        }
    }

    /// The node's state changed.
    pub(crate) fn notify(&self) {
        self.pending.lock().changed = true;
        self.wake.notify_one();
    }

    /// Requests the thread to end; the first request counts.
    pub(crate) fn stop(&self, deregister_by: Option<Duration>) {
        self.pending
            .lock()
            .stop
            .get_or_insert(RegistrationEvent::Stop { deregister_by });
        self.wake.notify_one();
    }

    /// The signals since the last call.
    pub(crate) fn take_signals(&self) -> impl Iterator<Item = RegistrationEvent> + use<> {
        let Pending { changed, stop } = std::mem::take(&mut *self.pending.lock());
        stop.into_iter()
            .chain(changed.then_some(RegistrationEvent::StateChanged))
    }

    /// Sleeps until a signal comes, or until `until` if it is given.
    pub(crate) fn sleep(&self, until: Option<Duration>) {
        let mut pending = self.pending.lock();
        while !pending.changed && pending.stop.is_none() {
            match until {
                None => self.wake.wait(&mut pending),
                Some(until) => {
                    let left = until.saturating_sub(self.clock.now());
                    if left.is_zero() || self.wake.wait_for(&mut pending, left).timed_out() {
                        return;
                    }
                }
            }
        }
    }

    /// Changes the published status.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut RegistrationStatus)) {
        change(&mut self.status.lock().status);
    }

    /// Publishes the state of the machine.
    pub(crate) fn publish_machine(&self, machine: &RegistrationMachine) {
        let mut published = self.status.lock();
        published.held = machine.held();
        let status = &mut published.status;
        status.state = RegistrationState::from(machine.phase());
        status.failures_in_a_row = machine.failures();
        status.heartbeat_interval = machine.interval();
    }

    /// A request succeeded just now.
    pub(crate) fn succeeded(&self) {
        let mut published = self.status.lock();
        published.last_success = Some(self.clock.now());
        published.status.last_error = None;
    }

    /// The status now.
    pub(crate) fn status(&self) -> RegistrationStatus {
        let published = self.status.lock();
        let mut status = published.status.clone();
        status.last_success_age = published
            .last_success
            .map(|at| self.clock.now().saturating_sub(at));
        status
    }

    /// The thread has ended.
    pub(crate) fn finish(&self, panicked: bool) {
        let mut published = self.status.lock();
        published.finished = true;
        published.status.state = RegistrationState::Stopped;
        if panicked {
            published.status.last_error =
                Some("the source of the node's state panicked".to_owned());
        }
        self.finished.notify_all();
    }

    /// Waits until the thread has ended, at most until `until`. Returns what remains.
    pub(crate) fn wait_finished(&self, until: Duration) -> Remaining {
        let mut published = self.status.lock();
        while !published.finished {
            let left = until.saturating_sub(self.clock.now());
            if left.is_zero() {
                return Remaining::Running;
            }
            self.finished.wait_for(&mut published, left);
        }
        if published.held {
            Remaining::Registration(published.status.last_error.clone())
        } else {
            Remaining::Nothing
        }
    }
}
