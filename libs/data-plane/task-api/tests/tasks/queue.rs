//! Waiting for a slot, and where a task may run.

use std::{sync::Arc, time::Duration};

use bearer_auth::{
    AccessToken, AuthPolicy, Credential, Identity, KeyLimits, KeySource, Scope, UncheckedKeyLimits,
};
use fake_engine::Script;
use http_server::Principal;
use serde_json::{Value, json};

use crate::harness::{Service, Settings, chat, code, endless, engines, single, until, with};

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

fn key(limits: UncheckedKeyLimits) -> Arc<Identity> {
    Arc::new(Identity {
        id: "k1".into(),
        name: "shop".into(),
        scopes: Scope::Client.into(),
        node: None,
        expires_at: None,
        limits: KeyLimits::try_from(limits).unwrap(),
    })
}

async fn tasks_of(engines: &[fake_engine::FakeEngine], key: &Arc<Identity>) -> Service {
    let settings = Settings {
        owner: Some(Principal::Key(Arc::clone(key))),
        ..Settings::default()
    };
    Service::with(engines, settings).await
}

// spec: KEY-12
#[tokio::test]
async fn a_task_whose_key_has_used_up_its_tokens_fails_when_its_turn_comes() {
    let engines = engines([endless()]);
    let key = key(UncheckedKeyLimits {
        tokens_per_minute: Some(1),
        ..UncheckedKeyLimits::default()
    });
    let service = tasks_of(&engines, &key).await;
    service.submit(&chat("a")).await;
    let mut events = service.open("a", None).await;
    while events.next().await.unwrap().name != "token" {}
    for id in ["b", "c"] {
        service.submit(&chat(id)).await;
    }
    service.cancel("a").await;
    for id in ["b", "c"] {
        let events = service.events(id).await;
        assert_eq!(code(&events), "RATE_LIMITED");
        let error = &events.last().unwrap().data;
        assert_eq!(error["retriable"], true);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("1 tokens a minute"), "{message}");
    }
    assert_eq!(engines[0].stats().requests, 1);
    assert_eq!(
        service.refused(&chat("d")).await,
        (429, "RATE_LIMITED".to_owned())
    );
}

// spec: AUTH-32
#[tokio::test]
async fn a_waiting_task_of_a_revoked_key_does_not_run() {
    let engines = engines([endless()]);
    let key = key(UncheckedKeyLimits::default());
    let service = tasks_of(&engines, &key).await;
    let policy = AuthPolicy::with_keys_only(None);
    let credential = Credential {
        digest: AccessToken::generate().unwrap().digest(),
        identity: Arc::clone(&key),
        valid_until: None,
        is_revoked: false,
    };
    policy.replace_keys(KeySource::Store, vec![credential.clone()]);
    service.gateway.check_keys_with(policy.clone());
    service.submit(&chat("runs")).await;
    service.until_state("runs", "running").await;
    service.submit(&chat("waits")).await;
    let revoked = Credential {
        is_revoked: true,
        ..credential
    };
    policy.replace_keys(KeySource::Store, vec![revoked]);
    // The running one finishes.
    assert_eq!(service.show("runs").await["state"], "running");
    service.cancel("runs").await;
    let events = service.events("waits").await;
    assert_eq!(code(&events), "UNAUTHORIZED");
    let message = &events.last().unwrap().data["message"];
    assert_eq!(message, "the key of this token was revoked");
    assert_eq!(engines[0].stats().requests, 1);
}
