//! What the thread and its handles share: signals one way, status the other.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::{
    clock::Clock,
    machine::{Event, Machine},
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

/// Signals the thread has not seen yet. Each is kept once: they say that something changed, not
/// what.
#[derive(Default)]
struct Pending {
    changed: bool,
    stop: Option<Event>,
}

struct Published {
    status: RegistrationStatus,
    last_success: Option<Duration>,
    /// The control plane may still hold a registration of ours.
    held: bool,
    finished: bool,
}

/// What there still is when nobody waits any longer.
pub(crate) enum Left {
    /// Nothing.
    Nothing,
    /// The thread has ended, but the control plane still holds the registration; with the last
    /// error.
    Registration(Option<String>),
    /// A request is still on its way; the thread ends after it.
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

    /// The thread has to end; the first such wish counts.
    pub(crate) fn stop(&self, deregister_by: Option<Duration>) {
        self.pending
            .lock()
            .stop
            .get_or_insert(Event::Stop { deregister_by });
        self.wake.notify_one();
    }

    /// The signals since the last call.
    pub(crate) fn take_signals(&self) -> impl Iterator<Item = Event> + use<> {
        let Pending { changed, stop } = std::mem::take(&mut *self.pending.lock());
        stop.into_iter()
            .chain(changed.then_some(Event::StateChanged))
    }

    /// Sleeps until a signal comes or it is `until`; without an end when there is none.
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

    /// Publishes what `change` makes of the status.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut RegistrationStatus)) {
        change(&mut self.status.lock().status);
    }

    /// Publishes where the machine stands.
    pub(crate) fn publish_machine(&self, machine: &Machine) {
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

    /// Waits until the thread has ended, at most until `until`, and says what is left of it.
    pub(crate) fn wait_finished(&self, until: Duration) -> Left {
        let mut published = self.status.lock();
        while !published.finished {
            let left = until.saturating_sub(self.clock.now());
            if left.is_zero() {
                return Left::Running;
            }
            self.finished.wait_for(&mut published, left);
        }
        if published.held {
            Left::Registration(published.status.last_error.clone())
        } else {
            Left::Nothing
        }
    }
}
