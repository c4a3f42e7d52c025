//! The shutdown of the process ends every task.

use std::time::Duration;

use axum::body::Body;
use fake_engine::Script;
use http::Request;
use tower::ServiceExt as _;

use crate::harness::{Service, chat, code, endless, engines, until};

// spec: TASK-10
#[tokio::test]
async fn a_task_with_a_reader_may_finish() {
    let engines = engines([Script {
        token_delay: Duration::from_millis(5),
        ..Script::default()
    }]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let reader = service.open("t", None).await;
    let (events, ()) = tokio::join!(reader.rest(), service.api.close(Duration::from_secs(3600)));
    assert_eq!(events.last().unwrap().name, "end");
    assert_eq!(
        service.refused(&chat("u")).await,
        (503, "SHUTTING_DOWN".to_owned())
    );
}

// spec: TASK-10
#[tokio::test]
async fn a_task_without_a_reader_ends_at_once() {
    let engines = engines([endless()]);
    let service = Service::over(&engines).await;
    for id in ["runs", "waits"] {
        service.submit(&chat(id)).await;
    }
    service.until_state("runs", "running").await;
    let reader = service.open("runs", None).await;
    // The reader leaves during the shutdown.
    let leaves = async {
        service.until_state("waits", "failed").await;
        drop(reader);
    };
    let closed = tokio::time::timeout(
        Duration::from_secs(60),
        service.api.close(Duration::from_secs(3600)),
    );
    let (closed, ()) = tokio::join!(closed, leaves);
    assert!(closed.is_ok());
    for id in ["runs", "waits"] {
        assert_eq!(code(&service.events(id).await), "SHUTTING_DOWN");
    }
    until("the engine stopped", || engines[0].stats().running == 0).await;
}

// spec: TASK-10
#[tokio::test]
async fn at_the_limit_readers_get_an_error() {
    let engines = engines([endless()]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let mut reader = service.open("t", None).await;
    reader.next().await.unwrap();
    let (events, ()) = tokio::join!(reader.rest(), service.api.close(Duration::from_millis(20)));
    assert_eq!(code(&events), "SHUTTING_DOWN");
}

#[tokio::test]
async fn a_task_whose_run_is_dropped_ends() {
    let engines = engines([endless()]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let mut reader = service.open("t", None).await;
    reader.next().await.unwrap();
    // Everything is aborted, the server too, as in a process that cannot wait.
    assert!(service.tasks.join(Duration::ZERO).await.is_err());
    until("the engine stopped", || engines[0].stats().running == 0).await;
    let request = Request::get("/v2/tasks/t/events")
        .body(Body::empty())
        .unwrap();
    let answer = http_server::unguarded_router(service.api.clone().router())
        .oneshot(request)
        .await
        .unwrap();
    let events = axum::body::to_bytes(answer.into_body(), usize::MAX)
        .await
        .unwrap();
    let last = std::str::from_utf8(&events)
        .unwrap()
        .trim_end()
        .rsplit("\n\n")
        .next()
        .unwrap();
    assert!(
        last.contains("event: error\n") && last.contains("\"code\":\"INTERNAL\""),
        "{last}"
    );
}
