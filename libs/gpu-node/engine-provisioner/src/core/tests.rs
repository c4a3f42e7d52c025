//! Tests of the decisions, as scripts.

mod sleep;

use super::*;

const POLICY: Policy = Policy {
    restart: RestartPolicy::OnFailure,
    ready_timeout: Duration::from_secs(60),
    drain_timeout: Duration::from_secs(30),
    stop_grace: Duration::from_secs(10),
    sleep_after: None,
};

struct Script {
    machine: Machine,
    now: Instant,
}

impl Script {
    fn new(restart: RestartPolicy) -> Self {
        Self {
            machine: Machine::new(Policy { restart, ..POLICY }, false),
            now: Instant::now(),
        }
    }

    /// One that is ready.
    fn ready(restart: RestartPolicy) -> Self {
        let mut script = Self::new(restart);
        script.on(Event::Start, Phase::Starting, &[Effect::Spawn]);
        script.on(Event::Ready, Phase::Ready, &[Effect::Announce]);
        script
    }

    fn on(&mut self, event: Event, phase: Phase, effects: &[Effect]) {
        let name = format!("{event:?}");
        assert_eq!(self.machine.on(event, self.now), effects, "{name}");
        assert_eq!(self.machine.phase(), phase, "{name}");
    }

    /// Lets the time pass until the deadline.
    fn tick_after(&mut self, time: Duration, phase: Phase, effects: &[Effect]) {
        assert_eq!(self.machine.deadline(), Some(self.now + time));
        self.now += time;
        self.on(Event::Tick, phase, effects);
    }

    fn error(&self) -> &str {
        self.machine.last_error().map_or("", |error| error)
    }
}

fn crash() -> Event {
    Event::Exited {
        clean: false,
        how: "exit code 1".to_owned(),
    }
}

fn clean() -> Event {
    Event::Exited {
        clean: true,
        how: "exit code 0".to_owned(),
    }
}

const GONE: [Effect; 2] = [Effect::Retract, Effect::Forget];

// spec: PROV-4
#[test]
fn a_stop_drains_then_asks_twice_then_kills() {
    let mut script = Script::ready(RestartPolicy::Always);
    script.on(
        Event::Stop,
        Phase::Draining,
        &[Effect::Retract, Effect::AwaitQuiet],
    );
    script.on(Event::Quiet, Phase::Stopping, &[Effect::Terminate]);
    script.tick_after(POLICY.stop_grace, Phase::Stopping, &[Effect::Terminate]);
    script.tick_after(SECOND_TERM_GRACE, Phase::Stopping, &[Effect::Kill]);
    script.tick_after(KILL_PATIENCE, Phase::Stopping, &[Effect::Kill]);
    assert!(script.error().contains("SIGKILL"));
    script.on(crash(), Phase::Stopped, &GONE);
    assert_eq!(script.machine.deadline(), None);
}

// spec: PROV-4
#[test]
fn a_drain_has_a_deadline() {
    let mut script = Script::ready(RestartPolicy::Always);
    script.on(
        Event::Stop,
        Phase::Draining,
        &[Effect::Retract, Effect::AwaitQuiet],
    );
    script.tick_after(POLICY.drain_timeout, Phase::Stopping, &[Effect::Terminate]);
    script.on(Event::Quiet, Phase::Stopping, &[]);
    script.on(clean(), Phase::Stopped, &GONE);
}

#[test]
fn a_tick_before_the_deadline_does_nothing() {
    let mut script = Script::new(RestartPolicy::Always);
    script.on(Event::Start, Phase::Starting, &[Effect::Spawn]);
    script.now += POLICY.ready_timeout - Duration::from_millis(1);
    script.on(Event::Tick, Phase::Starting, &[]);
}

// spec: PROV-6
#[test]
fn what_follows_the_end_of_a_ready_engine() {
    for (restart, event, phase) in [
        (RestartPolicy::Always, clean(), Phase::Backoff),
        (RestartPolicy::Always, crash(), Phase::Backoff),
        (RestartPolicy::OnFailure, clean(), Phase::Stopped),
        (RestartPolicy::OnFailure, crash(), Phase::Backoff),
        (RestartPolicy::Never, clean(), Phase::Stopped),
        (RestartPolicy::Never, crash(), Phase::Failed),
    ] {
        let mut script = Script::ready(restart);
        script.on(event, phase, &GONE);
        assert!(script.error().contains("exit code"));
    }
}

// spec: PROV-6
#[test]
fn an_engine_that_crashes_at_every_start_is_given_up_after_ten() {
    let mut script = Script::new(RestartPolicy::OnFailure);
    script.on(Event::Start, Phase::Starting, &[Effect::Spawn]);
    let begin = script.now;
    for attempt in 0..9 {
        script.on(crash(), Phase::Backoff, &GONE);
        script.tick_after(
            Duration::from_millis(50 << attempt),
            Phase::Starting,
            &[Effect::Spawn],
        );
    }
    script.on(crash(), Phase::Failed, &GONE);
    assert_eq!(script.now - begin, Duration::from_millis(25_550));
    assert_eq!(
        script.error(),
        "started 10 times within 60 s, now given up: ended before it was ready: exit code 1"
    );
    // An operator may try again, and then it has all its chances.
    script.on(Event::Restart, Phase::Starting, &[Effect::Spawn]);
    script.on(crash(), Phase::Backoff, &GONE);
    assert_eq!(script.machine.restarts(), 10);
}

#[test]
fn an_engine_that_cannot_be_started_is_tried_for_ever() {
    let mut script = Script::new(RestartPolicy::OnFailure);
    script.on(Event::Start, Phase::Starting, &[Effect::Spawn]);
    for _ in 0..40 {
        script.on(Event::Refused("no model".to_owned()), Phase::Backoff, &[]);
        assert_eq!(script.error(), "no model");
        let delay = script.machine.deadline().unwrap() - script.now;
        assert!(delay <= Duration::from_secs(30));
        script.tick_after(delay, Phase::Starting, &[Effect::Spawn]);
    }
    script.on(Event::Ready, Phase::Ready, &[Effect::Announce]);
    assert_eq!((script.error(), script.machine.restarts()), ("", 0));
}

#[test]
fn one_that_was_long_ready_starts_again_at_once() {
    let mut script = Script::ready(RestartPolicy::OnFailure);
    for _ in 0..20 {
        script.now += Duration::from_secs(60);
        script.on(crash(), Phase::Backoff, &GONE);
        script.tick_after(Duration::from_millis(50), Phase::Starting, &[Effect::Spawn]);
        script.on(Event::Ready, Phase::Ready, &[Effect::Announce]);
    }
}

// spec: PROV-7
#[test]
fn one_that_is_not_ready_in_time_is_ended_and_tried_again() {
    let mut script = Script::new(RestartPolicy::OnFailure);
    script.on(Event::Start, Phase::Starting, &[Effect::Spawn]);
    script.tick_after(
        POLICY.ready_timeout,
        Phase::Stopping,
        &[Effect::Retract, Effect::Terminate],
    );
    script.on(Event::Ready, Phase::Stopping, &[]);
    script.on(crash(), Phase::Backoff, &GONE);
    assert_eq!(script.error(), "not ready within 60 s");
}

#[test]
fn a_restart_ends_it_in_order_first() {
    let mut script = Script::ready(RestartPolicy::Never);
    script.on(
        Event::Restart,
        Phase::Draining,
        &[Effect::Retract, Effect::AwaitQuiet],
    );
    script.on(Event::Quiet, Phase::Stopping, &[Effect::Terminate]);
    script.on(
        clean(),
        Phase::Starting,
        &[Effect::Retract, Effect::Forget, Effect::Spawn],
    );
    // The last wish counts.
    script.on(
        Event::Restart,
        Phase::Draining,
        &[Effect::Retract, Effect::AwaitQuiet],
    );
    script.on(Event::Stop, Phase::Draining, &[]);
    script.on(crash(), Phase::Stopped, &GONE);
}

#[test]
fn one_on_trial_has_one_chance_until_it_has_worked() {
    let trial = || Script {
        machine: Machine::new(POLICY, true),
        now: Instant::now(),
    };
    for event in [crash(), clean(), Event::Refused("no".to_owned())] {
        let mut script = trial();
        script.on(Event::Start, Phase::Starting, &[Effect::Spawn]);
        script.machine.on(event, script.now);
        assert_eq!(script.machine.phase(), Phase::Failed);
    }
    let mut script = trial();
    script.on(Event::Start, Phase::Starting, &[Effect::Spawn]);
    script.on(Event::Ready, Phase::Ready, &[Effect::Announce]);
    script.on(crash(), Phase::Backoff, &GONE);
}

#[test]
fn an_adopted_one_is_asked_and_not_started() {
    let mut script = Script::new(RestartPolicy::Always);
    script.on(Event::Adopt, Phase::Starting, &[Effect::Probe]);
    script.on(Event::Ready, Phase::Ready, &[Effect::Announce]);
    script.on(crash(), Phase::Backoff, &GONE);
    script.tick_after(Duration::from_millis(50), Phase::Starting, &[Effect::Spawn]);
    assert_eq!(script.machine.restarts(), 1);
}
