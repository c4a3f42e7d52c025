//! One life, exactly one end; and whoever reads however, every token once and in order.

use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::*;

const MS: Duration = Duration::from_millis(1);

fn task() -> Task {
    Task::new(usize::MAX, Duration::ZERO)
}

fn token(text: &str) -> Change {
    Change::Token {
        text: text.into(),
        reasoning: false,
    }
}

fn started() -> Change {
    Change::Started(Place::default())
}

fn finished() -> Change {
    Change::Finished {
        facts: EngineFacts::default(),
        reason: Some("stop".to_owned()),
    }
}

fn broken() -> Change {
    Change::Failed(Failure::new(ErrorCode::WorkerReset, "broke off"))
}

fn names(task: &Task) -> Vec<&'static str> {
    task.log()
        .after(0, usize::MAX)
        .iter()
        .map(|event| match event {
            Event::Started(_) => "started",
            Event::Token(_) => "token",
            Event::Embedding(_) => "embedding",
            Event::Metrics(_) => "metrics",
            Event::End(_) => "end",
            Event::Error(_) => "error",
        })
        .collect()
}

#[test]
fn a_whole_life_and_its_figures() {
    let mut task = task();
    task.expect(Forecast {
        queue_position: 3,
        predicted_start_ms: Some(9),
    });
    assert!(task.apply(started(), 10 * MS));
    for (number, text) in (0..).zip(["a", "b", "c"]) {
        assert!(task.apply(token(text), (15 + 2 * number) * MS));
    }
    assert!(task.apply(finished(), 40 * MS));
    assert_eq!((task.state(), task.tokens()), (State::Done, 3));
    assert_eq!(
        names(&task),
        ["started", "token", "token", "token", "metrics", "end"]
    );
    let events = task.log().after(0, usize::MAX);
    let Event::Started(started) = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (started.forecast.queue_position, started.waited_ms),
        (3, 10)
    );
    let Event::Metrics(metrics) = &events[4] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (metrics.queue_ms, metrics.first_token_ms),
        (Some(10), Some(5))
    );
    let Event::End(end) = &events[5] else {
        panic!("{events:?}")
    };
    assert_eq!((end.tokens_out, end.decode_time_ms), (3, 4));
}

#[test]
fn the_engine_counts_tokens_better_than_its_events_do() {
    let mut task = task();
    let facts = EngineFacts {
        completion_tokens: Some(7),
        ..EngineFacts::default()
    };
    task.apply(started(), MS);
    task.apply(token("seven in one"), MS);
    task.apply(
        Change::Finished {
            facts,
            reason: None,
        },
        MS,
    );
    assert!(matches!(task.log().last(), Some(Event::End(end)) if end.tokens_out == 7));
}

// spec: TASK-1, TASK-4
#[test]
fn what_comes_too_early_or_too_late_changes_nothing() {
    let mut early = task();
    assert!(!early.apply(token("x"), MS));
    assert!(!early.apply(finished(), MS));
    assert_eq!((early.state(), early.log().len()), (State::Queued, 0));

    for (last, state) in [
        (finished(), State::Done),
        (broken(), State::Failed),
        (Change::Cancelled, State::Cancelled),
    ] {
        let mut late = task();
        assert!(late.apply(started(), MS) && late.apply(last, MS));
        let count = late.log().len();
        for change in [
            started(),
            token("x"),
            finished(),
            broken(),
            Change::Cancelled,
        ] {
            assert!(!late.apply(change, 2 * MS));
        }
        assert_eq!((late.state(), late.log().len()), (state, count));
    }
}

#[test]
fn a_task_that_waits_can_be_refused_and_cancelled() {
    for (change, state, code) in [
        (broken(), State::Failed, ErrorCode::WorkerReset),
        (Change::Cancelled, State::Cancelled, ErrorCode::Cancelled),
    ] {
        let mut task = task();
        assert!(task.apply(change, MS));
        assert_eq!((task.state(), names(&task)), (state, vec!["error"]));
        assert_eq!(task.failure().map(|failure| failure.code), Some(code));
    }
}

#[test]
fn an_answer_too_long_to_be_kept_ends_the_task() {
    let mut task = Task::new(4096, Duration::ZERO);
    task.apply(started(), MS);
    let mut told = 0;
    while task.apply(token("0123456789"), MS) {
        told += 1;
        assert!(told < 4096, "it never ends");
    }
    assert_eq!(task.state(), State::Failed);
    assert!(task.log().bytes() <= 4096 + 256);
    assert_eq!(
        task.failure().map(|failure| failure.code),
        Some(ErrorCode::PayloadTooLarge)
    );
    // The token that did not fit is not counted.
    assert_eq!(
        names(&task).iter().filter(|name| **name == "token").count(),
        task.tokens() as usize
    );
}

/// What can happen between a task and those who read it.
#[derive(Debug, Clone)]
enum Step {
    Token,
    Finish,
    Break,
    Cancel,
    /// A reader takes a portion of so many bytes.
    Read(usize, usize),
    /// A reader's connection breaks; the last so many events that were sent did not arrive.
    Reconnect(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => Just(Step::Token),
        1 => Just(Step::Finish),
        1 => Just(Step::Break),
        1 => Just(Step::Cancel),
        10 => (any::<usize>(), 0..1000_usize).prop_map(|(reader, bytes)| Step::Read(reader, bytes)),
        5 => (any::<usize>(), 0..8_usize).prop_map(|(reader, lost)| Step::Reconnect(reader, lost)),
    ]
}

/// A client: the events that arrived, and so where it goes on.
#[derive(Default, Clone)]
struct Client {
    /// The number of each token and whether the event was the last.
    arrived: Vec<(Option<u32>, bool)>,
}

impl Client {
    fn read(&mut self, task: &Task, bytes: usize) {
        let portion = task.log().after(self.arrived.len() as u64, bytes);
        self.arrived.extend(portion.iter().map(|event| match event {
            Event::Token(token) => (Some(token.i), false),
            other => (None, other.is_last()),
        }));
    }

    fn tokens(&self) -> Vec<u32> {
        self.arrived
            .iter()
            .filter_map(|(token, _)| *token)
            .collect()
    }
}

proptest! {
    // spec: TASK-2, TASK-4
    #[test]
    fn every_reader_sees_every_token_once_in_order(steps in prop::collection::vec(step(), 0..120)) {
        let mut task = task();
        task.apply(started(), MS);
        let mut clients = vec![Client::default(); 3];
        let mut sent = 0_u32;
        let mut ended = None;
        for step in steps {
            match step {
                Step::Token => {
                    let told = task.apply(token("x"), MS);
                    // Cancelled, broken or done: no token after it.
                    prop_assert_eq!(told, ended.is_none());
                    sent += u32::from(told);
                }
                Step::Finish | Step::Break | Step::Cancel => {
                    let (change, state) = match step {
                        Step::Finish => (finished(), State::Done),
                        Step::Break => (broken(), State::Failed),
                        _ => (Change::Cancelled, State::Cancelled),
                    };
                    prop_assert_eq!(task.apply(change, MS), ended.is_none());
                    ended.get_or_insert(state);
                }
                Step::Read(reader, bytes) => clients[reader % 3].read(&task, bytes),
                Step::Reconnect(reader, lost) => {
                    let arrived = &mut clients[reader % 3].arrived;
                    arrived.truncate(arrived.len().saturating_sub(lost));
                }
            }
            prop_assert_eq!(task.state(), ended.unwrap_or(State::Running));
            for client in &clients {
                let tokens = client.tokens();
                prop_assert_eq!(&tokens, &(0..).take(tokens.len()).collect::<Vec<_>>());
            }
        }
        for client in &mut clients {
            client.read(&task, usize::MAX);
            prop_assert_eq!(client.tokens(), (0..sent).collect::<Vec<_>>());
            let ends = client.arrived.iter().filter(|(_, last)| *last).count();
            prop_assert_eq!(ends, usize::from(ended.is_some()));
            prop_assert!(ended.is_none() || client.arrived.last().is_some_and(|(_, last)| *last));
        }
    }
}
