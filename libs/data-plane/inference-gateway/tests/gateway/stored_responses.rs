//! Responses that an engine stores: requests for them, and requests that continue them.

use fake_engine::{FakeEngine, Script};
use http::{Method, Response};
use stream_proxy::ProxyBody;

use crate::harness::{Service, engines, error_of, header, table, text};

const RESPONSES: &str = "/v1/responses";

fn two() -> [FakeEngine; 2] {
    let script = || Script {
        slots: 1,
        tokens: 3,
        ..Script::default()
    };
    engines([script(), script()])
}

fn body(previous: Option<&str>, is_streamed: bool) -> String {
    serde_json::json!({
        "model": "tiny", "input": "hi", "stream": is_streamed, "previous_response_id": previous,
    })
    .to_string()
}

async fn create(service: &Service, previous: Option<&str>) -> Response<ProxyBody> {
    let body = body(previous, false);
    service.send(Method::POST, RESPONSES, &[], &body).await
}

/// The replica that has made a response, and its id.
async fn created(answer: Response<ProxyBody>) -> (String, String) {
    assert_eq!(answer.status(), 200);
    let replica = header(&answer, "x-llorch-replica").to_owned();
    let said = text(answer).await.0;
    // A stream begins with the whole response, too.
    let id = said.split(r#""id":"resp_"#).nth(1).unwrap();
    let id = id.split('"').next().unwrap();
    (replica, format!("resp_{id}"))
}

// spec: PATH-104, PATH-110
#[tokio::test]
async fn a_response_is_asked_for_and_continued_where_it_is_stored() {
    let all = two();
    let service = Service::over(&all).await;
    for round in 0..4 {
        // Each engine in turn is the only free one.
        let mut held = vec![
            service.chat(true, "tokens=100000,token_ms=1").await,
            service.chat(true, "tokens=100000,token_ms=1").await,
        ];
        let free = header(&held.remove(round % 2), "x-llorch-replica").to_owned();
        let body = body(None, round / 2 == 1);
        let answer = service.send(Method::POST, RESPONSES, &[], &body).await;
        let (replica, mut id) = created(answer).await;
        assert_eq!(replica, free);
        drop(held);
        service.all_slots_back().await;
        for _ in 0..3 {
            let continued = create(&service, Some(&id)).await;
            let (continued_by, next) = created(continued).await;
            assert_eq!(continued_by, replica, "{round}");
            id = next;
        }
        for (method, end) in [
            (Method::GET, ""),
            (Method::GET, "/input_items"),
            (Method::POST, "/cancel"),
            (Method::DELETE, ""),
        ] {
            let path = format!("{RESPONSES}/{id}{end}");
            let answer = service.send(method, &path, &[], "").await;
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(header(&answer, "x-llorch-replica"), replica, "{path}");
        }
        // The engine has deleted it, and says so itself.
        let path = format!("{RESPONSES}/{id}");
        let answer = service.send(Method::GET, &path, &[], "").await;
        assert_eq!(answer.status(), 404);
        assert!(text(answer).await.0.contains("not found"));
    }
    service.all_slots_back().await;
}

// spec: PATH-110
#[tokio::test]
async fn a_request_that_continues_a_response_waits_for_its_engine() {
    let all = two();
    let service = Service::over(&all).await;
    let (replica, id) = created(create(&service, None).await).await;
    // Fill both engines: the other one becomes free first.
    let first = service.chat(true, "tokens=100000,token_ms=1").await;
    let second = service.chat(true, "tokens=100000,token_ms=1").await;
    let (holder, other) = if header(&first, "x-llorch-replica") == replica {
        (first, second)
    } else {
        (second, first)
    };
    let continuing = create(&service, Some(&id));
    let freeing = async {
        service
            .until("it waits", |service| {
                !service.admission.snapshot().waiting.is_empty()
            })
            .await;
        drop(other);
        service
            .until("the other engine is free", |service| {
                service.in_flight().values().any(|&held| held == 0)
            })
            .await;
        drop(holder);
    };
    let (answer, ()) = tokio::join!(continuing, freeing);
    assert_eq!(created(answer).await.0, replica);
    service.all_slots_back().await;
}

// spec: PATH-110
#[tokio::test]
async fn a_response_that_is_gone_with_its_engine_is_named() {
    let all = two();
    let service = Service::over(&all).await;
    let (replica, id) = created(create(&service, None).await).await;
    let mut gone = table(&all);
    gone.retain(|endpoint| endpoint.replica.as_deref() == Some(&*replica));
    service.remove(&gone);
    let answer = create(&service, Some(&id)).await;
    assert_eq!(answer.status(), 404);
    let error = error_of(&text(answer).await.0);
    assert_eq!(error["param"], "previous_response_id");
    assert!(error["message"].to_string().contains("is gone"), "{error}");
    let path = format!("{RESPONSES}/{id}");
    let answer = service.send(Method::GET, &path, &[], "").await;
    assert_eq!(error_of(&text(answer).await.0)["param"], "response_id");
    // What was never known here is left to the engine.
    let answer = create(&service, Some("resp_unknown")).await;
    assert_eq!(answer.status(), 404);
    let said = text(answer).await.0;
    assert!(
        said.contains("Response with id 'resp_unknown' not found."),
        "{said}"
    );
}
