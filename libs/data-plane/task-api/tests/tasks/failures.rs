//! Failing engines and expired deadlines.

use std::time::Duration;

use fake_engine::{Fault, Script};
use serde_json::json;

use crate::harness::{
    Service, Settings, chat, code, endless, engines, names, single, tokens, until, with,
};
use task_api::TaskConfig;

fn faulty(fault: Fault) -> Script {
    Script {
        fault: Some(fault),
        ..single()
    }
}

// spec: TASK-1
#[tokio::test]
async fn a_broken_stream_ends_with_an_error_after_its_last_token() {
    for fault in [Fault::Cut(3), Fault::EndEarly(3)] {
        let engines = engines([faulty(fault)]);
        let service = Service::over(&engines).await;
        service.submit(&chat("t")).await;
        let events = service.events("t").await;
        assert_eq!(
            names(&events),
            ["started", "token", "token", "token", "error"]
        );
        assert_eq!(
            (tokens(&events), code(&events)),
            (vec![0, 1, 2], "WORKER_RESET")
        );
        assert_eq!(events[4].data["retriable"], true);
        assert_eq!(service.show("t").await["state"], "failed");
    }
}

// spec: TASK-6
#[tokio::test]
async fn an_engine_that_fails_before_it_starts_is_replaced() {
    let engines = engines([faulty(Fault::Refuse(503)), Script::default()]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let events = service.events("t").await;
    assert_eq!(
        (&events[0].data["node_id"], &events[0].data["attempts"]),
        (&json!("n1"), &json!(2))
    );
    assert_eq!(events.last().unwrap().name, "end");
}

#[tokio::test]
async fn an_engine_s_refusal_is_passed_on() {
    let engines = engines([faulty(Fault::Refuse(400))]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let events = service.events("t").await;
    assert_eq!(
        (names(&events), code(&events)),
        (vec!["error"], "INVALID_REQUEST")
    );
    assert_eq!(events[0].data["message"], "refused by script");
}

// spec: TASK-6
#[tokio::test]
async fn a_deadline_ends_a_task_in_every_state() {
    let engines = engines([endless()]);
    let service = Service::over(&engines).await;
    // On a slow machine a deadline may pass before the task has started. The next task gets more
    // time.
    let mut began = false;
    for deadline in [100, 1000, 10_000, 100_000] {
        let id = format!("streams-{deadline}");
        service
            .submit(&with(chat(&id), "deadline_ms", json!(deadline)))
            .await;
        let events = service.events(&id).await;
        assert_eq!(code(&events), "DEADLINE_EXCEEDED");
        began = events[0].name == "started";
        if began {
            break;
        }
    }
    assert!(began, "no task had started when its deadline passed");
    until("the engine stopped", || engines[0].stats().running == 0).await;

    service.submit(&chat("runs")).await;
    service.until_state("runs", "running").await;
    service
        .submit(&with(chat("waits"), "deadline_ms", json!(50)))
        .await;
    let events = service.events("waits").await;
    assert_eq!(
        (names(&events), code(&events)),
        (vec!["error"], "DEADLINE_EXCEEDED")
    );
    service.cancel("runs").await;
    until("the slot is back", || engines[0].stats().running == 0).await;

    engines[0].update(|script| script.fault = Some(Fault::Silent));
    service
        .submit(&with(chat("silent"), "deadline_ms", json!(50)))
        .await;
    assert_eq!(code(&service.events("silent").await), "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_task_without_a_deadline_gets_the_default() {
    let engines = engines([endless()]);
    let tasks = TaskConfig {
        max_duration: Duration::from_millis(50),
        ..TaskConfig::default()
    };
    let settings = Settings {
        tasks,
        ..Settings::default()
    };
    let service = Service::with(&engines, settings).await;
    service.submit(&chat("t")).await;
    assert_eq!(code(&service.events("t").await), "DEADLINE_EXCEEDED");
}

// spec: TASK-11
#[tokio::test]
async fn an_event_beyond_the_limit_is_not_the_engines_fault() {
    let engines = engines([faulty(Fault::LongEvent(2 * 1024 * 1024))]);
    let service = Service::over(&engines).await;
    service.submit(&chat("t")).await;
    let events = service.events("t").await;
    assert_eq!(code(&events), "PAYLOAD_TOO_LARGE");
    let last = events.last().unwrap().data.to_string();
    assert!(last.contains("1048576 bytes"), "{last}");
}

#[tokio::test]
async fn an_embedding_that_breaks_off_ends_with_an_error() {
    let engines = engines([faulty(Fault::Cut(0))]);
    let service = Service::over(&engines).await;
    service
        .submit(
            &json!({"task_id": "e", "workload": "embedding", "model_ref": "tiny", "inputs": "a"}),
        )
        .await;
    assert_eq!(code(&service.events("e").await), "WORKER_RESET");
}
