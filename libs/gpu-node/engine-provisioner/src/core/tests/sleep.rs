//! Engines that are stopped until somebody needs them.

use super::*;

const AFTER: Duration = Duration::from_secs(80);
const LOOK: Duration = Duration::from_secs(10);

fn used(claims: u64, running: u64) -> Event {
    Event::Used(PoolUsage { claims, running })
}

impl Script {
    fn sleepy() -> Self {
        let policy = Policy {
            sleep_after: Some(AFTER),
            ..POLICY
        };
        let mut script = Self {
            machine: Machine::new(policy, false),
            now: Instant::now(),
        };
        script.on(Event::Start, Phase::Starting, &[Effect::Spawn]);
        script.on(Event::Ready, Phase::Ready, &[Effect::Announce]);
        script.tick_after(Duration::ZERO, Phase::Ready, &[Effect::Look]);
        script.on(used(7, 0), Phase::Ready, &[]);
        script
    }

    /// Looks until it goes to sleep.
    fn idle(&mut self) {
        for _ in 0..7 {
            self.tick_after(LOOK, Phase::Ready, &[Effect::Look]);
            self.on(used(7, 0), Phase::Ready, &[]);
        }
        self.tick_after(LOOK, Phase::Ready, &[Effect::Look]);
        let lulled = [Effect::Promise, Effect::Retract, Effect::AwaitQuiet];
        self.on(used(7, 0), Phase::Draining, &lulled);
    }

    fn asleep() -> Self {
        let mut script = Self::sleepy();
        script.idle();
        script.on(Event::Quiet, Phase::Stopping, &[Effect::Terminate]);
        script.on(clean(), Phase::Sleeping, &GONE);
        assert_eq!(script.machine.deadline(), None);
        script
    }
}

// spec: PROV-19
#[test]
fn one_that_nobody_needs_sleeps_and_is_offered_before_its_handoff_goes() {
    let script = Script::asleep();
    assert_eq!((script.error(), script.machine.restarts()), ("", 0));
}

#[test]
fn whatever_happened_between_two_looks_is_use() {
    let mut script = Script::sleepy();
    for _ in 0..7 {
        script.tick_after(LOOK, Phase::Ready, &[Effect::Look]);
        script.on(used(7, 0), Phase::Ready, &[]);
    }
    script.tick_after(LOOK, Phase::Ready, &[Effect::Look]);
    script.on(used(8, 0), Phase::Ready, &[]);
    for _ in 0..20 {
        script.tick_after(LOOK, Phase::Ready, &[Effect::Look]);
        script.on(used(8, 1), Phase::Ready, &[]);
    }
    let start = script.now;
    while script.machine.phase() == Phase::Ready {
        script.now = script.machine.deadline().unwrap();
        script.machine.on(Event::Tick, script.now);
        script.machine.on(used(8, 0), script.now);
    }
    assert_eq!(script.now - start, AFTER);
}

// spec: PROV-20
#[test]
fn one_that_sleeps_starts_when_it_is_needed() {
    let mut script = Script::asleep();
    script.on(Event::Wanted, Phase::Starting, &[Effect::Spawn]);
    script.on(Event::Wanted, Phase::Starting, &[]);
    script.on(Event::Ready, Phase::Ready, &[Effect::Announce]);
    assert_eq!(script.machine.restarts(), 0, "nothing was wrong with it");
}

// spec: PROV-20
#[test]
fn one_that_is_needed_while_it_goes_to_sleep_goes_on_or_comes_back() {
    let mut script = Script::sleepy();
    script.idle();
    script.on(Event::Wanted, Phase::Ready, &[Effect::Announce]);
    script.on(Event::Quiet, Phase::Ready, &[]);
    // It was told to end already.
    let mut script = Script::sleepy();
    script.idle();
    script.on(Event::Quiet, Phase::Stopping, &[Effect::Terminate]);
    script.on(Event::Wanted, Phase::Stopping, &[]);
    let again = [Effect::Retract, Effect::Forget, Effect::Spawn];
    script.on(clean(), Phase::Starting, &again);
}

// spec: PROV-21
#[test]
fn one_that_does_not_wake_breaks_its_promise_and_is_tried_again() {
    let gone = [Effect::Retract, Effect::Forget, Effect::Forsake];
    let mut script = Script::asleep();
    script.on(Event::Wanted, Phase::Starting, &[Effect::Spawn]);
    script.on(crash(), Phase::Backoff, &gone);
    script.tick_after(Duration::from_millis(50), Phase::Starting, &[Effect::Spawn]);
    let refused = Event::Refused("no memory".to_owned());
    script.on(refused, Phase::Backoff, &[Effect::Forsake]);
    script.tick_after(
        Duration::from_millis(100),
        Phase::Starting,
        &[Effect::Spawn],
    );
    script.on(Event::Ready, Phase::Ready, &[Effect::Announce]);
    script.on(crash(), Phase::Backoff, &gone);
}

#[test]
fn a_stop_or_a_restart_goes_before_sleep() {
    let mut script = Script::asleep();
    script.on(Event::Stop, Phase::Stopped, &[Effect::Forsake]);
    let mut script = Script::asleep();
    script.on(Event::Restart, Phase::Starting, &[Effect::Spawn]);
    let mut script = Script::sleepy();
    script.idle();
    script.on(Event::Stop, Phase::Draining, &[Effect::Forsake]);
    script.on(Event::Wanted, Phase::Draining, &[]);
    let mut script = Script::sleepy();
    script.idle();
    script.on(Event::Restart, Phase::Draining, &[]);
    script.on(Event::Quiet, Phase::Stopping, &[Effect::Terminate]);
    let again = [Effect::Retract, Effect::Forget, Effect::Spawn];
    script.on(clean(), Phase::Starting, &again);
}

// spec: PROV-23
#[test]
fn one_that_slept_sleeps_on() {
    let mut script = Script::sleepy();
    script.machine = Machine::new(script.machine.policy, false);
    script.on(Event::Doze, Phase::Sleeping, &[Effect::Promise]);
    script.on(Event::Wanted, Phase::Starting, &[Effect::Spawn]);
    assert_eq!(script.machine.restarts(), 0);
}
