//! The decisions about one engine: `(state, event, now) → (state, effects)`. No I/O, no clock.

mod event;
mod idle;
mod restarts;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use pool_registry::PoolUsage;
use tokio::time::Instant;

use crate::{PoolSpec, RestartPolicy, status::Phase};
pub(crate) use event::{Effect, Event, Policy};
use idle::Idle;
use restarts::{Restarts, Verdict};

/// A second SIGTERM makes `llama-server` end at once, and others no slower; so little is enough
/// before SIGKILL.
const SECOND_TERM_GRACE: Duration = Duration::from_secs(1);
/// What SIGKILL does not end in this time hangs in the kernel, mostly in a driver.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take at most to stop an engine of `spec` that can be stopped at all.
pub(crate) fn stop_limit(spec: &PoolSpec) -> Duration {
    [spec.stop_grace, SECOND_TERM_GRACE, KILL_PATIENCE]
        .into_iter()
        .fold(spec.drain_timeout, Duration::saturating_add)
}

/// What follows when the process is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Then {
    Rest,
    StartAfresh,
    Sleep,
    Wake,
    Fail(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    FirstTerm,
    SecondTerm,
    Kill,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Stopped,
    Failed,
    Backoff {
        until: Instant,
    },
    Starting {
        until: Instant,
    },
    Ready {
        since: Instant,
        idle: Option<Idle>,
    },
    Asleep,
    Draining {
        until: Instant,
        then: Then,
    },
    Ending {
        step: Step,
        until: Instant,
        then: Then,
    },
}

/// One engine.
#[derive(Debug)]
pub(crate) struct Machine {
    policy: Policy,
    state: State,
    restarts: Restarts,
    /// It must become ready at its first attempt: it is to replace one that works.
    on_trial: bool,
    last_error: Option<Arc<str>>,
}

impl Machine {
    pub(crate) fn new(policy: Policy, on_trial: bool) -> Self {
        Self {
            policy,
            state: State::Stopped,
            restarts: Restarts::default(),
            on_trial,
            last_error: None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match &self.state {
            State::Stopped => Phase::Stopped,
            State::Failed => Phase::Failed,
            State::Backoff { .. } => Phase::Backoff,
            State::Starting { .. } => Phase::Starting,
            State::Ready { .. } => Phase::Ready,
            State::Asleep => Phase::Sleeping,
            State::Draining { .. } => Phase::Draining,
            State::Ending { .. } => Phase::Stopping,
        }
    }

    /// Why it is not running, or was not when it last was not.
    pub(crate) fn last_error(&self) -> Option<&Arc<str>> {
        self.last_error.as_ref()
    }

    /// How often it was started again.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.count()
    }

    /// When a [`Tick`](Event::Tick) is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Stopped | State::Failed | State::Asleep => None,
            State::Ready { idle, .. } => idle.as_ref().map(Idle::look_at),
            State::Backoff { until }
            | State::Starting { until }
            | State::Draining { until, .. }
            | State::Ending { until, .. } => Some(*until),
        }
    }

    /// Takes in what happened.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        match event {
            Event::Start => self.start(now),
            Event::Adopt => self.adopt(now),
            Event::Refused(reason) => self.refused(&reason, now),
            Event::Ready => self.ready(now),
            Event::Exited { clean, how } => self.exited(clean, &how, now),
            Event::Quiet => self.quiet(now),
            Event::Stop => self.end(Then::Rest, now),
            Event::Restart => self.end(Then::StartAfresh, now),
            Event::Doze => self.doze(),
            Event::Used(usage) => self.used(usage, now),
            Event::Wanted => self.wanted(now),
            Event::Tick => self.tick(now),
        }
    }

    fn start(&mut self, now: Instant) -> Vec<Effect> {
        match self.state {
            State::Stopped | State::Failed | State::Backoff { .. } => self.spawn(now),
            State::Asleep => self.wake_up(now),
            _ => Vec::new(),
        }
    }

    fn spawn(&mut self, now: Instant) -> Vec<Effect> {
        self.restarts.started(now);
        self.starting(now)
    }

    fn starting(&mut self, now: Instant) -> Vec<Effect> {
        self.state = State::Starting {
            until: now + self.policy.ready_timeout,
        };
        vec![Effect::Spawn]
    }

    fn adopt(&mut self, now: Instant) -> Vec<Effect> {
        if self.state != State::Stopped {
            return Vec::new();
        }
        self.restarts.adopted();
        self.state = State::Starting {
            until: now + self.policy.ready_timeout,
        };
        vec![Effect::Probe]
    }

    fn refused(&mut self, reason: &str, now: Instant) -> Vec<Effect> {
        if matches!(self.state, State::Starting { .. }) {
            // Nothing ran, so it cannot have been a storm of starts.
            self.restarts.start_was_refused();
            self.failed(reason, now);
            return self.withdraw();
        }
        Vec::new()
    }

    fn ready(&mut self, now: Instant) -> Vec<Effect> {
        if !matches!(self.state, State::Starting { .. }) {
            return Vec::new();
        }
        self.on_trial = false;
        self.last_error = None;
        self.announce(now)
    }

    fn announce(&mut self, now: Instant) -> Vec<Effect> {
        self.state = State::Ready {
            since: now,
            idle: self.policy.sleep_after.map(|after| Idle::new(after, now)),
        };
        vec![Effect::Announce]
    }

    /// What promised it keeps it no longer. Without sleep there are no promises.
    fn withdraw(&self) -> Vec<Effect> {
        (self.policy.sleep_after.map(|_| Effect::Forsake))
            .into_iter()
            .collect()
    }

    fn doze(&mut self) -> Vec<Effect> {
        if self.state != State::Stopped {
            return Vec::new();
        }
        self.state = State::Asleep;
        vec![Effect::Promise]
    }

    fn used(&mut self, usage: PoolUsage, now: Instant) -> Vec<Effect> {
        let State::Ready {
            idle: Some(idle), ..
        } = &mut self.state
        else {
            return Vec::new();
        };
        if !idle.looked(usage, now) {
            return Vec::new();
        }
        // The promise first: nobody shall find the pool without an engine.
        let mut effects = vec![Effect::Promise];
        effects.extend(self.end(Then::Sleep, now));
        effects
    }

    fn wanted(&mut self, now: Instant) -> Vec<Effect> {
        match &mut self.state {
            State::Asleep => self.wake_up(now),
            // It was not told to end yet.
            State::Draining {
                then: Then::Sleep, ..
            } => self.announce(now),
            State::Ending { then, .. } if *then == Then::Sleep => {
                *then = Then::Wake;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn wake_up(&mut self, now: Instant) -> Vec<Effect> {
        self.restarts.woken(now);
        self.starting(now)
    }

    fn exited(&mut self, clean: bool, how: &str, now: Instant) -> Vec<Effect> {
        let mut effects = vec![Effect::Retract, Effect::Forget];
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Starting { .. } => {
                self.failed(&format!("ended before it was ready: {how}"), now)
            }
            State::Ready { since, .. } => {
                self.restarts
                    .was_ready_for(now.saturating_duration_since(since));
                self.ended_by_itself(clean, how, now);
            }
            State::Draining { then, .. } | State::Ending { then, .. } => match then {
                Then::Rest => {}
                Then::StartAfresh => effects.extend(self.spawn_afresh(now)),
                Then::Wake => effects.extend(self.wake_up(now)),
                Then::Sleep => self.state = State::Asleep,
                Then::Fail(reason) => self.failed(&reason, now),
            },
            // Without a process none can end.
            state @ (State::Stopped | State::Failed | State::Backoff { .. } | State::Asleep) => {
                self.state = state;
                return Vec::new();
            }
        }
        if matches!(
            self.state,
            State::Stopped | State::Failed | State::Backoff { .. }
        ) {
            effects.extend(self.withdraw());
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
        let gives_up = self.on_trial || self.policy.restart == RestartPolicy::Never;
        let verdict = self.restarts.failed(now);
        (self.state, self.last_error) = match verdict {
            _ if gives_up => (State::Failed, Some(reason.into())),
            Verdict::Storm { starts, within } => {
                let secs = within.as_secs();
                let reason =
                    format!("started {starts} times within {secs} s, now given up: {reason}");
                (State::Failed, Some(reason.into()))
            }
            Verdict::RetryAfter(delay) => {
                (State::Backoff { until: now + delay }, Some(reason.into()))
            }
        };
    }

    fn spawn_afresh(&mut self, now: Instant) -> Vec<Effect> {
        self.restarts.forgive();
        self.spawn(now)
    }

    /// Ends it, requests first.
    fn end(&mut self, then: Then, now: Instant) -> Vec<Effect> {
        let is_final = then == Then::Rest;
        let mut effects = match &mut self.state {
            State::Stopped | State::Failed | State::Backoff { .. } | State::Asleep if !is_final => {
                self.spawn_afresh(now)
            }
            State::Stopped | State::Failed | State::Backoff { .. } | State::Asleep => {
                self.state = State::Stopped;
                Vec::new()
            }
            // An adopted one may have requests before we know that it is ready.
            State::Starting { .. } | State::Ready { .. } => {
                let until = now + self.policy.drain_timeout;
                self.state = State::Draining { until, then };
                vec![Effect::Retract, Effect::AwaitQuiet]
            }
            State::Draining { then: before, .. } | State::Ending { then: before, .. } => {
                *before = then;
                Vec::new()
            }
        };
        if is_final {
            effects.extend(self.withdraw());
        }
        effects
    }

    fn quiet(&mut self, now: Instant) -> Vec<Effect> {
        let State::Draining { then, .. } = &self.state else {
            return Vec::new();
        };
        let then = then.clone();
        self.terminate(then, now)
    }

    fn terminate(&mut self, then: Then, now: Instant) -> Vec<Effect> {
        self.state = State::Ending {
            step: Step::FirstTerm,
            until: now + self.policy.stop_grace,
            then,
        };
        vec![Effect::Terminate]
    }

    fn tick(&mut self, now: Instant) -> Vec<Effect> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match &mut self.state {
            State::Backoff { .. } => self.spawn(now),
            State::Starting { .. } => {
                let secs = self.policy.ready_timeout.as_secs();
                let reason = format!("not ready within {secs} s");
                let mut effects = vec![Effect::Retract];
                effects.extend(self.terminate(Then::Fail(reason), now));
                effects
            }
            State::Draining { then, .. } => {
                let then = then.clone();
                self.terminate(then, now)
            }
            State::Ending { step, until, .. } => {
                let effect;
                (*step, *until, effect) = match step {
                    Step::FirstTerm => {
                        (Step::SecondTerm, now + SECOND_TERM_GRACE, Effect::Terminate)
                    }
                    Step::SecondTerm => (Step::Kill, now + KILL_PATIENCE, Effect::Kill),
                    Step::Kill => {
                        self.last_error = Some("it does not end, not even by SIGKILL".into());
                        (Step::Kill, now + KILL_PATIENCE, Effect::Kill)
                    }
                };
                vec![effect]
            }
            State::Ready { idle, .. } => {
                if let Some(idle) = idle {
                    idle.looks(now);
                }
                vec![Effect::Look]
            }
            State::Stopped | State::Failed | State::Asleep => Vec::new(),
        }
    }
}
