//! Clients that leave.

use fake_engine::{Fault, Script};
use http_body_util::BodyExt;

use crate::harness::{Service, engines, until};

// spec: PATH-7
#[tokio::test]
async fn leaving_a_stream_stops_the_engine_and_frees_the_slot() {
    let engines = engines([Script {
        slots: 1,
        ..Script::default()
    }]);
    let service = Service::over(&engines).await;
    let mut answer = service.chat(true, "tokens=100000,token_ms=1").await;
    answer.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(service.in_flight()["r0"], 1);
    drop(answer);
    service.all_slots_back().await;
    until("the engine stopped", || engines[0].stats().cancelled == 1).await;
    assert_eq!(service.chat(false, "").await.status(), 200);
}

// spec: PATH-7
#[tokio::test]
async fn leaving_before_the_first_byte_stops_the_engine_and_frees_the_slot() {
    let engines = engines([Script {
        slots: 1,
        fault: Some(Fault::Silent),
        ..Script::default()
    }]);
    let service = Service::over(&engines).await;
    tokio::select! {
        _ = service.chat(false, "") => panic!("a silent engine responded"),
        () = until("the engine has it", || engines[0].stats().running == 1) => {}
    }
    service.all_slots_back().await;
    until("the engine stopped", || engines[0].stats().cancelled == 1).await;
}

// spec: ADM-4
#[tokio::test]
async fn leaving_the_queue_removes_the_request() {
    let engines = engines([Script {
        slots: 1,
        ..Script::default()
    }]);
    let service = Service::over(&engines).await;
    let held = service.chat(true, "tokens=100000,token_ms=1").await;
    tokio::select! {
        _ = service.chat(false, "") => panic!("the only slot is taken"),
        () = service.until("it waits", |service| {
            service.admission.snapshot().waiting.len() == 1
        }) => {}
    }
    service
        .until("the queue is empty", |service| {
            service.admission.snapshot().waiting.is_empty()
        })
        .await;
    drop(held);
    service.all_slots_back().await;
    assert_eq!(engines[0].stats().requests, 1);
}
