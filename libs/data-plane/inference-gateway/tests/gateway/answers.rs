//! Responses of requests that succeed.

use fake_engine::Script;
use http::Method;

use crate::harness::{Service, engines, events, header, text, until};

#[tokio::test]
async fn a_response_in_one_piece() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let answer = service.chat(false, "").await;
    assert_eq!(answer.status(), 200);
    for (name, value) in [
        ("x-llorch-node", "node-1"),
        ("x-llorch-pool", "pool-0"),
        ("x-llorch-replica", "r0"),
        ("x-llorch-attempts", "1"),
    ] {
        assert_eq!(header(&answer, name), value, "{name}");
    }
    assert!(header(&answer, "x-llorch-queue-ms").parse::<u64>().is_ok());
    assert!(!header(&answer, "x-request-id").is_empty());
    let (text, whole) = text(answer).await;
    assert!(whole);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["object"], "chat.completion");
    service.all_slots_back().await;
}

// spec: PATH-2
#[tokio::test]
async fn a_streamed_response() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let answer = service.chat(true, "tokens=5,token_ms=1").await;
    assert!(header(&answer, "content-type").starts_with("text/event-stream"));
    let (text, whole) = text(answer).await;
    assert!(whole);
    assert_eq!(events(&text).last(), Some(&"[DONE]"));
    service.all_slots_back().await;
}

// spec: PATH-1
#[tokio::test]
async fn the_body_is_forwarded_byte_for_byte() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let body =
        "{ \"messages\" : [ ],\n \"stream\":false, \"unknown\": 1.0e3, \"model\":\"tiny\" }  ";
    let headers = [
        ("authorization", "Bearer clients-own"),
        ("x-api-key", "clients-own"),
        ("x-conversation-id", "c"),
        ("x-session-id", "s"),
        ("x-request-id", "mine-1"),
    ];
    let answer = service
        .send(Method::POST, "/v1/completions?beta=1", &headers, body)
        .await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "x-request-id"), "mine-1");
    let seen = engines[0].records().pop().unwrap();
    assert_eq!(seen.path, "/v1/completions?beta=1");
    assert_eq!(seen.body_len, body.len());
    // The body, hashed by `sha256sum`.
    assert_eq!(
        seen.body_sha256,
        "f433d86e4c4df0abc7167df3a823556f6f695d3b3740c5773e7b485a265e7b2e"
    );
    assert_eq!(seen.header("x-session-id"), Some("s"));
    assert_eq!(seen.header("x-request-id"), Some("mine-1"));
    for stopped in [
        "authorization",
        "x-api-key",
        "x-conversation-id",
        "accept-encoding",
    ] {
        assert_eq!(seen.header(stopped), None, "{stopped}");
    }
}

// spec: PATH-12
#[tokio::test]
async fn models_are_listed_and_found() {
    let engines = engines([
        Script {
            models: vec!["b".into(), "a".into()],
            ..Script::default()
        },
        Script {
            models: vec!["c".into()],
            ..Script::default()
        },
    ]);
    let service = Service::over(&engines).await;
    let (list, _) = text(service.send(Method::GET, "/v1/models", &[], "").await).await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let names: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        (list["object"].as_str(), names),
        (Some("list"), vec!["a", "b", "c"])
    );
    for (model, replica) in [("a", "r0"), ("c", "r1"), ("b", "r0")] {
        let answer = service
            .send(
                Method::POST,
                "/v1/embeddings",
                &[],
                &format!(r#"{{"model":"{model}","input":"x"}}"#),
            )
            .await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-replica")
            ),
            (200, replica),
            "{model}"
        );
    }
}

// spec: PLACE-5
#[tokio::test]
async fn one_model_is_described() {
    let engines = engines([Script {
        models: vec!["org/name:7b".into()],
        ..Script::default()
    }]);
    let service = Service::over(&engines).await;
    let (model, _) = text(
        service
            .send(Method::GET, "/v1/models/org/name:7b", &[], "")
            .await,
    )
    .await;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&model).unwrap()["id"],
        "org/name:7b"
    );
    assert_eq!(
        service
            .send(Method::GET, "/v1/models/other", &[], "")
            .await
            .status(),
        404
    );
}

// spec: PATH-15
#[tokio::test]
async fn other_routes_pass_when_their_body_names_a_model() {
    let engines = engines([Script::default()]);
    let service = Service::over(&engines).await;
    let form = "--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ntiny\r\n--XX--\r\n";
    let form_type = ("content-type", "multipart/form-data; boundary=XX");
    for (path, headers, body) in [
        ("/v1/responses", &[][..], r#"{"model":"tiny","input":"x"}"#),
        ("/v1/rerank", &[], r#"{"model":"tiny"}"#),
        ("/v1/brand/new", &[], r#"{"model":"tiny"}"#),
        ("/tokenize", &[], r#"{"content":"x"}"#),
        ("/v1/audio/transcriptions", &[form_type], form),
    ] {
        // The fake engine does not know these routes. Its response shows where they lead.
        let answer = service.send(Method::POST, path, headers, body).await;
        assert_eq!(header(&answer, "x-llorch-node"), "node-1", "{path}");
        text(answer).await;
    }
}

// spec: PLACE-5
#[tokio::test]
async fn load_spreads_and_no_engine_gets_more_than_its_slots() {
    let slots = |slots| Script {
        slots,
        ..Script::default()
    };
    let engines = engines([slots(2), slots(1), slots(3)]);
    let service = Service::over(&engines).await;
    let requests = (0..60).map(|number| {
        let service = &service;
        async move {
            text(service.chat(number % 2 == 0, "tokens=3,token_ms=2").await)
                .await
                .1
        }
    });
    assert!(join_all(requests).await.into_iter().all(|whole| whole));
    let peaks: Vec<u32> = engines.iter().map(|engine| engine.stats().peak).collect();
    assert!(peaks[0] <= 2 && peaks[1] <= 1 && peaks[2] <= 3, "{peaks:?}");
    // An engine counts a response once it has written it, shortly after the client has read it.
    let served = || engines.iter().map(|engine| engine.stats().finished);
    until("every response is counted", || served().sum::<u64>() == 60).await;
    let served: Vec<u64> = served().collect();
    assert!(served.iter().all(|&served| served > 0), "{served:?}");
    service.all_slots_back().await;
}

/// Runs all futures concurrently.
async fn join_all<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in &mut running {
            if output.is_none()
                && let std::task::Poll::Ready(done) = future.as_mut().poll(cx)
            {
                *output = Some(done);
            }
        }
        if running.iter().all(|(_, output)| output.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    running
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}
