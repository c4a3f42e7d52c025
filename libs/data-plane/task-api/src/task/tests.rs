//! A task has exactly one end, and every reader gets every token once and in order.

use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::*;

const MS: Duration = Duration::from_millis(1);

fn task() -> Task {
    Task::new(usize::MAX, Duration::ZERO)
}

fn token(text: &str) -> TaskChange {
    TaskChange::Token {
        text: text.into(),
        reasoning: false,
    }
}

fn started() -> TaskChange {
    TaskChange::Started(ServedBy::default())
}

fn finished() -> TaskChange {
    TaskChange::Finished {
        figures: EngineFigures::default(),
        reason: Some("stop".to_owned()),
    }
}

fn broken() -> TaskChange {
    TaskChange::Failed(TaskError::new(ErrorCode::WorkerReset, "broke off"))
}

fn names(task: &Task) -> Vec<&'static str> {
    task.log()
        .after(0, usize::MAX)
        .iter()
        .map(|event| match event {
            TaskEvent::Started(_) => "started",
            TaskEvent::Token(_) => "token",
            TaskEvent::Embedding(_) => "embedding",
            TaskEvent::Metrics(_) => "metrics",
            TaskEvent::End(_) => "end",
            TaskEvent::Error(_) => "error",
        })
        .collect()
}

#[test]
fn a_complete_task_and_its_figures() {
    let mut task = task();
    task.set_forecast(Forecast {
        queue_position: 3,
        predicted_start_ms: Some(9),
    });
    assert!(task.apply(started(), 10 * MS));
    for (number, text) in (0..).zip(["a", "b", "c"]) {
        assert!(task.apply(token(text), (15 + 2 * number) * MS));
    }
    assert!(task.apply(finished(), 40 * MS));
    assert_eq!((task.state(), task.tokens()), (TaskState::Done, 3));
    assert_eq!(
        names(&task),
        ["started", "token", "token", "token", "metrics", "end"]
    );
    let events = task.log().after(0, usize::MAX);
    let TaskEvent::Started(started) = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (started.forecast.queue_position, started.waited_ms),
        (3, 10)
    );
    let TaskEvent::Metrics(metrics) = &events[4] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (metrics.queue_ms, metrics.first_token_ms),
        (Some(10), Some(5))
    );
    let TaskEvent::End(end) = &events[5] else {
        panic!("{events:?}")
    };
    assert_eq!((end.tokens_out, end.decode_time_ms), (3, 4));
}

#[test]
fn the_engine_s_token_count_takes_precedence() {
    let mut task = task();
    let figures = EngineFigures {
        completion_tokens: Some(7),
        ..EngineFigures::default()
    };
    task.apply(started(), MS);
    task.apply(token("seven in one"), MS);
    task.apply(
        TaskChange::Finished {
            figures,
            reason: None,
        },
        MS,
    );
    assert!(matches!(task.log().last(), Some(TaskEvent::End(end)) if end.tokens_out == 7));
}

// spec: TASK-1, TASK-4
#[test]
fn changes_before_the_start_or_after_the_end_have_no_effect() {
    let mut early = task();
    assert!(!early.apply(token("x"), MS));
    assert!(!early.apply(finished(), MS));
    assert_eq!((early.state(), early.log().len()), (TaskState::Queued, 0));

    for (last, state) in [
        (finished(), TaskState::Done),
        (broken(), TaskState::Failed),
        (TaskChange::Cancelled, TaskState::Cancelled),
    ] {
        let mut late = task();
        assert!(late.apply(started(), MS) && late.apply(last, MS));
        let count = late.log().len();
        for change in [
            started(),
            token("x"),
            finished(),
            broken(),
            TaskChange::Cancelled,
        ] {
            assert!(!late.apply(change, 2 * MS));
        }
        assert_eq!((late.state(), late.log().len()), (state, count));
    }
}

#[test]
fn a_queued_task_can_fail_and_be_cancelled() {
    for (change, state, code) in [
        (broken(), TaskState::Failed, ErrorCode::WorkerReset),
        (
            TaskChange::Cancelled,
            TaskState::Cancelled,
            ErrorCode::Cancelled,
        ),
    ] {
        let mut task = task();
        assert!(task.apply(change, MS));
        assert_eq!((task.state(), names(&task)), (state, vec!["error"]));
        assert_eq!(task.error().map(|error| error.code), Some(code));
    }
}

#[test]
fn an_answer_too_long_to_be_kept_ends_the_task() {
    let mut task = Task::new(4096, Duration::ZERO);
    task.apply(started(), MS);
    let mut applied = 0;
    while task.apply(token("0123456789"), MS) {
        applied += 1;
        assert!(applied < 4096, "it never ends");
    }
    assert_eq!(task.state(), TaskState::Failed);
    assert!(task.log().bytes() <= 4096 + 256);
    assert_eq!(
        task.error().map(|error| error.code),
        Some(ErrorCode::PayloadTooLarge)
    );
    // The token that did not fit is not counted.
    assert_eq!(
        names(&task).iter().filter(|name| **name == "token").count(),
        task.tokens() as usize
    );
}

/// An event between a task and its readers.
#[derive(Debug, Clone)]
enum Step {
    Token,
    Finish,
    Break,
    Cancel,
    /// A reader takes about so many bytes of events.
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

/// A client with the events that arrived; it resumes after them.
#[derive(Default, Clone)]
struct Client {
    /// For each event the number of its token, and whether the event was the last.
    arrived: Vec<(Option<u32>, bool)>,
}

impl Client {
    fn read(&mut self, task: &Task, bytes: usize) {
        let events = task.log().after(self.arrived.len() as u64, bytes);
        self.arrived.extend(events.iter().map(|event| match event {
            TaskEvent::Token(token) => (Some(token.i), false),
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
    fn every_reader_gets_every_token_once_in_order(steps in prop::collection::vec(step(), 0..120)) {
        let mut task = task();
        task.apply(started(), MS);
        let mut clients = vec![Client::default(); 3];
        let mut sent = 0_u32;
        let mut ended = None;
        for step in steps {
            match step {
                Step::Token => {
                    let applied = task.apply(token("x"), MS);
                    // No token follows the end.
                    prop_assert_eq!(applied, ended.is_none());
                    sent += u32::from(applied);
                }
                Step::Finish | Step::Break | Step::Cancel => {
                    let (change, state) = match step {
                        Step::Finish => (finished(), TaskState::Done),
                        Step::Break => (broken(), TaskState::Failed),
                        _ => (TaskChange::Cancelled, TaskState::Cancelled),
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
            prop_assert_eq!(task.state(), ended.unwrap_or(TaskState::Running));
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
