//! Readers on a clock that stands still.

use pool_registry_types::ErrorCode;

use super::*;
use crate::event::Place;

fn live() -> Arc<Live> {
    let job: crate::request::TaskRequest =
        serde_json::from_str(r#"{"workload":"completion","model_ref":"m","prompt":"p"}"#).unwrap();
    let job = job.into_job().unwrap();
    let task = Task::new(usize::MAX, Duration::ZERO);
    Arc::new(Live::new(TaskId::new("t").unwrap(), [0; 32], &job, task))
}

fn token() -> Change {
    Change::Token {
        text: "x".into(),
        reasoning: false,
    }
}

fn reader(live: &Arc<Live>, last: Option<u64>) -> Result<Reader, CannotResume> {
    let last = last.map(|number| EventId {
        run: live.run,
        number,
    });
    Reader::new(Arc::clone(live), last, Arc::default())
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_events_also_when_it_is_asked_anew() {
    let live = live();
    let mut early = reader(&live, None).unwrap();
    let impatient = tokio::time::timeout(Duration::from_secs(1), early.next()).await;
    assert!(impatient.is_err());
    let told = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        live.apply([Change::Started(Place::default()), token()], Duration::ZERO);
    };
    let (events, ()) = tokio::join!(early.next(), told);
    let events = events.unwrap();
    assert!(events.starts_with(format!("id: {:08x}-1\nevent: started\n", live.run).as_bytes()));
    live.end(Change::Cancelled, Duration::ZERO);
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
async fn a_reader_goes_on_where_it_was_and_nowhere_else() {
    let live = live();
    live.apply(
        [Change::Started(Place::default()), token(), token()],
        Duration::ZERO,
    );
    let mut late = reader(&live, Some(2)).unwrap();
    let events = late.next().await.unwrap();
    assert!(
        events.starts_with(
            format!(
                "id: {:08x}-3\nevent: token\ndata: {{\"t\":\"x\",\"i\":1}}",
                live.run
            )
            .as_bytes()
        )
    );
    assert_eq!(reader(&live, Some(4)).unwrap_err(), CannotResume::NotYet);
    // All that there is has been read, but there is more to come.
    assert!(reader(&live, Some(3)).is_ok());
    live.end(
        Failure::new(ErrorCode::WorkerReset, "x").into(),
        Duration::ZERO,
    );
    assert!(reader(&live, Some(3)).is_ok());
    assert_eq!(
        reader(&live, Some(4)).unwrap_err(),
        CannotResume::ReadToTheEnd
    );
    let other = EventId {
        run: live.run.wrapping_add(1),
        number: 1,
    };
    let error = Reader::new(Arc::clone(&live), Some(other), Arc::default()).unwrap_err();
    assert_eq!(error, CannotResume::OtherRun);
}

#[tokio::test]
async fn readers_are_counted_until_they_leave() {
    let live = live();
    let left = Arc::<Notify>::default();
    let reader = Reader::new(Arc::clone(&live), None, Arc::clone(&left)).unwrap();
    assert_eq!(live.readers(), 1);
    let notified = left.notified();
    drop(reader);
    notified.await;
    assert_eq!(live.readers(), 0);
}

#[tokio::test]
async fn an_end_from_outside_stops_the_run_and_one_from_within_does_not() {
    let live = live();
    live.apply([Change::Started(Place::default())], Duration::ZERO);
    let effect = live.apply([token()], Duration::ZERO);
    assert!(effect.goes_on && effect.bytes > 0);
    live.end(Change::Cancelled, Duration::ZERO);
    live.stopped().await;
    let effect = live.apply([token()], Duration::ZERO);
    assert_eq!((effect.goes_on, effect.bytes), (false, 0));
}
