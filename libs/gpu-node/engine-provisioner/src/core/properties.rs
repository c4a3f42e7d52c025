//! What holds whatever happens, in whatever order.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// What the world does next.
#[derive(Debug, Clone, Copy)]
enum Move {
    Ready,
    Refuse,
    Exit { clean: bool },
    Quiet,
    Stop,
    Restart,
    Start,
    Wanted,
    Wait(u16),
    Deadline,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => Just(Move::Ready),
        1 => Just(Move::Refuse),
        4 => any::<bool>().prop_map(|clean| Move::Exit { clean }),
        2 => Just(Move::Quiet),
        1 => Just(Move::Stop),
        1 => Just(Move::Restart),
        1 => Just(Move::Start),
        2 => Just(Move::Wanted),
        2 => any::<u16>().prop_map(Move::Wait),
        4 => Just(Move::Deadline),
    ];
    prop::collection::vec(one, 0..80)
}

/// The process and the handoff as the effects make them.
struct World {
    machine: Machine,
    now: Instant,
    alive: bool,
    announced: bool,
    /// Offered without a handoff.
    promised: bool,
    sleepy: bool,
    quieting: bool,
    /// Starts since somebody last asked for one.
    starts: VecDeque<Instant>,
}

impl World {
    fn event(&mut self, event: Event) {
        if matches!(event, Event::Start | Event::Restart | Event::Wanted) {
            self.starts.clear();
        }
        if matches!(event, Event::Exited { .. }) {
            self.alive = false;
        }
        for effect in self.machine.on(event, self.now) {
            self.effect(effect);
        }
        let deadline = self.machine.deadline().is_some();
        let phase = self.machine.phase();
        assert_eq!(
            deadline,
            !phase.is_at_rest() && (phase != Phase::Ready || self.sleepy),
            "nothing waits for ever"
        );
        if phase == Phase::Sleeping {
            assert!(self.promised, "one that sleeps is offered");
        }
        if matches!(phase, Phase::Stopped | Phase::Failed | Phase::Backoff) {
            assert!(!self.promised, "what does not come is not offered");
        }
        let running = matches!(
            phase,
            Phase::Starting | Phase::Ready | Phase::Draining | Phase::Stopping
        );
        assert_eq!(running, self.alive, "{phase:?}");
        assert_eq!(
            self.announced,
            phase == Phase::Ready,
            "only a ready engine is announced"
        );
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn => {
                assert!(!self.alive, "never two processes");
                self.alive = true;
                self.starts.push_back(self.now);
                if self.starts.len() > 10 {
                    let first = self.starts.pop_front().unwrap();
                    assert!(self.now - first > Duration::from_secs(60), "a storm");
                }
            }
            Effect::Probe | Effect::Kill | Effect::Terminate => assert!(self.alive),
            // What is announced keeps its promise.
            Effect::Announce => (self.announced, self.promised) = (true, false),
            Effect::Promise => {
                assert!(self.announced, "it was there until now");
                self.promised = true;
            }
            Effect::Forsake => self.promised = false,
            Effect::Look => self.event(Event::Used(PoolUsage::default())),
            Effect::Retract => self.announced = false,
            Effect::AwaitQuiet => self.quieting = true,
            Effect::Forget => assert!(!self.alive && !self.announced, "the handoff goes first"),
        }
    }

    fn make(&mut self, made: Move) {
        let phase = self.machine.phase();
        match made {
            Move::Ready if phase == Phase::Starting => self.event(Event::Ready),
            Move::Refuse if phase == Phase::Starting && !self.announced => {
                self.alive = false;
                self.starts.pop_back();
                self.event(Event::Refused("no".to_owned()));
            }
            Move::Exit { clean } if self.alive => {
                let how = "it ended".to_owned();
                self.event(Event::Exited { clean, how });
            }
            Move::Quiet if self.quieting => {
                self.quieting = false;
                self.event(Event::Quiet);
            }
            Move::Stop => self.event(Event::Stop),
            Move::Restart => self.event(Event::Restart),
            Move::Start => self.event(Event::Start),
            Move::Wanted if self.promised => self.event(Event::Wanted),
            Move::Wait(millis) => {
                self.now += Duration::from_millis(u64::from(millis));
                self.event(Event::Tick);
            }
            Move::Deadline => {
                self.now = self
                    .machine
                    .deadline()
                    .map_or(self.now, |at| at.max(self.now));
                self.event(Event::Tick);
            }
            Move::Ready | Move::Refuse | Move::Exit { .. } | Move::Quiet | Move::Wanted => {}
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
    fn whatever_happens(restart in policies(), on_trial in any::<bool>(), sleepy in any::<bool>(), moves in moves()) {
        let policy = Policy {
            restart,
            ready_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(5),
            stop_grace: Duration::from_secs(5),
            sleep_after: sleepy.then_some(Duration::from_secs(1)),
        };
        let mut world = World {
            machine: Machine::new(policy, on_trial),
            now: Instant::now(),
            alive: false,
            announced: false,
            promised: false,
            sleepy,
            quieting: false,
            starts: VecDeque::new(),
        };
        world.event(Event::Start);
        for made in moves {
            world.make(made);
        }
        // However it was, a stop ends it: the process ends when it is killed at the latest.
        world.event(Event::Stop);
        for _ in 0..4 {
            world.make(Move::Deadline);
        }
        world.make(Move::Exit { clean: false });
        prop_assert!(world.machine.phase().is_at_rest());
        prop_assert!(!world.alive && !world.announced);
    }
}
