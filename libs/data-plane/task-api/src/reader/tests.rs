//! Readers of a task, and tasks that end.

use std::time::Duration;

use futures_util::FutureExt as _;
use pool_registry_types::{ErrorCode, TaskId};

use super::*;
use crate::{
    event::{ServedBy, TaskError},
    request::TaskRequest,
    task::{Task, TaskChange},
};

fn new_task() -> Arc<TaskHandle> {
    let request = r#"{"workload":"completion","model_ref":"m","prompt":"p"}"#;
    let request: TaskRequest = serde_json::from_str(request).unwrap();
    let request = request.into_engine_request().unwrap();
    let task = Task::new(usize::MAX, Duration::ZERO);
    Arc::new(TaskHandle::new(
        TaskId::new("t").unwrap(),
        [0; 32],
        &request,
        task,
    ))
}

fn token() -> TaskChange {
    TaskChange::Token {
        text: "x".into(),
        reasoning: false,
    }
}

fn reader(task: &Arc<TaskHandle>, last: Option<u64>) -> Result<EventReader, ResumeError> {
    let last = last.map(|number| EventId {
        run: task.run,
        number,
    });
    EventReader::new(Arc::clone(task), last, Arc::default())
}

#[tokio::test]
async fn a_reader_waits_for_events_and_can_be_polled_again() {
    let task = new_task();
    let mut early = reader(&task, None).unwrap();
    assert!(early.next().now_or_never().is_none());
    let start = async {
        task.apply(
            [TaskChange::Started(ServedBy::default()), token()],
            Duration::ZERO,
        );
    };
    let (events, ()) = tokio::join!(early.next(), start);
    let events = events.unwrap();
    assert!(events.starts_with(format!("id: {:08x}-1\nevent: started\n", task.run).as_bytes()));
    task.end(TaskChange::Cancelled, Duration::ZERO);
    assert!(
        early
            .next()
            .await
            .unwrap()
            .ends_with(b"\"retriable\":false}\n\n")
    );
    assert_eq!(early.next().await, None);
}

#[tokio::test]
async fn a_reader_resumes_only_after_an_event_of_its_task() {
    let task = new_task();
    task.apply(
        [TaskChange::Started(ServedBy::default()), token(), token()],
        Duration::ZERO,
    );
    let mut late = reader(&task, Some(2)).unwrap();
    let events = late.next().await.unwrap();
    assert!(
        events.starts_with(
            format!(
                "id: {:08x}-3\nevent: token\ndata: {{\"t\":\"x\",\"i\":1}}",
                task.run
            )
            .as_bytes()
        )
    );
    assert_eq!(reader(&task, Some(4)).unwrap_err(), ResumeError::NotYet);
    // All events were read, but more may follow.
    assert!(reader(&task, Some(3)).is_ok());
    task.end(
        TaskError::new(ErrorCode::WorkerReset, "x").into(),
        Duration::ZERO,
    );
    assert!(reader(&task, Some(3)).is_ok());
    assert_eq!(
        reader(&task, Some(4)).unwrap_err(),
        ResumeError::ReadToTheEnd
    );
    let other = EventId {
        run: task.run.wrapping_add(1),
        number: 1,
    };
    let error = EventReader::new(Arc::clone(&task), Some(other), Arc::default()).unwrap_err();
    assert_eq!(error, ResumeError::OtherRun);
}

#[tokio::test]
async fn readers_are_counted_until_they_leave() {
    let task = new_task();
    let left = Arc::<Notify>::default();
    let reader = EventReader::new(Arc::clone(&task), None, Arc::clone(&left)).unwrap();
    assert_eq!(task.readers(), 1);
    let notified = left.notified();
    drop(reader);
    notified.await;
    assert_eq!(task.readers(), 0);
}

#[tokio::test]
async fn an_end_from_outside_stops_the_run() {
    let task = new_task();
    task.apply([TaskChange::Started(ServedBy::default())], Duration::ZERO);
    let effect = task.apply([token()], Duration::ZERO);
    assert!(effect.is_active && effect.bytes > 0);
    task.end(TaskChange::Cancelled, Duration::ZERO);
    task.stopped().await;
    let effect = task.apply([token()], Duration::ZERO);
    assert_eq!((effect.is_active, effect.bytes), (false, 0));
}
