//! The generator against the stand-in engine: it counts what is whole, and nothing else.

use std::{io, time::Duration};

use fake_engine::{FakeEngine, Fault, Script};
use load_gen::{Expected, Outcome, Plan, Requests, run};

/// Role, three tokens, finish reason, `[DONE]`.
const STREAM: Expected = Expected::Stream { events: Some(6) };

/// How long is measured; more, as long as nothing has come in that time.
const TIMES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// What came of the load, and how many requests that were.
fn measure(engines: &[&FakeEngine], expected: Expected) -> io::Result<(Outcome, u64)> {
    let seen = || {
        engines
            .iter()
            .map(|engine| engine.stats().requests)
            .sum::<u64>()
    };
    let mut last = None;
    for time in TIMES {
        let before = seen();
        let outcome = measure_for(time, engines, expected)?;
        let has_come = outcome.answers_per_second > 0.0 || outcome.errors > 0;
        last = Some((outcome, seen() - before));
        if has_come {
            break;
        }
    }
    last.ok_or_else(|| io::Error::other("nothing was measured"))
}

fn measure_for(
    measure: Duration,
    engines: &[&FakeEngine],
    expected: Expected,
) -> io::Result<Outcome> {
    let stream = expected != Expected::Whole;
    run(&Plan {
        targets: engines
            .iter()
            .map(|engine| ([127, 0, 0, 1], engine.port()).into())
            .collect(),
        tls: None,
        connections: 4,
        requests: Requests::Post {
            path: "/v1/chat/completions".to_owned(),
            body: format!(r#"{{"model":"tiny","messages":[],"max_tokens":3,"stream":{stream}}}"#),
            token: None,
        },
        expected,
        warm_up: Duration::from_millis(20),
        measure,
        drain: Duration::from_secs(10),
    })
}

#[test]
fn counts_whole_answers_of_all_targets() {
    let engines =
        [Script::default(), Script::default()].map(|script| FakeEngine::start(script).unwrap());
    for expected in [Expected::Whole, STREAM] {
        let before: Vec<u64> = engines
            .iter()
            .map(|engine| engine.stats().requests)
            .collect();
        let (outcome, requests) = measure(&[&engines[0], &engines[1]], expected).unwrap();
        assert_eq!((outcome.errors, outcome.first_error), (0, None));
        let seen: Vec<u64> = engines
            .iter()
            .map(|engine| engine.stats().requests)
            .collect();
        assert!(
            seen.iter()
                .zip(&before)
                .all(|(after, before)| after > before)
        );
        assert_eq!(outcome.all_answers, requests);
        assert!(outcome.answers_per_second > 0.0 && outcome.first_p99_ms >= outcome.first_p50_ms);
        assert_eq!(outcome.events_per_second > 0.0, expected != Expected::Whole);
    }
}

#[test]
fn the_first_byte_is_that_of_the_body() {
    let slow = Script {
        first_token_delay: Duration::from_millis(30),
        ..Script::default()
    };
    let (outcome, _) = measure(&[&FakeEngine::start(slow).unwrap()], STREAM).unwrap();
    // The head of a stream comes at once.
    assert!(outcome.first_p50_ms >= 30.0, "{outcome:?}");
}

#[test]
fn broken_answers_do_not_count() {
    let cases = [
        (Fault::Refuse(503), "status 503"),
        (Fault::Cut(1), "the answer was cut off"),
        (Fault::EndEarly(1), "the stream has no [DONE]"),
    ];
    for (fault, message) in cases {
        let script = Script {
            fault: Some(fault),
            // So that it does not fail thousands of times.
            head_delay: Duration::from_millis(5),
            ..Script::default()
        };
        let (outcome, _) = measure(&[&FakeEngine::start(script).unwrap()], STREAM).unwrap();
        assert_eq!(
            (outcome.all_answers, outcome.first_error.as_deref()),
            (0, Some(message))
        );
        assert!(outcome.errors > 0);
    }
}
