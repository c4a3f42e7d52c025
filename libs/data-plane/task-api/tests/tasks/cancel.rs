//! Cancelled tasks.

use http::Method;
use serde_json::json;

use crate::harness::{Service, chat, code, endless, engines, tokens, until};
use fake_engine::Script;

// spec: TASK-4
#[tokio::test]
async fn no_token_follows_a_cancel_and_the_engine_stops() {
    let engines = engines([endless()]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let mut reader = service.open("t", None).await;
    for _ in 0..5 {
        reader.next().await.unwrap();
    }
    service.cancel("t").await;
    // The cancel is acknowledged, so no event follows.
    let told = service.events("t").await;
    assert_eq!(code(&told), "CANCELLED");
    assert_eq!(
        tokens(&told),
        (0..told.len() as u64 - 2).collect::<Vec<_>>()
    );
    until("the engine stopped", || engines[0].stats().cancelled == 1).await;
    until("the slot is back", || {
        service.admission.snapshot().endpoints[0].in_flight == 0
    })
    .await;
    assert_eq!(service.events("t").await, told);
    let rest = reader.rest().await;
    assert_eq!(rest.last(), told.last());
    assert_eq!(service.show("t").await["state"], "cancelled");
    assert_eq!(service.show("t").await["error"]["code"], "CANCELLED");
}

// spec: TASK-4
#[tokio::test]
async fn a_cancelled_task_leaves_the_queue() {
    let engines = engines([endless()]);
    let service = Service::over(&engines).await;
    service.submit(&chat("running")).await;
    service.until_state("running", "running").await;
    service.submit(&chat("waiting")).await;
    assert_eq!(service.admission.snapshot().waiting["tiny"].interactive, 1);
    service.cancel("waiting").await;
    until("the queue is empty", || {
        service.admission.snapshot().waiting.is_empty()
    })
    .await;
    assert_eq!(code(&service.events("waiting").await), "CANCELLED");
    assert_eq!(engines[0].stats().requests, 1);
    service.cancel("running").await;
}

#[tokio::test]
async fn cancelling_an_ended_task_changes_nothing() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let events = service.events("t").await;
    service.cancel("t").await;
    service.cancel("t").await;
    assert_eq!(service.events("t").await, events);
    assert_eq!(service.show("t").await["state"], json!("done"));
    let (status, answer) = service
        .call(Method::POST, "/v2/tasks/none/cancel", "")
        .await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (404, &json!("NOT_FOUND"))
    );
}
