//! Engines that fail, before and after the first byte.

use fake_engine::{FakeEngine, Fault, Script};

use crate::harness::{
    Service, endpoint, engines, error_of, events, header, over_tcp, table, text, until,
};

fn failing(fault: Fault) -> Script {
    Script {
        fault: Some(fault),
        ..Script::default()
    }
}

// spec: PATH-3
#[tokio::test]
async fn a_request_that_is_refused_before_its_first_byte_is_retried_elsewhere() {
    for status in [502, 503] {
        for stream in [false, true] {
            let engines = engines([failing(Fault::Proxy(status)), Script::default()]);
            let service = Service::over(&engines).await;
            let answer = service.chat(stream, "").await;
            assert_eq!(answer.status(), 200);
            let (replica, attempts) = (
                header(&answer, "x-llorch-replica"),
                header(&answer, "x-llorch-attempts"),
            );
            assert_eq!((replica, attempts), ("r1", "2"), "{status}");
            let (text, whole) = text(answer).await;
            assert!(whole && !text.contains("error"), "{status}: {text}");
            service.all_slots_back().await;
        }
    }
}

// spec: PATH-3
#[tokio::test]
async fn an_engine_that_is_killed_before_its_first_byte_loses_no_request() {
    for stream in [false, true] {
        let [doomed, other] = engines([failing(Fault::Silent), Script::default()]);
        let engines = [doomed, other];
        let service = Service::over(&engines).await;
        let [doomed, _other] = engines;
        let (answer, ()) = tokio::join!(service.chat(stream, ""), async {
            doomed.until(|stats| stats.running == 1).await;
            doomed.stop();
        });
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "x-llorch-replica"), "r1");
    }
}

// spec: PATH-4
#[tokio::test]
async fn a_response_in_one_piece_that_breaks_off_is_retried_elsewhere() {
    let engines = engines([failing(Fault::Cut(3)), Script::default()]);
    let service = Service::over(&engines).await;
    let answer = service.chat(false, "").await;
    assert_eq!(
        (
            answer.status().as_u16(),
            header(&answer, "x-llorch-replica")
        ),
        (200, "r1")
    );
    assert!(text(answer).await.1);
}

// spec: ADM-6
#[tokio::test]
async fn a_dead_engine_is_skipped_and_then_avoided() {
    let [dead, alive] = engines([Script::default(), Script::default()]);
    let table = table(&[dead, alive]);
    // Restarted on the same port, so that the table's second endpoint works.
    let port = table[1].target.port();
    let alive = restarted(port);
    let service = Service::with(Default::default(), Default::default(), table).await;
    for (attempts, _) in [("2", "first"), ("1", "second"), ("1", "third")] {
        let answer = service.chat(false, "").await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-attempts")
            ),
            (200, attempts)
        );
    }
    assert!(
        service.admission.snapshot().endpoints[0]
            .open_breaker
            .is_some()
    );
    // An engine counts a response once it has written it, shortly after the client has read it.
    until("every response is counted", || alive.stats().finished == 3).await;
}

fn restarted(port: u16) -> FakeEngine {
    let options = fake_engine::Options {
        port,
        ..Default::default()
    };
    FakeEngine::start_with(Script::default(), options).unwrap()
}

#[tokio::test]
async fn when_all_endpoints_fail_the_client_gets_the_error() {
    let engines = engines([failing(Fault::Proxy(503)), failing(Fault::Cut(0))]);
    let service = Service::over(&engines).await;
    let answer = service.chat(false, "").await;
    assert!(
        matches!(answer.status().as_u16(), 502 | 503),
        "{}",
        answer.status()
    );
    let (text, _) = text(answer).await;
    assert!(
        ["POOL_UNAVAILABLE", "WORKER_RESET"].contains(&error_of(&text)["code"].as_str().unwrap()),
        "{text}"
    );
    assert!(
        !text.contains("127.0.0.1"),
        "errors must not contain addresses: {text}"
    );
    service.all_slots_back().await;
}

// spec: PATH-11
#[tokio::test]
async fn an_engines_own_error_is_passed_on() {
    for status in [400, 404, 422, 500, 501, 502, 504] {
        let engines = engines([failing(Fault::Refuse(status)), Script::default()]);
        let service = Service::over(&engines).await;
        let answer = service.chat(true, "").await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-attempts")
            ),
            (status, "1")
        );
        assert_eq!(
            engines[1].stats().requests,
            0,
            "another engine would respond with the same error"
        );
    }
}

// spec: ADM-8
#[tokio::test]
async fn client_errors_do_not_open_the_breaker() {
    let engines = engines([failing(Fault::Refuse(400))]);
    let service = Service::over(&engines).await;
    for _ in 0..10 {
        assert_eq!(service.chat(false, "").await.status(), 400);
    }
    assert!(
        service.admission.snapshot().endpoints[0]
            .open_breaker
            .is_none()
    );
}

// spec: ADM-6
#[tokio::test]
async fn three_failures_in_a_row_open_the_breaker() {
    let engines = engines([failing(Fault::Proxy(502)), Script::default()]);
    let service = Service::over(&engines).await;
    for _ in 0..3 {
        service.chat(false, "").await;
    }
    service
        .until("the breaker is open", |service| {
            service.admission.snapshot().endpoints[0]
                .open_breaker
                .is_some()
        })
        .await;
    assert_eq!(
        header(&service.chat(false, "").await, "x-llorch-replica"),
        "r1"
    );
}

// spec: PATH-6
#[tokio::test]
async fn a_stream_that_breaks_ends_in_an_error_event() {
    for fault in [Fault::Cut(3), Fault::EndEarly(3)] {
        let engines = engines([failing(fault), Script::default()]);
        let service = Service::over(&engines).await;
        let answer = service.chat(true, "").await;
        assert_eq!(answer.status(), 200);
        let (text, whole) = text(answer).await;
        assert!(whole, "{fault:?}: the stream itself ends well");
        let events = events(&text);
        assert!(!events.contains(&"[DONE]"), "{text}");
        let (error, tokens) = events.split_last().unwrap();
        assert!(tokens.len() >= 3, "earlier events are passed on: {text}");
        assert!(
            tokens
                .iter()
                .all(|token| serde_json::from_str::<serde_json::Value>(token).is_ok()),
            "{text}"
        );
        assert_eq!(error_of(error)["code"], "WORKER_RESET", "{text}");
        assert_eq!(
            engines[1].stats().requests,
            0,
            "a broken stream is not repeated"
        );
        service.all_slots_back().await;
    }
}

// spec: PATH-6
#[tokio::test]
async fn a_stream_that_stalls_ends_in_an_error_event_and_stops_the_engine() {
    let engines = engines([failing(Fault::Stall(2))]);
    let mut config = inference_gateway::GatewayConfig::default();
    config.timeouts.between_frames = std::time::Duration::from_millis(100);
    let service = Service::with(config, Default::default(), table(&engines)).await;
    let (text, whole) = text(service.chat(true, "").await).await;
    assert!(whole);
    assert_eq!(
        error_of(events(&text).last().unwrap())["code"],
        "WORKER_RESET"
    );
    crate::harness::until("the engine stopped", || engines[0].stats().cancelled == 1).await;
}

#[tokio::test]
async fn another_server_at_a_nodes_address_is_not_its_data_path() {
    let engines = engines([Script::default()]);
    let stranger = over_tcp(endpoint(&engines[0], "r0"));
    let service = Service::with(Default::default(), Default::default(), vec![stranger]).await;
    let answer = service.chat(false, "").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(error_of(&text(answer).await.0)["code"], "NODE_UNAVAILABLE");
    assert!(
        service.admission.snapshot().endpoints[0]
            .open_breaker
            .is_some()
    );
}

#[tokio::test]
async fn broken_streams_open_the_breaker() {
    let engines = engines([failing(Fault::Cut(2)), Script::default()]);
    let service = Service::over(&engines).await;
    for _ in 0..3 {
        text(service.chat(true, "").await).await;
    }
    service
        .until("the breaker is open", |service| {
            service.admission.snapshot().endpoints[0]
                .open_breaker
                .is_some()
        })
        .await;
    assert!(
        text(service.chat(true, "").await)
            .await
            .0
            .ends_with("data: [DONE]\n\n")
    );
}
