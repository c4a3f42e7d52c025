//! Tests of the state machine, as scripts.

mod scale_to_zero;

use super::*;

const POLICY: Policy = Policy {
    restart: RestartPolicy::OnFailure,
    ready_timeout: Duration::from_secs(60),
    drain_timeout: Duration::from_secs(30),
    stop_grace: Duration::from_secs(10),
    sleep_after: None,
};

struct Script {
    machine: EngineMachine,
    now: Instant,
}

impl Script {
    fn new(restart: RestartPolicy) -> Self {
        Self {
            machine: EngineMachine::new(Policy { restart, ..POLICY }, false),
            now: Instant::now(),
        }
    }

    /// An engine that is ready.
    fn ready(restart: RestartPolicy) -> Self {
        let mut script = Self::new(restart);
        script.on(
            EngineEvent::Start,
            EnginePhase::Starting,
            &[EngineEffect::Spawn],
        );
        script.on(
            EngineEvent::Ready,
            EnginePhase::Ready,
            &[EngineEffect::WriteHandoff],
        );
        script
    }

    fn on(&mut self, event: EngineEvent, phase: EnginePhase, effects: &[EngineEffect]) {
        let name = format!("{event:?}");
        assert_eq!(self.machine.on(event, self.now), effects, "{name}");
        assert_eq!(self.machine.phase(), phase, "{name}");
    }

    /// Lets the time pass until the deadline.
    fn tick_after(&mut self, time: Duration, phase: EnginePhase, effects: &[EngineEffect]) {
        assert_eq!(self.machine.deadline(), Some(self.now + time));
        self.now += time;
        self.on(EngineEvent::Tick, phase, effects);
    }

    fn error(&self) -> &str {
        self.machine.last_error().map_or("", |error| error)
    }
}

fn crash() -> EngineEvent {
    EngineEvent::Exited {
        clean: false,
        how: "exit code 1".to_owned(),
    }
}

fn clean() -> EngineEvent {
    EngineEvent::Exited {
        clean: true,
        how: "exit code 0".to_owned(),
    }
}

const GONE: [EngineEffect; 2] = [EngineEffect::RemoveHandoff, EngineEffect::CleanUp];

// spec: PROV-4
#[test]
fn a_stop_drains_then_terminates_twice_then_kills() {
    let mut script = Script::ready(RestartPolicy::Always);
    script.on(
        EngineEvent::Stop,
        EnginePhase::Draining,
        &[EngineEffect::RemoveHandoff, EngineEffect::AwaitDrained],
    );
    script.on(
        EngineEvent::Drained,
        EnginePhase::Stopping,
        &[EngineEffect::Terminate],
    );
    script.tick_after(
        POLICY.stop_grace,
        EnginePhase::Stopping,
        &[EngineEffect::Terminate],
    );
    script.tick_after(
        SECOND_TERM_GRACE,
        EnginePhase::Stopping,
        &[EngineEffect::Kill],
    );
    script.tick_after(KILL_TIMEOUT, EnginePhase::Stopping, &[EngineEffect::Kill]);
    assert!(script.error().contains("SIGKILL"));
    script.on(crash(), EnginePhase::Stopped, &GONE);
    assert_eq!(script.machine.deadline(), None);
}

// spec: PROV-4
#[test]
fn a_drain_has_a_deadline() {
    let mut script = Script::ready(RestartPolicy::Always);
    script.on(
        EngineEvent::Stop,
        EnginePhase::Draining,
        &[EngineEffect::RemoveHandoff, EngineEffect::AwaitDrained],
    );
    script.tick_after(
        POLICY.drain_timeout,
        EnginePhase::Stopping,
        &[EngineEffect::Terminate],
    );
    script.on(EngineEvent::Drained, EnginePhase::Stopping, &[]);
    script.on(clean(), EnginePhase::Stopped, &GONE);
}

#[test]
fn a_tick_before_the_deadline_does_nothing() {
    let mut script = Script::new(RestartPolicy::Always);
    script.on(
        EngineEvent::Start,
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    script.now += POLICY.ready_timeout - Duration::from_millis(1);
    script.on(EngineEvent::Tick, EnginePhase::Starting, &[]);
}

// spec: PROV-6
#[test]
fn the_restart_policy_applies_when_a_ready_engine_ends() {
    for (restart, event, phase) in [
        (RestartPolicy::Always, clean(), EnginePhase::Backoff),
        (RestartPolicy::Always, crash(), EnginePhase::Backoff),
        (RestartPolicy::OnFailure, clean(), EnginePhase::Stopped),
        (RestartPolicy::OnFailure, crash(), EnginePhase::Backoff),
        (RestartPolicy::Never, clean(), EnginePhase::Stopped),
        (RestartPolicy::Never, crash(), EnginePhase::Failed),
    ] {
        let mut script = Script::ready(restart);
        script.on(event, phase, &GONE);
        assert!(script.error().contains("exit code"));
    }
}

// spec: PROV-6
#[test]
fn an_engine_that_crashes_at_every_start_fails_after_ten_starts() {
    let mut script = Script::new(RestartPolicy::OnFailure);
    script.on(
        EngineEvent::Start,
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    let begin = script.now;
    for attempt in 0..9 {
        script.on(crash(), EnginePhase::Backoff, &GONE);
        script.tick_after(
            Duration::from_millis(50 << attempt),
            EnginePhase::Starting,
            &[EngineEffect::Spawn],
        );
    }
    script.on(crash(), EnginePhase::Failed, &GONE);
    assert_eq!(script.now - begin, Duration::from_millis(25_550));
    assert_eq!(
        script.error(),
        "started 10 times within 60 s, now given up: ended before it was ready: exit code 1"
    );
    // A restart by an operator begins with a fresh backoff.
    script.on(
        EngineEvent::Restart,
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    script.on(crash(), EnginePhase::Backoff, &GONE);
    assert_eq!(script.machine.restarts(), 10);
}

#[test]
fn an_engine_that_cannot_be_started_is_retried_for_ever() {
    let mut script = Script::new(RestartPolicy::OnFailure);
    script.on(
        EngineEvent::Start,
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    for _ in 0..40 {
        script.on(
            EngineEvent::StartFailed("no model".to_owned()),
            EnginePhase::Backoff,
            &[],
        );
        assert_eq!(script.error(), "no model");
        let delay = script.machine.deadline().unwrap() - script.now;
        assert!(delay <= Duration::from_secs(30));
        script.tick_after(delay, EnginePhase::Starting, &[EngineEffect::Spawn]);
    }
    script.on(
        EngineEvent::Ready,
        EnginePhase::Ready,
        &[EngineEffect::WriteHandoff],
    );
    assert_eq!((script.error(), script.machine.restarts()), ("", 0));
}

#[test]
fn an_engine_that_was_ready_for_long_starts_again_at_once() {
    let mut script = Script::ready(RestartPolicy::OnFailure);
    for _ in 0..20 {
        script.now += Duration::from_secs(60);
        script.on(crash(), EnginePhase::Backoff, &GONE);
        script.tick_after(
            Duration::from_millis(50),
            EnginePhase::Starting,
            &[EngineEffect::Spawn],
        );
        script.on(
            EngineEvent::Ready,
            EnginePhase::Ready,
            &[EngineEffect::WriteHandoff],
        );
    }
}

// spec: PROV-7
#[test]
fn an_engine_that_is_not_ready_in_time_is_stopped_and_started_again() {
    let mut script = Script::new(RestartPolicy::OnFailure);
    script.on(
        EngineEvent::Start,
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    script.tick_after(
        POLICY.ready_timeout,
        EnginePhase::Stopping,
        &[EngineEffect::RemoveHandoff, EngineEffect::Terminate],
    );
    script.on(EngineEvent::Ready, EnginePhase::Stopping, &[]);
    script.on(crash(), EnginePhase::Backoff, &GONE);
    assert_eq!(script.error(), "not ready within 60 s");
}

#[test]
fn a_restart_drains_and_stops_it_first() {
    let mut script = Script::ready(RestartPolicy::Never);
    script.on(
        EngineEvent::Restart,
        EnginePhase::Draining,
        &[EngineEffect::RemoveHandoff, EngineEffect::AwaitDrained],
    );
    script.on(
        EngineEvent::Drained,
        EnginePhase::Stopping,
        &[EngineEffect::Terminate],
    );
    script.on(
        clean(),
        EnginePhase::Starting,
        &[
            EngineEffect::RemoveHandoff,
            EngineEffect::CleanUp,
            EngineEffect::Spawn,
        ],
    );
    // The last command counts.
    script.on(
        EngineEvent::Restart,
        EnginePhase::Draining,
        &[EngineEffect::RemoveHandoff, EngineEffect::AwaitDrained],
    );
    script.on(EngineEvent::Stop, EnginePhase::Draining, &[]);
    script.on(crash(), EnginePhase::Stopped, &GONE);
}

#[test]
fn a_candidate_has_one_attempt_until_it_was_ready() {
    let trial = || Script {
        machine: EngineMachine::new(POLICY, true),
        now: Instant::now(),
    };
    for event in [crash(), clean(), EngineEvent::StartFailed("no".to_owned())] {
        let mut script = trial();
        script.on(
            EngineEvent::Start,
            EnginePhase::Starting,
            &[EngineEffect::Spawn],
        );
        script.machine.on(event, script.now);
        assert_eq!(script.machine.phase(), EnginePhase::Failed);
    }
    let mut script = trial();
    script.on(
        EngineEvent::Start,
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    script.on(
        EngineEvent::Ready,
        EnginePhase::Ready,
        &[EngineEffect::WriteHandoff],
    );
    script.on(crash(), EnginePhase::Backoff, &GONE);
}

#[test]
fn an_adopted_engine_is_probed_and_not_started() {
    let mut script = Script::new(RestartPolicy::Always);
    script.on(
        EngineEvent::Adopt,
        EnginePhase::Starting,
        &[EngineEffect::Probe],
    );
    script.on(
        EngineEvent::Ready,
        EnginePhase::Ready,
        &[EngineEffect::WriteHandoff],
    );
    script.on(crash(), EnginePhase::Backoff, &GONE);
    script.tick_after(
        Duration::from_millis(50),
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    assert_eq!(script.machine.restarts(), 1);
}
