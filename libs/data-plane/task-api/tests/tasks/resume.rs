//! Readers that lose their connection.

use std::time::Duration;

use fake_engine::Script;
use http::Method;

use crate::harness::{Event, Service, chat, endless, engines, tokens};

/// A small random generator, so that connections break at the same points in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX constants.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Reads a task over connections that break after a few events.
async fn read_with_breaks(service: &Service, id: &str, seed: u64) -> (Vec<Event>, u32) {
    let mut random = Random(seed);
    let mut events: Vec<Event> = Vec::new();
    let mut connections = 0;
    loop {
        let last = events.last().map(|event| event.id.clone());
        let mut stream = service.open(id, last.as_deref()).await;
        connections += 1;
        for _ in 0..random.below(7) {
            let Some(event) = stream.next().await else {
                break;
            };
            events.push(event);
        }
        if matches!(events.last(), Some(event) if event.name == "end" || event.name == "error") {
            return (events, connections);
        }
    }
}

// spec: TASK-2
#[tokio::test]
async fn no_token_is_lost_or_doubled_wherever_connections_break() {
    let engines = engines([Script {
        tokens: 200,
        token_delay: Duration::from_millis(1),
        ..Script::default()
    }]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let (whole, a, b, c) = tokio::join!(
        service.events("t"),
        read_with_breaks(&service, "t", 1),
        read_with_breaks(&service, "t", 2),
        read_with_breaks(&service, "t", 3),
    );
    assert_eq!(tokens(&whole), (0..200).collect::<Vec<_>>());
    for (events, connections) in [a, b, c] {
        assert_eq!(events, whole);
        assert!(connections > 20, "{connections}");
    }
    // Once more after the end.
    assert_eq!(read_with_breaks(&service, "t", 4).await.0, whole);
    assert_eq!(engines[0].stats().requests, 1);
}

// spec: TASK-3
#[tokio::test]
async fn a_reader_of_the_last_event_gets_no_content() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let last = service.events("t").await.pop().unwrap();
    let answer = service
        .send(Method::GET, "/v2/tasks/t/events", Some(&last.id), "")
        .await;
    assert_eq!(answer.status(), 204);
}

// spec: TASK-3
#[tokio::test]
async fn an_id_of_another_task_is_refused() {
    let engines = engines([endless()]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let first = service.open("t", None).await.next().await.unwrap();
    let run = first.id.split_once('-').unwrap().0;
    let other = format!("{:08x}", u32::from_str_radix(run, 16).unwrap() ^ 1);
    for (last, status) in [
        ("nonsense".to_owned(), 400),
        ("7".to_owned(), 400),
        (format!("{run}-999999999"), 400),
        (format!("{other}-1"), 404),
        (String::new(), 200),
    ] {
        let answer = service
            .send(Method::GET, "/v2/tasks/t/events", Some(&last), "")
            .await;
        assert_eq!(answer.status(), status, "{last:?}");
    }
    service.cancel("t").await;
}

#[tokio::test]
async fn a_reader_that_leaves_does_not_stop_the_task() {
    let engines = engines([Script {
        tokens: 50,
        token_delay: Duration::from_millis(1),
        ..Script::default()
    }]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let mut reader = service.open("t", None).await;
    reader.next().await.unwrap();
    drop(reader);
    service.until_state("t", "done").await;
    assert_eq!(engines[0].stats().cancelled, 0);
    assert_eq!(tokens(&service.events("t").await).len(), 50);
}
