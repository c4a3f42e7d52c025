//! The events of successful tasks.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Service, chat, engines, names, tokens, with};
use fake_engine::Script;

// spec: TASK-1
#[tokio::test]
async fn a_chat_from_its_start_to_its_end() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let accepted = service
        .submit(&with(chat("t-1"), "max_tokens", json!(3)))
        .await;
    assert_eq!(
        accepted,
        json!({"task_id": "t-1", "queue_position": 0, "predicted_start_ms": 0, "links": {
            "self": "/v2/tasks/t-1",
            "events": "/v2/tasks/t-1/events",
            "cancel": "/v2/tasks/t-1/cancel",
        }})
    );
    let events = service.events("t-1").await;
    assert_eq!(
        names(&events),
        ["started", "token", "token", "token", "metrics", "end"]
    );
    let started = &events[0].data;
    assert_eq!(
        (
            &started["node_id"],
            &started["attempts"],
            &started["queue_position"]
        ),
        (&json!("n0"), &json!(1), &json!(0))
    );
    assert_eq!(events[1].data, json!({"t": " one", "i": 0}));
    assert_eq!(events[3].data, json!({"t": " three", "i": 2}));
    assert_eq!(events[4].data["completion_tokens"], 3);
    assert_eq!(events[5].data["tokens_out"], 3);
    assert_eq!(events[5].data["finish_reason"], "length");
    let shown = service.show("t-1").await;
    assert_eq!(
        (&shown["state"], &shown["tokens_out"]),
        (&json!("done"), &json!(3))
    );
    // Every reader gets the same events.
    assert_eq!(service.events("t-1").await, events);
}

// spec: TASK-1
#[tokio::test]
async fn completions_and_embeddings() {
    let engines = engines([Script {
        tokens: 2,
        ..Script::default()
    }]);
    let service = Service::over(&engines).await;
    service
        .submit(
            &json!({"task_id": "c", "workload": "completion", "model_ref": "tiny", "prompt": "p"}),
        )
        .await;
    let events = service.events("c").await;
    assert_eq!(
        names(&events),
        ["started", "token", "token", "metrics", "end"]
    );

    let task = json!({
        "task_id": "e", "workload": "embedding", "model_ref": "tiny", "inputs": ["a", "b"],
    });
    service.submit(&task).await;
    let events = service.events("e").await;
    assert_eq!(
        names(&events),
        ["started", "embedding", "embedding", "metrics", "end"]
    );
    assert_eq!(events[2].data["i"], 1);
    assert_eq!(events[2].data["embedding"].as_array().unwrap().len(), 8);
    let paths: Vec<_> = engines[0]
        .records()
        .into_iter()
        .map(|record| record.path)
        .collect();
    assert_eq!(paths, ["/v1/completions", "/v1/embeddings"]);
}

// spec: TASK-6
#[tokio::test]
async fn the_engine_gets_an_ordinary_request() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    service
        .submit(&with(chat("t-1"), "session_id", json!("s-9")))
        .await;
    service.events("t-1").await;
    let seen = engines[0].records().remove(0);
    assert_eq!(
        (seen.path.as_str(), seen.stream),
        ("/v1/chat/completions", true)
    );
    assert_eq!(seen.header("x-session-id"), Some("s-9"));
    assert_eq!(seen.header("x-request-id"), Some("t-1"));
    for ours in ["x-priority", "x-deadline-ms", "x-llorch-pin-node"] {
        assert_eq!(seen.header(ours), None);
    }
}

#[tokio::test]
async fn a_task_without_an_id_gets_one() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let mut task = chat("");
    task.as_object_mut().unwrap().remove("task_id");
    let ids: Vec<Value> = [service.submit(&task).await, service.submit(&task).await]
        .into_iter()
        .map(|mut accepted| accepted["task_id"].take())
        .collect();
    assert_ne!(ids[0], ids[1]);
    let events = service.events(ids[0].as_str().unwrap()).await;
    assert_eq!(events.last().unwrap().name, "end");
}

// spec: TASK-5
#[tokio::test]
async fn an_equal_submission_is_the_same_task() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let first = service.submit(&chat("t-1")).await;
    let events = service.events("t-1").await;
    // In another notation, and after its end.
    let again = format!(" {} ", with(chat("t-1"), "of_a_later_version", json!(1)));
    let (status, answer) = service.call(Method::POST, "/v2/tasks", again).await;
    assert_eq!((status, &answer["task_id"]), (202, &first["task_id"]));
    assert_eq!(service.events("t-1").await, events);
    assert_eq!(engines[0].stats().requests, 1);

    let other = with(chat("t-1"), "max_tokens", json!(1));
    assert_eq!(
        service.refused(&other).await,
        (409, "TASK_ID_CONFLICT".to_owned())
    );
    assert_eq!(service.events("t-1").await, events);
}

#[tokio::test]
async fn many_concurrent_tasks_do_not_mix() {
    let engines = engines([Script::default(), Script::default()]);
    let service = Service::over(&engines).await;
    for number in 0..40 {
        service
            .submit(&with(
                chat(&format!("t-{number}")),
                "max_tokens",
                json!(number % 16 + 1),
            ))
            .await;
    }
    for number in 0..40_u64 {
        let events = service.events(&format!("t-{number}")).await;
        assert_eq!(tokens(&events), (0..=number % 16).collect::<Vec<_>>());
        assert_eq!(events.last().unwrap().name, "end");
    }
    assert!(engines.iter().all(|engine| engine.stats().peak <= 4));
}
