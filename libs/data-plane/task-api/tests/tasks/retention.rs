//! Which tasks are kept and which are forgotten.

use std::time::Duration;

use fake_engine::Script;
use http::Method;
use serde_json::json;
use task_api::TaskConfig;

use crate::harness::{LIMIT, Service, Settings, chat, code, endless, engines, with};

async fn service(engines: &[fake_engine::FakeEngine], tasks: TaskConfig) -> Service {
    let settings = Settings {
        tasks,
        ..Settings::default()
    };
    Service::with(engines, settings).await
}

async fn is_known(service: &Service, id: &str) -> bool {
    service
        .call(Method::GET, &format!("/v2/tasks/{id}"), "")
        .await
        .0
        == 200
}

// spec: TASK-9
#[tokio::test]
async fn the_task_that_ended_first_makes_room_and_running_tasks_stay() {
    let engines = engines([Script::default()]);
    let config = TaskConfig {
        max_tasks: 3,
        ..TaskConfig::default()
    };
    let service = service(&engines, config).await;
    for id in ["a", "b"] {
        service.submit(&chat(id)).await;
        service.events(id).await;
    }
    engines[0].set(Script {
        slots: 4,
        ..endless()
    });
    for id in ["c", "d"] {
        service.submit(&chat(id)).await;
        service.until_state(id, "running").await;
    }
    assert!(!is_known(&service, "a").await && is_known(&service, "b").await);
    service.submit(&chat("e")).await;
    assert!(!is_known(&service, "b").await);
    assert_eq!(
        service.refused(&chat("f")).await,
        (429, "QUEUE_FULL".to_owned())
    );
    for id in ["c", "d", "e"] {
        service.cancel(id).await;
    }
}

// spec: TASK-9
#[tokio::test]
async fn a_task_is_forgotten_in_time() {
    let engines = engines([endless()]);
    let config = TaskConfig {
        max_age: Duration::from_millis(20),
        ..TaskConfig::default()
    };
    let service = service(&engines, config).await;
    // The reader starts before the end, because the task may be forgotten right after it.
    let read_and_cancel = async || {
        let mut reader = service.open("t", None).await;
        let started = reader.next().await.unwrap();
        service.cancel("t").await;
        (started, reader.rest().await)
    };
    service.submit(&chat("t")).await;
    let (started, _) = read_and_cancel().await;
    let forgotten = async {
        while is_known(&service, "t").await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, forgotten)
        .await
        .expect("forgotten");
    // The id is free again, and the new task has its own events.
    service
        .submit(&with(chat("t"), "max_tokens", json!(1)))
        .await;
    let (again, rest) = read_and_cancel().await;
    assert_eq!((again.name.as_str(), rest.is_empty()), ("started", false));
    assert_ne!(again.id, started.id);
}

// spec: TASK-9
#[tokio::test]
async fn an_answer_that_is_too_long_ends_the_task() {
    let engines = engines([Script {
        tokens: 1_000_000,
        ..Script::default()
    }]);
    let config = TaskConfig {
        max_task_bytes: 64 * 1024,
        ..TaskConfig::default()
    };
    let service = service(&engines, config).await;
    service.submit(&chat("t")).await;
    let events = service.events("t").await;
    assert_eq!(code(&events), "PAYLOAD_TOO_LARGE");
    engines[0].until(|stats| stats.running == 0).await;
}

#[tokio::test]
async fn all_tasks_together_have_a_limit() {
    let engines = engines([Script {
        tokens: 1_000_000,
        ..Script::default()
    }]);
    let config = TaskConfig {
        max_bytes: 64 * 1024,
        ..TaskConfig::default()
    };
    let service = service(&engines, config).await;
    service.submit(&chat("t")).await;
    assert_eq!(code(&service.events("t").await), "QUEUE_FULL");
    let prompt = "x".repeat(64 * 1024);
    let large = json!({"workload": "completion", "model_ref": "tiny", "prompt": prompt});
    assert_eq!(
        service.refused(&large).await,
        (429, "QUEUE_FULL".to_owned())
    );
}
