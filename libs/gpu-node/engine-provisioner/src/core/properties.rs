//! Property tests: invariants under any order of events.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// The next external event.
#[derive(Debug, Clone, Copy)]
enum Move {
    Ready,
    Refuse,
    ProcessExit { clean: bool },
    Quiet,
    Stop,
    Restart,
    Start,
    Demand,
    Wait(u16),
    Deadline,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => Just(Move::Ready),
        1 => Just(Move::Refuse),
        4 => any::<bool>().prop_map(|clean| Move::ProcessExit { clean }),
        2 => Just(Move::Quiet),
        1 => Just(Move::Stop),
        1 => Just(Move::Restart),
        1 => Just(Move::Start),
        2 => Just(Move::Demand),
        2 => any::<u16>().prop_map(Move::Wait),
        4 => Just(Move::Deadline),
    ];
    prop::collection::vec(one, 0..80)
}

/// The process and the handoff that result from the effects.
struct World {
    machine: EngineMachine,
    now: Instant,
    alive: bool,
    announced: bool,
    /// Offered without a handoff.
    offered: bool,
    scales_to_zero: bool,
    quieting: bool,
    /// Starts since the last command.
    starts: VecDeque<Instant>,
}

impl World {
    fn event(&mut self, event: EngineEvent) {
        if matches!(
            event,
            EngineEvent::Start | EngineEvent::Restart | EngineEvent::Demanded
        ) {
            self.starts.clear();
        }
        if matches!(event, EngineEvent::Exited { .. }) {
            self.alive = false;
        }
        for effect in self.machine.on(event, self.now) {
            self.effect(effect);
        }
        let deadline = self.machine.deadline().is_some();
        let phase = self.machine.phase();
        assert_eq!(
            deadline,
            !phase.is_at_rest() && (phase != EnginePhase::Ready || self.scales_to_zero),
            "every transient phase has a deadline"
        );
        if phase == EnginePhase::ScaledToZero {
            assert!(self.offered, "an engine that is scaled to zero is offered");
        }
        if matches!(
            phase,
            EnginePhase::Stopped | EnginePhase::Failed | EnginePhase::Backoff
        ) {
            assert!(!self.offered, "a stopped engine is not offered");
        }
        let running = matches!(
            phase,
            EnginePhase::Starting
                | EnginePhase::Ready
                | EnginePhase::Draining
                | EnginePhase::Stopping
        );
        assert_eq!(running, self.alive, "{phase:?}");
        assert_eq!(
            self.announced,
            phase == EnginePhase::Ready,
            "only a ready engine is announced"
        );
    }

    fn effect(&mut self, effect: EngineEffect) {
        match effect {
            EngineEffect::Spawn => {
                assert!(!self.alive, "never two processes");
                self.alive = true;
                self.starts.push_back(self.now);
                if self.starts.len() > 10 {
                    let first = self.starts.pop_front().unwrap();
                    assert!(self.now - first > Duration::from_secs(60), "a crash loop");
                }
            }
            EngineEffect::Probe | EngineEffect::Kill | EngineEffect::Terminate => {
                assert!(self.alive)
            }
            // A handoff fulfils the offer.
            EngineEffect::WriteHandoff => (self.announced, self.offered) = (true, false),
            EngineEffect::OfferScaledToZero => {
                assert!(self.announced, "the handoff was there until now");
                self.offered = true;
            }
            EngineEffect::WithdrawOffer => self.offered = false,
            EngineEffect::ReadUsage => self.event(EngineEvent::UsageRead(PoolUsage::default())),
            EngineEffect::RemoveHandoff => self.announced = false,
            EngineEffect::AwaitDrained => self.quieting = true,
            EngineEffect::CleanUp => {
                assert!(
                    !self.alive && !self.announced,
                    "the handoff is removed first"
                )
            }
        }
    }

    fn make(&mut self, next: Move) {
        let phase = self.machine.phase();
        match next {
            Move::Ready if phase == EnginePhase::Starting => self.event(EngineEvent::Ready),
            Move::Refuse if phase == EnginePhase::Starting && !self.announced => {
                self.alive = false;
                self.starts.pop_back();
                self.event(EngineEvent::StartFailed("no".to_owned()));
            }
            Move::ProcessExit { clean } if self.alive => {
                let how = "it ended".to_owned();
                self.event(EngineEvent::Exited { clean, how });
            }
            Move::Quiet if self.quieting => {
                self.quieting = false;
                self.event(EngineEvent::Drained);
            }
            Move::Stop => self.event(EngineEvent::Stop),
            Move::Restart => self.event(EngineEvent::Restart),
            Move::Start => self.event(EngineEvent::Start),
            Move::Demand if self.offered => self.event(EngineEvent::Demanded),
            Move::Wait(millis) => {
                self.now += Duration::from_millis(u64::from(millis));
                self.event(EngineEvent::Tick);
            }
            Move::Deadline => {
                self.now = self
                    .machine
                    .deadline()
                    .map_or(self.now, |at| at.max(self.now));
                self.event(EngineEvent::Tick);
            }
            Move::Ready | Move::Refuse | Move::ProcessExit { .. } | Move::Quiet | Move::Demand => {}
        }
    }
}

fn policies() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![
        Just(RestartPolicy::Always),
        Just(RestartPolicy::OnFailure),
        Just(RestartPolicy::Never)
    ]
}

proptest! {
    // spec: PROV-2, PROV-3, PROV-6, PROV-19
    #[test]
    fn the_invariants_hold(
        restart in policies(), candidate in any::<bool>(), scales_to_zero in any::<bool>(),
        moves in moves(),
    ) {
        let policy = Policy {
            restart,
            ready_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(5),
            stop_grace: Duration::from_secs(5),
            sleep_after: scales_to_zero.then_some(Duration::from_secs(1)),
        };
        let mut world = World {
            machine: EngineMachine::new(policy, candidate),
            now: Instant::now(),
            alive: false,
            announced: false,
            offered: false,
            scales_to_zero,
            quieting: false,
            starts: VecDeque::new(),
        };
        world.event(EngineEvent::Start);
        for made in moves {
            world.make(made);
        }
        // A stop ends it in every state: the process ends when it is killed at the latest.
        world.event(EngineEvent::Stop);
        for _ in 0..4 {
            world.make(Move::Deadline);
        }
        world.make(Move::ProcessExit { clean: false });
        prop_assert!(world.machine.phase().is_at_rest());
        prop_assert!(!world.alive && !world.announced);
    }
}
