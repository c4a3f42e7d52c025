//! Tests of scale to zero.

use super::*;

const AFTER: Duration = Duration::from_secs(80);
const LOOK: Duration = Duration::from_secs(10);

fn used(claims: u64, running: u64) -> EngineEvent {
    EngineEvent::UsageRead(PoolUsage { claims, running })
}

impl Script {
    fn scaling() -> Self {
        let policy = Policy {
            sleep_after: Some(AFTER),
            ..POLICY
        };
        let mut script = Self {
            machine: EngineMachine::new(policy, false),
            now: Instant::now(),
        };
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
        script.tick_after(
            Duration::ZERO,
            EnginePhase::Ready,
            &[EngineEffect::ReadUsage],
        );
        script.on(used(7, 0), EnginePhase::Ready, &[]);
        script
    }

    /// Checks until it is scaled to zero.
    fn idle(&mut self) {
        for _ in 0..7 {
            self.tick_after(LOOK, EnginePhase::Ready, &[EngineEffect::ReadUsage]);
            self.on(used(7, 0), EnginePhase::Ready, &[]);
        }
        self.tick_after(LOOK, EnginePhase::Ready, &[EngineEffect::ReadUsage]);
        let lulled = [
            EngineEffect::OfferScaledToZero,
            EngineEffect::RemoveHandoff,
            EngineEffect::AwaitDrained,
        ];
        self.on(used(7, 0), EnginePhase::Draining, &lulled);
    }

    fn scaled_to_zero() -> Self {
        let mut script = Self::scaling();
        script.idle();
        script.on(
            EngineEvent::Drained,
            EnginePhase::Stopping,
            &[EngineEffect::Terminate],
        );
        script.on(clean(), EnginePhase::ScaledToZero, &GONE);
        assert_eq!(script.machine.deadline(), None);
        script
    }
}

// spec: PROV-19
#[test]
fn an_idle_engine_is_offered_before_its_handoff_is_removed() {
    let script = Script::scaled_to_zero();
    assert_eq!((script.error(), script.machine.restarts()), ("", 0));
}

#[test]
fn a_claim_between_two_checks_counts_as_use() {
    let mut script = Script::scaling();
    for _ in 0..7 {
        script.tick_after(LOOK, EnginePhase::Ready, &[EngineEffect::ReadUsage]);
        script.on(used(7, 0), EnginePhase::Ready, &[]);
    }
    script.tick_after(LOOK, EnginePhase::Ready, &[EngineEffect::ReadUsage]);
    script.on(used(8, 0), EnginePhase::Ready, &[]);
    for _ in 0..20 {
        script.tick_after(LOOK, EnginePhase::Ready, &[EngineEffect::ReadUsage]);
        script.on(used(8, 1), EnginePhase::Ready, &[]);
    }
    let start = script.now;
    while script.machine.phase() == EnginePhase::Ready {
        script.now = script.machine.deadline().unwrap();
        script.machine.on(EngineEvent::Tick, script.now);
        script.machine.on(used(8, 0), script.now);
    }
    assert_eq!(script.now - start, AFTER);
}

// spec: PROV-20
#[test]
fn an_engine_that_is_scaled_to_zero_starts_on_demand() {
    let mut script = Script::scaled_to_zero();
    script.on(
        EngineEvent::Demanded,
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    script.on(EngineEvent::Demanded, EnginePhase::Starting, &[]);
    script.on(
        EngineEvent::Ready,
        EnginePhase::Ready,
        &[EngineEffect::WriteHandoff],
    );
    assert_eq!(
        script.machine.restarts(),
        0,
        "that is no restart after a failure"
    );
}

// spec: PROV-20
#[test]
fn demand_while_scaling_to_zero_keeps_or_restarts_the_engine() {
    let mut script = Script::scaling();
    script.idle();
    script.on(
        EngineEvent::Demanded,
        EnginePhase::Ready,
        &[EngineEffect::WriteHandoff],
    );
    script.on(EngineEvent::Drained, EnginePhase::Ready, &[]);
    // It was signalled already.
    let mut script = Script::scaling();
    script.idle();
    script.on(
        EngineEvent::Drained,
        EnginePhase::Stopping,
        &[EngineEffect::Terminate],
    );
    script.on(EngineEvent::Demanded, EnginePhase::Stopping, &[]);
    let again = [
        EngineEffect::RemoveHandoff,
        EngineEffect::CleanUp,
        EngineEffect::Spawn,
    ];
    script.on(clean(), EnginePhase::Starting, &again);
}

// spec: PROV-21
#[test]
fn an_engine_that_does_not_start_withdraws_its_offer_and_is_started_again() {
    let gone = [
        EngineEffect::RemoveHandoff,
        EngineEffect::CleanUp,
        EngineEffect::WithdrawOffer,
    ];
    let mut script = Script::scaled_to_zero();
    script.on(
        EngineEvent::Demanded,
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    script.on(crash(), EnginePhase::Backoff, &gone);
    script.tick_after(
        Duration::from_millis(50),
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    let refused = EngineEvent::StartFailed("no memory".to_owned());
    script.on(
        refused,
        EnginePhase::Backoff,
        &[EngineEffect::WithdrawOffer],
    );
    script.tick_after(
        Duration::from_millis(100),
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    script.on(
        EngineEvent::Ready,
        EnginePhase::Ready,
        &[EngineEffect::WriteHandoff],
    );
    script.on(crash(), EnginePhase::Backoff, &gone);
}

#[test]
fn a_stop_or_a_restart_takes_precedence_over_scale_to_zero() {
    let mut script = Script::scaled_to_zero();
    script.on(
        EngineEvent::Stop,
        EnginePhase::Stopped,
        &[EngineEffect::WithdrawOffer],
    );
    let mut script = Script::scaled_to_zero();
    script.on(
        EngineEvent::Restart,
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    let mut script = Script::scaling();
    script.idle();
    script.on(
        EngineEvent::Stop,
        EnginePhase::Draining,
        &[EngineEffect::WithdrawOffer],
    );
    script.on(EngineEvent::Demanded, EnginePhase::Draining, &[]);
    let mut script = Script::scaling();
    script.idle();
    script.on(EngineEvent::Restart, EnginePhase::Draining, &[]);
    script.on(
        EngineEvent::Drained,
        EnginePhase::Stopping,
        &[EngineEffect::Terminate],
    );
    let again = [
        EngineEffect::RemoveHandoff,
        EngineEffect::CleanUp,
        EngineEffect::Spawn,
    ];
    script.on(clean(), EnginePhase::Starting, &again);
}

// spec: PROV-23
#[test]
fn an_engine_that_was_scaled_to_zero_stays_so() {
    let mut script = Script::scaling();
    script.machine = EngineMachine::new(script.machine.policy, false);
    script.on(
        EngineEvent::ScaleToZero,
        EnginePhase::ScaledToZero,
        &[EngineEffect::OfferScaledToZero],
    );
    script.on(
        EngineEvent::Demanded,
        EnginePhase::Starting,
        &[EngineEffect::Spawn],
    );
    assert_eq!(script.machine.restarts(), 0);
}
