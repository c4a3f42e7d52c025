//! What holds whatever happens.

use super::*;
use proptest::prelude::*;

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        6 => proptest::option::of(0_u64..100_000).prop_map(|ms| Failure::Unavailable {
            retry_after: ms.map(Duration::from_millis),
        }),
        3 => Just(Failure::UnknownNode),
        1 => Just(Failure::Superseded),
        2 => Just(Failure::Conflict),
        2 => Just(Failure::Refused),
        2 => Just(Failure::TooLarge),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let ms = || (0_u64..100_000).prop_map(Duration::from_millis);
    // As in a fleet of any size, and what only a mistaken control plane says.
    let long = || prop_oneof![8 => ms(), 4 => (0_u64..1_000_000).prop_map(Duration::from_millis), 1 => Just(Duration::MAX)];
    prop_oneof![
        8 => Just(Event::Tick),
        8 => Just(Event::StateChanged),
        6 => (proptest::option::of(ms()), proptest::option::of(ms())).prop_map(|(next_heartbeat, timeout)| {
            Event::Registered { next_heartbeat, timeout }
        }),
        8 => (long(), proptest::option::of(long())).prop_map(|(next_heartbeat, timeout)| {
            Event::HeartbeatAccepted { next_heartbeat, timeout }
        }),
        1 => Just(Event::Deregistered),
        8 => failure().prop_map(Event::Failed),
        1 => proptest::option::of(ms()).prop_map(|deregister_by| Event::Stop { deregister_by }),
    ]
}

/// Each event with the milliseconds that pass before it and its random number.
fn history() -> impl Strategy<Value = Vec<(u64, Event, f64)>> {
    let passing = prop_oneof![Just(0_u64), 0_u64..100, 0_u64..30_000];
    proptest::collection::vec((passing, event(), 0.0..1.0), 0..60)
}

fn is_outcome(event: Event) -> bool {
    !matches!(
        event,
        Event::Tick | Event::StateChanged | Event::Stop { .. }
    )
}

/// How much the spread adds at most.
const SPREAD: f64 = 1.1;

proptest! {
    #[test]
    fn holds(
        interval_ms in 1_u64..60_000,
        endpoints in 1_usize..4,
        history in history(),
    ) {
        let configured = Duration::from_millis(interval_ms);
        let mut machine = Machine::new(configured, NonZeroUsize::new(endpoints).unwrap());
        let mut now = Duration::ZERO;
        let mut in_flight = false;
        let mut stopping = false;
        let mut last_seq = 0;
        let mut told = None;
        for (passed, event, jitter) in history {
            now += Duration::from_millis(passed);
            let before = machine;
            let (after, send) = machine.step(Input { event, now, jitter });
            machine = after;
            stopping |= matches!(event, Event::Stop { .. });

            // One request at a time.
            if is_outcome(event) {
                in_flight = false;
            }
            if let Some(send) = send {
                prop_assert!(!in_flight, "two requests at once");
                prop_assert!(send.endpoint < endpoints);
                in_flight = true;
                if let Request::Heartbeat { seq } = send.request {
                    prop_assert!(seq > last_seq, "seq does not rise");
                    last_seq = seq;
                }
                prop_assert_eq!(stopping, send.request == Request::Deregister);
            }

            // Always a next step while running, and never a distant one.
            let silent = matches!(machine.phase(), Phase::Superseded | Phase::Stopped | Phase::Deregistering);
            prop_assert_eq!(machine.wake_at().is_some(), !in_flight && !silent);
            if let (Some(wake_at), true) = (machine.wake_at(), send.is_none()) {
                prop_assert!(wake_at > now, "a step that is due was not taken");
                let longest = machine.interval().max(machine.pace.slow_retry_interval()).mul_f64(SPREAD);
                prop_assert!(wake_at - now <= longest, "waits {:?}", wake_at - now);
            }
            if let Event::Failed(Failure::Unavailable { retry_after: None }) = event
                && let Some(wake_at) = machine.wake_at()
                && before.wake_at().is_none()
            {
                prop_assert!(wake_at.saturating_sub(now) <= machine.pace.longest_backoff(), "backoff is unbounded");
            }

            // A change is told within a moment.
            if event == Event::StateChanged
                && machine.phase() == Phase::Registered
                && machine.failures() == 0
                && let Some(wake_at) = machine.wake_at()
            {
                prop_assert!(wake_at <= now + COALESCE);
            }

            // The interval is longer than configured only where a heartbeat was answered with a timeout, and then three
            // heartbeats fit into that. It is never silence, and never load.
            let floor = configured.min(Duration::from_secs(1));
            if let (Event::HeartbeatAccepted { timeout, .. }, true) = (event, before.in_flight.is_some()) {
                told = timeout;
            }
            let longest = told.map_or(Duration::ZERO, |told| (told / 3).min(pace::MAX_SET_INTERVAL));
            prop_assert!(machine.interval() <= configured.max(longest), "an interval that nobody set");
            prop_assert!(machine.interval() >= floor);
            prop_assert!(machine.pace.slow_retry_interval() <= pace::MAX_SET_INTERVAL);
            prop_assert!(machine.pace.longest_backoff() <= pace::MAX_SET_INTERVAL);

            // Stopping ends with the outcome of what is on its way.
            if stopping && !in_flight {
                prop_assert_eq!(machine.phase(), Phase::Stopped);
            }
        }
    }
}
