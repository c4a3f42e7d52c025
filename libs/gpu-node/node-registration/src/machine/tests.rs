//! The machine step by step.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(10);

/// A machine with a clock that the test moves.
struct Bench {
    machine: Machine,
    now: Duration,
}

impl Bench {
    fn new(endpoints: usize) -> Self {
        Self {
            machine: Machine::new(INTERVAL, NonZeroUsize::new(endpoints).unwrap()),
            now: Duration::ZERO,
        }
    }

    /// A machine whose first heartbeat was accepted at time zero.
    fn registered(endpoints: usize) -> Self {
        let mut bench = Self::new(endpoints);
        assert_eq!(bench.request(Event::Tick), Some(Request::Register));
        assert_eq!(
            bench.request(REGISTERED),
            Some(Request::Heartbeat { seq: 1 })
        );
        assert_eq!(bench.request(ACCEPTED), None);
        bench
    }

    fn step(&mut self, event: Event) -> Option<Send> {
        let (machine, send) = self.machine.step(Input {
            event,
            now: self.now,
            jitter: 0.5,
        });
        self.machine = machine;
        send
    }

    fn request(&mut self, event: Event) -> Option<Request> {
        self.step(event).map(|send| send.request)
    }

    /// Lets time pass until something is due, and returns how long that was and what is sent.
    fn next(&mut self) -> (Duration, Send) {
        let wake_at = self
            .machine
            .wake_at()
            .expect("a running machine has a next step");
        let waited = wake_at.saturating_sub(self.now);
        self.now = self.now.max(wake_at);
        (waited, self.step(Event::Tick).expect("something is due"))
    }
}

const REGISTERED: Event = Event::Registered {
    next_heartbeat: Some(INTERVAL),
    timeout: Some(Duration::from_secs(30)),
};
const ACCEPTED: Event = Event::HeartbeatAccepted {
    next_heartbeat: INTERVAL,
    timeout: None,
};
const UNREACHABLE: Event = Event::Failed(Failure::Unavailable { retry_after: None });

// spec: CLOUD-3010, REG-1
#[test]
fn registers_then_reports_at_once_then_every_interval() {
    let mut bench = Bench::registered(1);
    for seq in 2..5 {
        let (waited, send) = bench.next();
        assert_eq!(
            (waited, send.request),
            (INTERVAL, Request::Heartbeat { seq })
        );
        assert_eq!(bench.request(ACCEPTED), None);
    }
}

#[test]
fn a_slow_answer_does_not_stretch_the_interval() {
    let mut bench = Bench::registered(1);
    bench.next();
    bench.now += 4 * SECOND;
    bench.step(ACCEPTED);
    assert_eq!(bench.next().0, 6 * SECOND);
}

// spec: REG-4
#[test]
fn a_forgotten_node_registers_again_at_once() {
    let mut bench = Bench::registered(1);
    bench.next();
    assert_eq!(
        bench.request(Event::Failed(Failure::UnknownNode)),
        Some(Request::Register)
    );
    assert_eq!(
        bench.request(REGISTERED),
        Some(Request::Heartbeat { seq: 3 })
    );
}

#[test]
fn a_control_plane_that_forgets_at_once_is_not_hammered() {
    let mut bench = Bench::registered(1);
    bench.next();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let register = bench.request(Event::Failed(Failure::UnknownNode));
        if register.is_none() {
            pauses.push(bench.next().0.as_millis());
        }
        bench.request(REGISTERED);
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 2500, 2500]);
}

// spec: REG-3
#[test]
fn backs_off_while_nobody_answers_and_comes_back() {
    let mut bench = Bench::new(1);
    bench.step(Event::Tick);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        assert_eq!(bench.request(UNREACHABLE), None);
        let (waited, send) = bench.next();
        assert_eq!(send.request, Request::Register);
        pauses.push(waited.as_millis());
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 2500, 2500]);
    assert_eq!(
        bench.request(REGISTERED),
        Some(Request::Heartbeat { seq: 1 })
    );
    bench.step(ACCEPTED);
    assert_eq!((bench.machine.failures(), bench.next().0), (0, INTERVAL));
}

// spec: REG-3
#[test]
fn an_outage_does_not_forget_the_registration() {
    let mut bench = Bench::registered(1);
    bench.next();
    bench.step(UNREACHABLE);
    let (waited, send) = bench.next();
    assert!(waited < SECOND);
    assert_eq!(send.request, Request::Heartbeat { seq: 3 });
}

// spec: REG-9
#[test]
fn every_address_is_tried_before_any_rests() {
    let mut bench = Bench::registered(3);
    assert_eq!(bench.next().1.endpoint, 0);
    assert_eq!(bench.step(UNREACHABLE).map(|send| send.endpoint), Some(1));
    assert_eq!(bench.step(UNREACHABLE).map(|send| send.endpoint), Some(2));
    assert_eq!(bench.step(UNREACHABLE), None);
    let (waited, send) = bench.next();
    assert_eq!((waited, send.endpoint), (Duration::from_millis(100), 0));
}

#[test]
fn a_pause_that_was_asked_for_is_kept_within_reason() {
    for (asked, expected) in [(2 * SECOND, 2 * SECOND), (600 * SECOND, 10 * SECOND)] {
        let mut bench = Bench::registered(1);
        bench.next();
        bench.step(Event::Failed(Failure::Unavailable {
            retry_after: Some(asked),
        }));
        assert_eq!(bench.next().0, expected);
    }
}

// spec: REG-7
#[test]
fn what_a_person_must_put_right_is_repeated_slowly() {
    for failure in [Failure::Refused, Failure::Conflict] {
        let mut bench = Bench::new(1);
        bench.step(Event::Tick);
        for _ in 0..3 {
            assert_eq!(bench.request(Event::Failed(failure)), None);
            let (waited, send) = bench.next();
            assert_eq!(
                (waited, send.request),
                (15 * SECOND, Request::Register),
                "{failure:?}"
            );
        }
    }
}

#[test]
fn a_node_whose_id_was_taken_registers_anew_and_takes_nothing_back() {
    let mut bench = Bench::registered(1);
    bench.next();
    bench.step(Event::Failed(Failure::Conflict));
    assert_eq!(bench.machine.phase(), Phase::Registering);
    let stop = Event::Stop {
        deregister_by: Some(bench.now + SECOND),
    };
    assert_eq!(bench.request(stop), None);
    assert_eq!(bench.machine.phase(), Phase::Stopped);
}

// spec: REG-6
#[test]
fn an_earlier_life_gives_way_for_good() {
    let mut bench = Bench::registered(1);
    bench.next();
    assert_eq!(bench.step(Event::Failed(Failure::Superseded)), None);
    assert_eq!(bench.machine.phase(), Phase::Superseded);
    assert_eq!(bench.machine.wake_at(), None);
    bench.now += 3600 * SECOND;
    assert_eq!(bench.step(Event::Tick), None);
    assert_eq!(bench.step(Event::StateChanged), None);
    // The registration belongs to the later life: taking it back would cut that one off.
    let stop = Event::Stop {
        deregister_by: Some(bench.now + SECOND),
    };
    assert_eq!(bench.step(stop), None);
    assert_eq!(bench.machine.phase(), Phase::Stopped);
}

// spec: REG-40, REG-41
#[test]
fn a_control_plane_with_a_large_fleet_sets_the_pace() {
    const SLOWER: Event = Event::HeartbeatAccepted {
        next_heartbeat: Duration::from_secs(100),
        timeout: Some(Duration::from_secs(300)),
    };
    let mut bench = Bench::registered(1);
    bench.next();
    bench.step(SLOWER);
    assert_eq!(bench.machine.interval(), 100 * SECOND);
    assert_eq!(bench.next().0, 100 * SECOND);
    // A change still goes out at once.
    bench.step(SLOWER);
    bench.step(Event::StateChanged);
    assert_eq!(bench.next().0, COALESCE);
    // What a person must put right is repeated twice in a timeout.
    assert_eq!(bench.request(Event::Failed(Failure::Refused)), None);
    assert_eq!(bench.next().0, 150 * SECOND);
    bench.step(SLOWER);
    // While nobody answers, the node comes back within a share of the timeout.
    bench.next();
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        bench.step(UNREACHABLE);
        longest = longest.max(bench.next().0);
    }
    assert_eq!(longest, 25 * SECOND);
    // A forgotten node registers again at once, and its registration alone lengthens nothing.
    bench.step(SLOWER);
    bench.next();
    let forgotten = Event::Failed(Failure::UnknownNode);
    assert_eq!(bench.request(forgotten), Some(Request::Register));
    bench.step(REGISTERED);
    assert_eq!(bench.machine.interval(), INTERVAL);
    bench.step(SLOWER);
    // An older control plane in its place says no timeout.
    bench.next();
    bench.step(ACCEPTED);
    assert_eq!(bench.next().0, INTERVAL);
}

// spec: REG-2
#[test]
fn changes_go_out_together_after_a_moment() {
    let mut bench = Bench::registered(1);
    bench.now += SECOND;
    assert_eq!(bench.step(Event::StateChanged), None);
    bench.now += COALESCE / 2;
    assert_eq!(bench.step(Event::StateChanged), None);
    let (waited, send) = bench.next();
    assert_eq!(
        (waited, send.request),
        (COALESCE / 2, Request::Heartbeat { seq: 2 })
    );
    bench.step(ACCEPTED);
    assert_eq!(bench.next().0, INTERVAL);
}

#[test]
fn a_change_during_a_heartbeat_is_sent_after_it() {
    let mut bench = Bench::registered(1);
    bench.next();
    assert_eq!(bench.step(Event::StateChanged), None);
    assert_eq!(bench.step(ACCEPTED), None);
    assert_eq!(bench.next().0, COALESCE);
}

#[test]
fn a_change_during_an_outage_waits_for_the_retry() {
    let mut bench = Bench::registered(1);
    bench.next();
    for _ in 0..5 {
        bench.step(UNREACHABLE);
        bench.next();
    }
    bench.step(UNREACHABLE);
    let due = bench.machine.wake_at();
    bench.step(Event::StateChanged);
    assert_eq!(bench.machine.wake_at(), due);
}

#[test]
fn stopping_takes_the_registration_back() {
    let mut bench = Bench::registered(1);
    let stop = Event::Stop {
        deregister_by: Some(SECOND),
    };
    assert_eq!(bench.request(stop), Some(Request::Deregister));
    assert_eq!(bench.machine.phase(), Phase::Deregistering);
    assert_eq!(bench.step(Event::Deregistered), None);
    assert_eq!(bench.machine.phase(), Phase::Stopped);
    assert_eq!(bench.step(Event::StateChanged), None);
}

#[test]
fn stopping_waits_for_the_request_on_its_way() {
    let mut bench = Bench::new(1);
    bench.step(Event::Tick);
    let stop = Event::Stop {
        deregister_by: Some(SECOND),
    };
    assert_eq!(bench.step(stop), None);
    assert_eq!(bench.request(REGISTERED), Some(Request::Deregister));
}

#[test]
fn a_failed_deregistration_is_tried_once_at_each_address() {
    let mut bench = Bench::registered(2);
    let stop = Event::Stop {
        deregister_by: Some(SECOND),
    };
    assert_eq!(bench.step(stop).map(|send| send.endpoint), Some(0));
    assert_eq!(bench.step(UNREACHABLE).map(|send| send.endpoint), Some(1));
    assert_eq!(bench.step(UNREACHABLE), None);
    assert_eq!(bench.machine.phase(), Phase::Stopped);
}

#[test]
fn no_deregistration_begins_after_its_deadline() {
    let mut bench = Bench::registered(1);
    bench.next();
    let stop = Event::Stop {
        deregister_by: Some(bench.now + SECOND),
    };
    bench.step(stop);
    bench.now += 2 * SECOND;
    assert_eq!(bench.step(ACCEPTED), None);
    assert_eq!(bench.machine.phase(), Phase::Stopped);
}

#[test]
fn stopping_can_keep_the_registration() {
    let mut bench = Bench::registered(1);
    assert_eq!(
        bench.step(Event::Stop {
            deregister_by: None
        }),
        None
    );
    assert_eq!(bench.machine.phase(), Phase::Stopped);
}

// spec: REG-13
#[test]
fn a_heartbeat_that_is_too_large_is_brief_at_once_and_whole_again_after_a_while() {
    const TOO_LARGE: Event = Event::Failed(Failure::TooLarge);
    let mut bench = Bench::registered(1);
    let max_bytes = |bench: &Bench| bench.machine.max_report_bytes();
    assert_eq!(max_bytes(&bench), MAX_NODE_BODY_BYTES);
    bench.next();
    assert_eq!(
        bench.request(TOO_LARGE),
        Some(Request::Heartbeat { seq: 3 })
    );
    assert_eq!(max_bytes(&bench), BRIEF_REPORT_BYTES);
    bench.step(ACCEPTED);
    // Whoever refuses a brief one, too, is asked slowly.
    bench.next();
    assert_eq!(bench.request(TOO_LARGE), None);
    let (waited, send) = bench.next();
    assert_eq!(
        (waited, send.request),
        (15 * SECOND, Request::Heartbeat { seq: 5 })
    );
    bench.step(ACCEPTED);
    while bench.now < BRIEF_FOR + INTERVAL {
        assert_eq!(max_bytes(&bench), BRIEF_REPORT_BYTES);
        bench.next();
        if max_bytes(&bench) == MAX_NODE_BODY_BYTES {
            break;
        }
        bench.step(ACCEPTED);
    }
    assert_eq!(max_bytes(&bench), MAX_NODE_BODY_BYTES);
    assert!(bench.now >= BRIEF_FOR);
    // Nobody has raised the limit.
    assert!(matches!(
        bench.request(TOO_LARGE),
        Some(Request::Heartbeat { .. })
    ));
    assert_eq!(max_bytes(&bench), BRIEF_REPORT_BYTES);
}
