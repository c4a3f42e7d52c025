//! Property tests: invariants under any sequence of events.

use super::*;
use proptest::prelude::*;

fn failure() -> impl Strategy<Value = RequestFailure> {
    prop_oneof![
        6 => proptest::option::of(0_u64..100_000).prop_map(|ms| RequestFailure::Unavailable {
            retry_after: ms.map(Duration::from_millis),
        }),
        3 => Just(RequestFailure::UnknownNode),
        1 => Just(RequestFailure::Superseded),
        2 => Just(RequestFailure::Conflict),
        2 => Just(RequestFailure::Refused),
        2 => Just(RequestFailure::TooLarge),
    ]
}

fn event() -> impl Strategy<Value = RegistrationEvent> {
    let ms = || (0_u64..100_000).prop_map(Duration::from_millis);
    // Intervals of fleets of any size, and wrong values.
    let long = || {
        prop_oneof![
            8 => ms(),
            4 => (0_u64..1_000_000).prop_map(Duration::from_millis),
            1 => Just(Duration::MAX),
        ]
    };
    prop_oneof![
        8 => Just(RegistrationEvent::Tick),
        8 => Just(RegistrationEvent::StateChanged),
        6 => (proptest::option::of(ms()), proptest::option::of(ms())).prop_map(
            |(next_heartbeat, timeout)| RegistrationEvent::Registered { next_heartbeat, timeout }
        ),
        8 => (long(), proptest::option::of(long())).prop_map(|(next_heartbeat, timeout)| {
            RegistrationEvent::HeartbeatAccepted { next_heartbeat, timeout }
        }),
        1 => Just(RegistrationEvent::Deregistered),
        8 => failure().prop_map(RegistrationEvent::Failed),
        1 => proptest::option::of(ms())
            .prop_map(|deregister_by| RegistrationEvent::Stop { deregister_by }),
    ]
}

/// Each event with the milliseconds that pass before it and its random number.
fn history() -> impl Strategy<Value = Vec<(u64, RegistrationEvent, f64)>> {
    let passing = prop_oneof![Just(0_u64), 0_u64..100, 0_u64..30_000];
    proptest::collection::vec((passing, event(), 0.0..1.0), 0..60)
}

fn is_outcome(event: RegistrationEvent) -> bool {
    !matches!(
        event,
        RegistrationEvent::Tick | RegistrationEvent::StateChanged | RegistrationEvent::Stop { .. }
    )
}

/// The largest factor of the jitter.
const SPREAD: f64 = 1.1;

proptest! {
    #[test]
    fn the_invariants_hold(
        interval_ms in 1_u64..60_000,
        endpoints in 1_usize..4,
        history in history(),
    ) {
        let configured = Duration::from_millis(interval_ms);
        let addresses = NonZeroUsize::new(endpoints).unwrap();
        let mut machine = RegistrationMachine::new(configured, addresses);
        let mut now = Duration::ZERO;
        let mut in_flight = false;
        let mut stopping = false;
        let mut last_seq = 0;
        let mut timeout_sent = None;
        for (passed, event, jitter) in history {
            now += Duration::from_millis(passed);
            let before = machine;
            let (after, send) = machine.step(Input { event, now, jitter });
            machine = after;
            stopping |= matches!(event, RegistrationEvent::Stop { .. });

            // One request at a time.
            if is_outcome(event) {
                in_flight = false;
            }
            if let Some(send) = send {
                prop_assert!(!in_flight, "two requests at once");
                prop_assert!(send.endpoint < endpoints);
                in_flight = true;
                if let ControlPlaneRequest::Heartbeat { seq } = send.request {
                    prop_assert!(seq > last_seq, "seq does not rise");
                    last_seq = seq;
                }
                prop_assert_eq!(stopping, send.request == ControlPlaneRequest::Deregister);
            }

            // While running there is always a next step, and it is not distant.
            let silent = matches!(
                machine.phase(),
                RegistrationPhase::Superseded
                    | RegistrationPhase::Stopped
                    | RegistrationPhase::Deregistering
            );
            prop_assert_eq!(machine.wake_at().is_some(), !in_flight && !silent);
            if let (Some(wake_at), true) = (machine.wake_at(), send.is_none()) {
                prop_assert!(wake_at > now, "a step that is due was not taken");
                let slow = machine.pace.slow_retry_interval();
                let longest = machine.interval().max(slow).mul_f64(SPREAD);
                prop_assert!(wake_at - now <= longest, "waits {:?}", wake_at - now);
            }
            let unavailable = RequestFailure::Unavailable { retry_after: None };
            if event == RegistrationEvent::Failed(unavailable)
                && let Some(wake_at) = machine.wake_at()
                && before.wake_at().is_none()
            {
                let backoff = wake_at.saturating_sub(now);
                prop_assert!(backoff <= machine.pace.longest_backoff(), "backoff is unbounded");
            }

            // A change is reported within a moment.
            if event == RegistrationEvent::StateChanged
                && machine.phase() == RegistrationPhase::Registered
                && machine.failures() == 0
                && let Some(wake_at) = machine.wake_at()
            {
                prop_assert!(wake_at <= now + COALESCE);
            }

            // The interval is longer than configured only after an answer with a timeout, and then
            // three heartbeats fit into the timeout.
            let floor = configured.min(Duration::from_secs(1));
            if let RegistrationEvent::HeartbeatAccepted { timeout, .. } = event
                && before.in_flight.is_some()
            {
                timeout_sent = timeout;
            }
            let longest = timeout_sent.map_or(Duration::ZERO, |timeout| timeout / 3);
            let longest = longest.min(pace::MAX_SET_INTERVAL).max(configured);
            prop_assert!(machine.interval() <= longest, "an interval that was not set");
            prop_assert!(machine.interval() >= floor);
            prop_assert!(machine.pace.slow_retry_interval() <= pace::MAX_SET_INTERVAL);
            prop_assert!(machine.pace.longest_backoff() <= pace::MAX_SET_INTERVAL);

            // Stopping ends with the outcome of the request in flight.
            if stopping && !in_flight {
                prop_assert_eq!(machine.phase(), RegistrationPhase::Stopped);
            }
        }
    }
}
