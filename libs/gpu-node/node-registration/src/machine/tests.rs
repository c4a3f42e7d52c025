//! Tests of the machine, step by step.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(10);

/// A machine with a clock that the test moves.
struct TestBench {
    machine: RegistrationMachine,
    now: Duration,
}

impl TestBench {
    fn new(endpoints: usize) -> Self {
        Self {
            machine: RegistrationMachine::new(INTERVAL, NonZeroUsize::new(endpoints).unwrap()),
            now: Duration::ZERO,
        }
    }

    /// A machine whose first heartbeat was accepted at time zero.
    fn registered(endpoints: usize) -> Self {
        let mut bench = Self::new(endpoints);
        assert_eq!(
            bench.request(RegistrationEvent::Tick),
            Some(ControlPlaneRequest::Register)
        );
        assert_eq!(
            bench.request(REGISTERED),
            Some(ControlPlaneRequest::Heartbeat { seq: 1 })
        );
        assert_eq!(bench.request(ACCEPTED), None);
        bench
    }

    fn step(&mut self, event: RegistrationEvent) -> Option<OutgoingRequest> {
        let (machine, send) = self.machine.step(Input {
            event,
            now: self.now,
            jitter: 0.5,
        });
        self.machine = machine;
        send
    }

    fn request(&mut self, event: RegistrationEvent) -> Option<ControlPlaneRequest> {
        self.step(event).map(|send| send.request)
    }

    /// Lets time pass until something is due, and returns how long that was and what is sent.
    fn next(&mut self) -> (Duration, OutgoingRequest) {
        let wake_at = self
            .machine
            .wake_at()
            .expect("a running machine has a next step");
        let waited = wake_at.saturating_sub(self.now);
        self.now = self.now.max(wake_at);
        (
            waited,
            self.step(RegistrationEvent::Tick)
                .expect("something is due"),
        )
    }
}

const REGISTERED: RegistrationEvent = RegistrationEvent::Registered {
    next_heartbeat: Some(INTERVAL),
    timeout: Some(Duration::from_secs(30)),
};
const ACCEPTED: RegistrationEvent = RegistrationEvent::HeartbeatAccepted {
    next_heartbeat: INTERVAL,
    timeout: None,
};
const UNREACHABLE: RegistrationEvent =
    RegistrationEvent::Failed(RequestFailure::Unavailable { retry_after: None });

// spec: CLOUD-3010, REG-1
#[test]
fn registers_then_reports_at_once_then_every_interval() {
    let mut bench = TestBench::registered(1);
    for seq in 2..5 {
        let (waited, send) = bench.next();
        assert_eq!(
            (waited, send.request),
            (INTERVAL, ControlPlaneRequest::Heartbeat { seq })
        );
        assert_eq!(bench.request(ACCEPTED), None);
    }
}

#[test]
fn a_slow_answer_does_not_lengthen_the_interval() {
    let mut bench = TestBench::registered(1);
    bench.next();
    bench.now += 4 * SECOND;
    bench.step(ACCEPTED);
    assert_eq!(bench.next().0, 6 * SECOND);
}

// spec: REG-4
#[test]
fn a_forgotten_node_registers_again_at_once() {
    let mut bench = TestBench::registered(1);
    bench.next();
    assert_eq!(
        bench.request(RegistrationEvent::Failed(RequestFailure::UnknownNode)),
        Some(ControlPlaneRequest::Register)
    );
    assert_eq!(
        bench.request(REGISTERED),
        Some(ControlPlaneRequest::Heartbeat { seq: 3 })
    );
}

#[test]
fn a_control_plane_that_forgets_at_once_gets_backoff() {
    let mut bench = TestBench::registered(1);
    bench.next();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let register = bench.request(RegistrationEvent::Failed(RequestFailure::UnknownNode));
        if register.is_none() {
            pauses.push(bench.next().0.as_millis());
        }
        bench.request(REGISTERED);
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 2500, 2500]);
}

// spec: REG-3
#[test]
fn backs_off_without_answers_and_recovers() {
    let mut bench = TestBench::new(1);
    bench.step(RegistrationEvent::Tick);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        assert_eq!(bench.request(UNREACHABLE), None);
        let (waited, send) = bench.next();
        assert_eq!(send.request, ControlPlaneRequest::Register);
        pauses.push(waited.as_millis());
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 2500, 2500]);
    assert_eq!(
        bench.request(REGISTERED),
        Some(ControlPlaneRequest::Heartbeat { seq: 1 })
    );
    bench.step(ACCEPTED);
    assert_eq!((bench.machine.failures(), bench.next().0), (0, INTERVAL));
}

// spec: REG-3
#[test]
fn an_outage_keeps_the_registration() {
    let mut bench = TestBench::registered(1);
    bench.next();
    bench.step(UNREACHABLE);
    let (waited, send) = bench.next();
    assert!(waited < SECOND);
    assert_eq!(send.request, ControlPlaneRequest::Heartbeat { seq: 3 });
}

// spec: REG-9
#[test]
fn every_address_is_tried_before_the_backoff() {
    let mut bench = TestBench::registered(3);
    assert_eq!(bench.next().1.endpoint, 0);
    assert_eq!(bench.step(UNREACHABLE).map(|send| send.endpoint), Some(1));
    assert_eq!(bench.step(UNREACHABLE).map(|send| send.endpoint), Some(2));
    assert_eq!(bench.step(UNREACHABLE), None);
    let (waited, send) = bench.next();
    assert_eq!((waited, send.endpoint), (Duration::from_millis(100), 0));
}

#[test]
fn a_requested_pause_is_kept_within_limits() {
    for (asked, expected) in [(2 * SECOND, 2 * SECOND), (600 * SECOND, 10 * SECOND)] {
        let mut bench = TestBench::registered(1);
        bench.next();
        bench.step(RegistrationEvent::Failed(RequestFailure::Unavailable {
            retry_after: Some(asked),
        }));
        assert_eq!(bench.next().0, expected);
    }
}

// spec: REG-7
#[test]
fn what_an_operator_must_fix_is_retried_slowly() {
    for failure in [RequestFailure::Refused, RequestFailure::Conflict] {
        let mut bench = TestBench::new(1);
        bench.step(RegistrationEvent::Tick);
        for _ in 0..3 {
            assert_eq!(bench.request(RegistrationEvent::Failed(failure)), None);
            let (waited, send) = bench.next();
            assert_eq!(
                (waited, send.request),
                (15 * SECOND, ControlPlaneRequest::Register),
                "{failure:?}"
            );
        }
    }
}

#[test]
fn a_node_whose_id_is_in_use_registers_again_and_does_not_deregister() {
    let mut bench = TestBench::registered(1);
    bench.next();
    bench.step(RegistrationEvent::Failed(RequestFailure::Conflict));
    assert_eq!(bench.machine.phase(), RegistrationPhase::Registering);
    let stop = RegistrationEvent::Stop {
        deregister_by: Some(bench.now + SECOND),
    };
    assert_eq!(bench.request(stop), None);
    assert_eq!(bench.machine.phase(), RegistrationPhase::Stopped);
}

// spec: REG-6
#[test]
fn a_superseded_incarnation_sends_nothing_more() {
    let mut bench = TestBench::registered(1);
    bench.next();
    assert_eq!(
        bench.step(RegistrationEvent::Failed(RequestFailure::Superseded)),
        None
    );
    assert_eq!(bench.machine.phase(), RegistrationPhase::Superseded);
    assert_eq!(bench.machine.wake_at(), None);
    bench.now += 3600 * SECOND;
    assert_eq!(bench.step(RegistrationEvent::Tick), None);
    assert_eq!(bench.step(RegistrationEvent::StateChanged), None);
    // The registration belongs to the later incarnation, so it must not be removed.
    let stop = RegistrationEvent::Stop {
        deregister_by: Some(bench.now + SECOND),
    };
    assert_eq!(bench.step(stop), None);
    assert_eq!(bench.machine.phase(), RegistrationPhase::Stopped);
}

// spec: REG-40, REG-41
#[test]
fn a_control_plane_with_a_large_fleet_sets_the_interval() {
    const SLOWER: RegistrationEvent = RegistrationEvent::HeartbeatAccepted {
        next_heartbeat: Duration::from_secs(100),
        timeout: Some(Duration::from_secs(300)),
    };
    let mut bench = TestBench::registered(1);
    bench.next();
    bench.step(SLOWER);
    assert_eq!(bench.machine.interval(), 100 * SECOND);
    assert_eq!(bench.next().0, 100 * SECOND);
    // A change is still sent at once.
    bench.step(SLOWER);
    bench.step(RegistrationEvent::StateChanged);
    assert_eq!(bench.next().0, COALESCE);
    // What an operator must fix is retried twice per timeout.
    assert_eq!(
        bench.request(RegistrationEvent::Failed(RequestFailure::Refused)),
        None
    );
    assert_eq!(bench.next().0, 150 * SECOND);
    bench.step(SLOWER);
    // Without answers, the node retries within a share of the timeout.
    bench.next();
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        bench.step(UNREACHABLE);
        longest = longest.max(bench.next().0);
    }
    assert_eq!(longest, 25 * SECOND);
    // A forgotten node registers again at once; the registration does not lengthen the interval.
    bench.step(SLOWER);
    bench.next();
    let forgotten = RegistrationEvent::Failed(RequestFailure::UnknownNode);
    assert_eq!(
        bench.request(forgotten),
        Some(ControlPlaneRequest::Register)
    );
    bench.step(REGISTERED);
    assert_eq!(bench.machine.interval(), INTERVAL);
    bench.step(SLOWER);
    // An older control plane sends no timeout.
    bench.next();
    bench.step(ACCEPTED);
    assert_eq!(bench.next().0, INTERVAL);
}

// spec: REG-2
#[test]
fn changes_are_sent_together_after_a_moment() {
    let mut bench = TestBench::registered(1);
    bench.now += SECOND;
    assert_eq!(bench.step(RegistrationEvent::StateChanged), None);
    bench.now += COALESCE / 2;
    assert_eq!(bench.step(RegistrationEvent::StateChanged), None);
    let (waited, send) = bench.next();
    assert_eq!(
        (waited, send.request),
        (COALESCE / 2, ControlPlaneRequest::Heartbeat { seq: 2 })
    );
    bench.step(ACCEPTED);
    assert_eq!(bench.next().0, INTERVAL);
}

#[test]
fn a_change_during_a_heartbeat_is_sent_after_it() {
    let mut bench = TestBench::registered(1);
    bench.next();
    assert_eq!(bench.step(RegistrationEvent::StateChanged), None);
    assert_eq!(bench.step(ACCEPTED), None);
    assert_eq!(bench.next().0, COALESCE);
}

#[test]
fn a_change_during_an_outage_waits_for_the_retry() {
    let mut bench = TestBench::registered(1);
    bench.next();
    for _ in 0..5 {
        bench.step(UNREACHABLE);
        bench.next();
    }
    bench.step(UNREACHABLE);
    let due = bench.machine.wake_at();
    bench.step(RegistrationEvent::StateChanged);
    assert_eq!(bench.machine.wake_at(), due);
}

#[test]
fn stopping_deregisters() {
    let mut bench = TestBench::registered(1);
    let stop = RegistrationEvent::Stop {
        deregister_by: Some(SECOND),
    };
    assert_eq!(bench.request(stop), Some(ControlPlaneRequest::Deregister));
    assert_eq!(bench.machine.phase(), RegistrationPhase::Deregistering);
    assert_eq!(bench.step(RegistrationEvent::Deregistered), None);
    assert_eq!(bench.machine.phase(), RegistrationPhase::Stopped);
    assert_eq!(bench.step(RegistrationEvent::StateChanged), None);
}

#[test]
fn stopping_waits_for_the_request_in_flight() {
    let mut bench = TestBench::new(1);
    bench.step(RegistrationEvent::Tick);
    let stop = RegistrationEvent::Stop {
        deregister_by: Some(SECOND),
    };
    assert_eq!(bench.step(stop), None);
    assert_eq!(
        bench.request(REGISTERED),
        Some(ControlPlaneRequest::Deregister)
    );
}

#[test]
fn a_failed_deregistration_is_tried_once_at_each_address() {
    let mut bench = TestBench::registered(2);
    let stop = RegistrationEvent::Stop {
        deregister_by: Some(SECOND),
    };
    assert_eq!(bench.step(stop).map(|send| send.endpoint), Some(0));
    assert_eq!(bench.step(UNREACHABLE).map(|send| send.endpoint), Some(1));
    assert_eq!(bench.step(UNREACHABLE), None);
    assert_eq!(bench.machine.phase(), RegistrationPhase::Stopped);
}

#[test]
fn no_deregistration_begins_after_its_deadline() {
    let mut bench = TestBench::registered(1);
    bench.next();
    let stop = RegistrationEvent::Stop {
        deregister_by: Some(bench.now + SECOND),
    };
    bench.step(stop);
    bench.now += 2 * SECOND;
    assert_eq!(bench.step(ACCEPTED), None);
    assert_eq!(bench.machine.phase(), RegistrationPhase::Stopped);
}

#[test]
fn stopping_can_keep_the_registration() {
    let mut bench = TestBench::registered(1);
    assert_eq!(
        bench.step(RegistrationEvent::Stop {
            deregister_by: None
        }),
        None
    );
    assert_eq!(bench.machine.phase(), RegistrationPhase::Stopped);
}

// spec: REG-13
#[test]
fn a_heartbeat_that_is_too_large_is_short_at_once_and_complete_again_later() {
    const TOO_LARGE: RegistrationEvent = RegistrationEvent::Failed(RequestFailure::TooLarge);
    let mut bench = TestBench::registered(1);
    let max_bytes = |bench: &TestBench| bench.machine.max_report_bytes();
    assert_eq!(max_bytes(&bench), MAX_NODE_BODY_BYTES);
    bench.next();
    assert_eq!(
        bench.request(TOO_LARGE),
        Some(ControlPlaneRequest::Heartbeat { seq: 3 })
    );
    assert_eq!(max_bytes(&bench), BRIEF_REPORT_BYTES);
    bench.step(ACCEPTED);
    // If a short one is refused, too, retry slowly.
    bench.next();
    assert_eq!(bench.request(TOO_LARGE), None);
    let (waited, send) = bench.next();
    assert_eq!(
        (waited, send.request),
        (15 * SECOND, ControlPlaneRequest::Heartbeat { seq: 5 })
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
    // The limit was not raised.
    assert!(matches!(
        bench.request(TOO_LARGE),
        Some(ControlPlaneRequest::Heartbeat { .. })
    ));
    assert_eq!(max_bytes(&bench), BRIEF_REPORT_BYTES);
}
