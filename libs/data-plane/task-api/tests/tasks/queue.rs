//! Waiting for a slot, and where a task may run.

use std::time::Duration;

use fake_engine::Script;
use serde_json::{Value, json};

use crate::harness::{Service, Settings, chat, endless, engines, single, until, with};

// spec: TASK-6
#[tokio::test]
async fn a_waiting_task_knows_its_position() {
    let engines = engines([endless()]);
    let service = Service::over(&engines).await;
    service.submit(&chat("a")).await;
    service.until_state("a", "running").await;
    let mut accepted = Vec::new();
    for id in ["b", "c", "d"] {
        accepted.push(service.submit(&chat(id)).await);
    }
    let figures: Vec<(&Value, &Value)> = accepted
        .iter()
        .map(|task| (&task["queue_position"], &task["predicted_start_ms"]))
        .collect();
    // One slot, and an assumed service time of one second.
    assert_eq!(
        figures,
        [
            (&json!(0), &json!(1000)),
            (&json!(1), &json!(2000)),
            (&json!(2), &json!(3000))
        ]
    );
    let shown = service.show("d").await;
    assert_eq!(
        (&shown["state"], &shown["queue_position"]),
        (&json!("queued"), &json!(2))
    );

    service.cancel("a").await;
    service.until_state("b", "running").await;
    assert_eq!(service.show("d").await["queue_position"], 1);
    assert_eq!(service.show("b").await.get("queue_position"), None);
    let started = service.open("b", None).await.next().await.unwrap();
    assert_eq!(
        (started.name.as_str(), &started.data["queue_position"]),
        ("started", &json!(0))
    );
    for id in ["b", "c", "d"] {
        service.cancel(id).await;
    }
}

#[tokio::test]
async fn a_task_waits_longer_than_a_request_of_a_client() {
    let engines = engines([Script {
        token_delay: Duration::from_millis(20),
        ..single()
    }]);
    let admission = admission::AdmissionConfig {
        max_wait: Duration::from_millis(1),
        ..admission::AdmissionConfig::default()
    };
    let settings = Settings {
        admission,
        ..Settings::default()
    };
    let service = Service::with(&engines, settings).await;
    service.submit(&chat("a")).await;
    service.submit(&chat("b")).await;
    assert_eq!(service.events("b").await.last().unwrap().name, "end");
    assert_eq!(engines[0].stats().peak, 1);
}

// spec: TASK-6
#[tokio::test]
async fn interactive_tasks_go_before_batch_tasks() {
    let engines = engines([endless()]);
    let service = Service::over(&engines).await;
    service.submit(&chat("a")).await;
    service.until_state("a", "running").await;
    service
        .submit(&with(chat("batch"), "priority", json!("batch")))
        .await;
    let person = service.submit(&chat("person")).await;
    assert_eq!(person["queue_position"], 0);
    assert_eq!(service.show("batch").await["priority"], "batch");
    service.cancel("a").await;
    service.until_state("person", "running").await;
    assert_eq!(service.show("batch").await["state"], "queued");
    for id in ["batch", "person"] {
        service.cancel(id).await;
    }
}

async fn node_of(service: &Service, id: &str) -> Value {
    let mut started = service.open(id, None).await.next().await.unwrap();
    started.data["node_id"].take()
}

fn placed(id: &str, mode: &str, node: &str) -> Value {
    with(
        chat(id),
        "placement",
        json!({"mode": mode, "node_id": node}),
    )
}

// spec: TASK-6
#[tokio::test]
async fn a_pinned_task_waits_for_its_node() {
    let engines = engines([endless(), endless()]);
    let service = Service::over(&engines).await;
    service.submit(&placed("a", "pin", "n1")).await;
    assert_eq!(node_of(&service, "a").await, "n1");
    service.submit(&placed("b", "pin", "n1")).await;
    until("it waits", || {
        service.admission.snapshot().waiting.len() == 1
    })
    .await;
    assert_eq!(engines[0].stats().requests, 0);
    service.cancel("a").await;
    assert_eq!(node_of(&service, "b").await, "n1");
    service.cancel("b").await;
}

#[tokio::test]
async fn a_task_uses_another_node_when_the_preferred_one_is_full_or_fails() {
    let [first, second] = engines([endless(), endless()]);
    let engines = [first, second];
    let service = Service::over(&engines).await;
    service.submit(&placed("a", "prefer", "n1")).await;
    assert_eq!(node_of(&service, "a").await, "n1");
    service.submit(&placed("b", "prefer", "n1")).await;
    assert_eq!(node_of(&service, "b").await, "n0");
    for id in ["a", "b"] {
        service.cancel(id).await;
    }
    until("the slots are back", || {
        service
            .admission
            .snapshot()
            .endpoints
            .iter()
            .all(|endpoint| endpoint.in_flight == 0)
    })
    .await;

    engines[1].update(|script| script.fault = Some(fake_engine::Fault::Refuse(503)));
    service.submit(&placed("c", "prefer", "n1")).await;
    assert_eq!(node_of(&service, "c").await, "n0");
    service.cancel("c").await;
}
