//! The decisions about one engine: `(state, event, now) → (state, effects)`. No I/O, no clock.

mod event;
mod idle_timer;
mod restarts;
mod state;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use pool_registry::PoolUsage;
use tokio::time::Instant;

pub(crate) use event::{EngineEffect, EngineEvent, Policy};
use idle_timer::IdleTimer;
use restarts::{RestartBackoff, RestartDecision};
use state::{AfterExit, State, StopSignal};

use crate::{
    spec::{PoolSpec, RestartPolicy},
    status::EnginePhase,
};

/// A second SIGTERM ends `llama-server` at once, and no engine more slowly. A short pause before
/// SIGKILL is enough.
const SECOND_TERM_GRACE: Duration = Duration::from_secs(1);
/// A process that survives SIGKILL for this long hangs in the kernel, usually in a driver.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time in which an engine of `spec` stops, unless it hangs in the kernel.
pub(crate) fn stop_limit(spec: &PoolSpec) -> Duration {
    [spec.stop_grace, SECOND_TERM_GRACE, KILL_TIMEOUT]
        .into_iter()
        .fold(spec.drain_timeout, Duration::saturating_add)
}

/// The state machine of one engine.
#[derive(Debug)]
pub(crate) struct EngineMachine {
    policy: Policy,
    state: State,
    restarts: RestartBackoff,
    /// It must become ready at its first attempt: it is to replace a working engine.
    candidate: bool,
    last_error: Option<Arc<str>>,
}

impl EngineMachine {
    pub(crate) fn new(policy: Policy, candidate: bool) -> Self {
        Self {
            policy,
            state: State::Stopped,
            restarts: RestartBackoff::default(),
            candidate,
            last_error: None,
        }
    }

    pub(crate) fn phase(&self) -> EnginePhase {
        self.state.phase()
    }

    /// Why it does not run, or did not run before.
    pub(crate) fn last_error(&self) -> Option<&Arc<str>> {
        self.last_error.as_ref()
    }

    /// How often it was started again.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.count()
    }

    /// When a [`Tick`](EngineEvent::Tick) is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.state.deadline()
    }

    /// Applies an event.
    pub(crate) fn on(&mut self, event: EngineEvent, now: Instant) -> Vec<EngineEffect> {
        match event {
            EngineEvent::Start => self.start(now),
            EngineEvent::Adopt => self.adopt(now),
            EngineEvent::StartFailed(reason) => self.start_failed(&reason, now),
            EngineEvent::Ready => self.ready(now),
            EngineEvent::Exited { clean, how } => self.exited(clean, &how, now),
            EngineEvent::Drained => self.drained(now),
            EngineEvent::Stop => self.stop(AfterExit::Stop, now),
            EngineEvent::Restart => self.stop(AfterExit::Restart, now),
            EngineEvent::ScaleToZero => self.begin_scaled_to_zero(),
            EngineEvent::UsageRead(usage) => self.usage_read(usage, now),
            EngineEvent::Demanded => self.demanded(now),
            EngineEvent::Tick => self.tick(now),
        }
    }

    fn start(&mut self, now: Instant) -> Vec<EngineEffect> {
        match self.state {
            State::Stopped | State::Failed | State::Backoff { .. } => self.spawn(now),
            State::ScaledToZero => self.start_on_demand(now),
            _ => Vec::new(),
        }
    }

    fn spawn(&mut self, now: Instant) -> Vec<EngineEffect> {
        self.restarts.started(now);
        self.starting(now)
    }

    fn starting(&mut self, now: Instant) -> Vec<EngineEffect> {
        self.state = State::Starting {
            until: now + self.policy.ready_timeout,
        };
        vec![EngineEffect::Spawn]
    }

    fn adopt(&mut self, now: Instant) -> Vec<EngineEffect> {
        if self.state != State::Stopped {
            return Vec::new();
        }
        self.restarts.adopted();
        self.state = State::Starting {
            until: now + self.policy.ready_timeout,
        };
        vec![EngineEffect::Probe]
    }

    fn start_failed(&mut self, reason: &str, now: Instant) -> Vec<EngineEffect> {
        if matches!(self.state, State::Starting { .. }) {
            // No process ran, so this does not count as a crash.
            self.restarts.start_failed();
            self.failed(reason, now);
            return self.withdraw_offer();
        }
        Vec::new()
    }

    fn ready(&mut self, now: Instant) -> Vec<EngineEffect> {
        if !matches!(self.state, State::Starting { .. }) {
            return Vec::new();
        }
        self.candidate = false;
        self.last_error = None;
        self.announce(now)
    }

    fn announce(&mut self, now: Instant) -> Vec<EngineEffect> {
        self.state = State::Ready {
            since: now,
            idle: (self.policy.sleep_after).map(|after| IdleTimer::new(after, now)),
        };
        vec![EngineEffect::WriteHandoff]
    }

    /// Only pools that scale to zero make offers.
    fn withdraw_offer(&self) -> Vec<EngineEffect> {
        (self.policy.sleep_after.map(|_| EngineEffect::WithdrawOffer))
            .into_iter()
            .collect()
    }

    fn begin_scaled_to_zero(&mut self) -> Vec<EngineEffect> {
        if self.state != State::Stopped {
            return Vec::new();
        }
        self.state = State::ScaledToZero;
        vec![EngineEffect::OfferScaledToZero]
    }

    fn usage_read(&mut self, usage: PoolUsage, now: Instant) -> Vec<EngineEffect> {
        let State::Ready {
            idle: Some(idle), ..
        } = &mut self.state
        else {
            return Vec::new();
        };
        if !idle.observe(usage, now) {
            return Vec::new();
        }
        // Offer first, so that the pool never appears without an engine.
        let mut effects = vec![EngineEffect::OfferScaledToZero];
        effects.extend(self.stop(AfterExit::ScaleToZero, now));
        effects
    }

    fn demanded(&mut self, now: Instant) -> Vec<EngineEffect> {
        match &mut self.state {
            State::ScaledToZero => self.start_on_demand(now),
            // It was not signalled yet, so it can simply continue.
            State::Draining {
                then: AfterExit::ScaleToZero,
                ..
            } => self.announce(now),
            State::Terminating { then, .. } if *then == AfterExit::ScaleToZero => {
                *then = AfterExit::Start;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn start_on_demand(&mut self, now: Instant) -> Vec<EngineEffect> {
        self.restarts.started_on_demand(now);
        self.starting(now)
    }

    fn exited(&mut self, clean: bool, how: &str, now: Instant) -> Vec<EngineEffect> {
        let mut effects = vec![EngineEffect::RemoveHandoff, EngineEffect::CleanUp];
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Starting { .. } => {
                self.failed(&format!("ended before it was ready: {how}"), now);
            }
            State::Ready { since, .. } => {
                self.restarts
                    .was_ready_for(now.saturating_duration_since(since));
                self.ended_by_itself(clean, how, now);
            }
            State::Draining { then, .. } | State::Terminating { then, .. } => match then {
                AfterExit::Stop => {}
                AfterExit::Restart => effects.extend(self.spawn_afresh(now)),
                AfterExit::Start => effects.extend(self.start_on_demand(now)),
                AfterExit::ScaleToZero => self.state = State::ScaledToZero,
                AfterExit::Fail(reason) => self.failed(&reason, now),
            },
            // There was no process.
            state @ (State::Stopped
            | State::Failed
            | State::Backoff { .. }
            | State::ScaledToZero) => {
                self.state = state;
                return Vec::new();
            }
        }
        if matches!(
            self.state,
            State::Stopped | State::Failed | State::Backoff { .. }
        ) {
            effects.extend(self.withdraw_offer());
        }
        effects
    }

    fn ended_by_itself(&mut self, clean: bool, how: &str, now: Instant) {
        match self.policy.restart {
            RestartPolicy::OnFailure | RestartPolicy::Never if clean => {
                self.last_error = Some(format!("ended by itself: {how}").into());
            }
            _ => self.failed(how, now),
        }
    }

    fn failed(&mut self, reason: &str, now: Instant) {
        let gives_up = self.candidate || self.policy.restart == RestartPolicy::Never;
        let decision = self.restarts.failed(now);
        (self.state, self.last_error) = match decision {
            _ if gives_up => (State::Failed, Some(reason.into())),
            RestartDecision::CrashLoop { starts, within } => {
                let secs = within.as_secs();
                let reason =
                    format!("started {starts} times within {secs} s, now given up: {reason}");
                (State::Failed, Some(reason.into()))
            }
            RestartDecision::RetryAfter(delay) => {
                (State::Backoff { until: now + delay }, Some(reason.into()))
            }
        };
    }

    fn spawn_afresh(&mut self, now: Instant) -> Vec<EngineEffect> {
        self.restarts.reset();
        self.spawn(now)
    }

    /// Drains and stops the engine; `then` follows.
    fn stop(&mut self, then: AfterExit, now: Instant) -> Vec<EngineEffect> {
        let is_final = then == AfterExit::Stop;
        let mut effects = match &mut self.state {
            State::Stopped | State::Failed | State::Backoff { .. } | State::ScaledToZero => {
                if is_final {
                    self.state = State::Stopped;
                    Vec::new()
                } else {
                    self.spawn_afresh(now)
                }
            }
            // An adopted engine may have requests before it is known to be ready.
            State::Starting { .. } | State::Ready { .. } => {
                let until = now + self.policy.drain_timeout;
                self.state = State::Draining { until, then };
                vec![EngineEffect::RemoveHandoff, EngineEffect::AwaitDrained]
            }
            State::Draining { then: before, .. } | State::Terminating { then: before, .. } => {
                *before = then;
                Vec::new()
            }
        };
        if is_final {
            effects.extend(self.withdraw_offer());
        }
        effects
    }

    fn drained(&mut self, now: Instant) -> Vec<EngineEffect> {
        let State::Draining { then, .. } = &self.state else {
            return Vec::new();
        };
        let then = then.clone();
        self.terminate(then, now)
    }

    fn terminate(&mut self, then: AfterExit, now: Instant) -> Vec<EngineEffect> {
        self.state = State::Terminating {
            signal: StopSignal::FirstTerm,
            until: now + self.policy.stop_grace,
            then,
        };
        vec![EngineEffect::Terminate]
    }

    fn tick(&mut self, now: Instant) -> Vec<EngineEffect> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match &mut self.state {
            State::Backoff { .. } => self.spawn(now),
            State::Starting { .. } => {
                let secs = self.policy.ready_timeout.as_secs();
                let reason = format!("not ready within {secs} s");
                let mut effects = vec![EngineEffect::RemoveHandoff];
                effects.extend(self.terminate(AfterExit::Fail(reason), now));
                effects
            }
            State::Draining { then, .. } => {
                let then = then.clone();
                self.terminate(then, now)
            }
            State::Terminating { signal, until, .. } => {
                let effect;
                (*signal, *until, effect) = match signal {
                    StopSignal::FirstTerm => {
                        let until = now + SECOND_TERM_GRACE;
                        (StopSignal::SecondTerm, until, EngineEffect::Terminate)
                    }
                    StopSignal::SecondTerm => {
                        (StopSignal::Kill, now + KILL_TIMEOUT, EngineEffect::Kill)
                    }
                    StopSignal::Kill => {
                        self.last_error = Some("it does not end, not even by SIGKILL".into());
                        (StopSignal::Kill, now + KILL_TIMEOUT, EngineEffect::Kill)
                    }
                };
                vec![effect]
            }
            State::Ready { idle, .. } => {
                if let Some(idle) = idle {
                    idle.check_started(now);
                }
                vec![EngineEffect::ReadUsage]
            }
            State::Stopped | State::Failed | State::ScaledToZero => Vec::new(),
        }
    }
}
