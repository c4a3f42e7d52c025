//! A registration against a control plane on a real socket.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test fail like the test"
)]

mod server;

use std::time::Duration;

use node_registration::{
    ApiToken, DeregisterError, NodeRegistration, RegistrationConfig, RegistrationHandle,
    RegistrationState,
};
use pool_registry_types::PoolStatus;
use server::{Answer, Port, Server};

/// Much longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

const REGISTERED: Answer = Answer::json(
    200,
    r#"{"success":true,"message":"welcome","node_id":"node","next_heartbeat_ms":10000,
        "timeout_ms":30000}"#,
);
const ACCEPTED: Answer = Answer::json(200, r#"{"success":true,"next_heartbeat_ms":10000}"#);
const UNKNOWN: Answer = Answer::json(
    404,
    r#"{"error":{"code":"UNKNOWN_NODE","message":"register first","retriable":true}}"#,
);
const STALE: Answer = Answer::json(
    409,
    r#"{"error":{"code":"STALE_INCARNATION","message":"a later one is known","retriable":false}}"#,
);

fn config(port: u16) -> RegistrationConfig {
    RegistrationConfig::new(
        "node".parse().unwrap(),
        "machine".parse().unwrap(),
        "http://node:9200".parse().unwrap(),
        format!("http://127.0.0.1:{port}").parse().unwrap(),
    )
    .with_heartbeat_interval(Duration::from_millis(20))
}

fn pools() -> Vec<PoolStatus> {
    vec![
        serde_json::from_str(
            r#"{"pool_id":"pool-0","ready":true,"draining":false,"slots_free":3,"slots_total":4,
                "engine":"llamacpp"}"#,
        )
        .unwrap(),
    ]
}

fn start(config: RegistrationConfig) -> RegistrationHandle {
    NodeRegistration::new(config).start(pools).unwrap()
}

// spec: CLOUD-3010
#[test]
fn register_heartbeat_forgotten_register_deregister() {
    let server = Server::start();
    let registration = start(config(server.port()));

    let register = server.answer(REGISTERED);
    assert_eq!(register.line, "POST /v2/nodes/register HTTP/1.1");
    assert_eq!(register.json()["node_id"], "node");
    assert_eq!(register.json()["address"], "http://node:9200");
    let incarnation = register.json()["incarnation"].clone();
    assert!(incarnation.is_u64());
    assert_eq!(register.header("authorization"), None);

    for seq in 1..4 {
        let heartbeat = server.answer(ACCEPTED);
        assert_eq!(heartbeat.line, "POST /v2/nodes/node/heartbeat HTTP/1.1");
        assert_eq!(heartbeat.json()["seq"], seq);
        assert_eq!(heartbeat.json()["incarnation"], incarnation);
        assert_eq!(heartbeat.json()["pools"][0]["slots_free"], 3);
        assert_eq!(
            heartbeat.connection, register.connection,
            "the connection is kept"
        );
    }

    server.answer(UNKNOWN);
    let again = server.answer(REGISTERED);
    assert_eq!(again.line, "POST /v2/nodes/register HTTP/1.1");
    assert_eq!(again.json()["incarnation"], incarnation);
    server.answer(ACCEPTED);

    // A heartbeat may be in flight when stopping begins.
    let stopper = std::thread::spawn(move || registration.deregister(DEADLINE));
    let last = loop {
        let request = server.answer(ACCEPTED);
        if request.line.starts_with("DELETE") {
            break request;
        }
    };
    let line = format!("DELETE /v2/nodes/node?incarnation={incarnation} HTTP/1.1");
    assert_eq!(last.line, line);
    assert_eq!(stopper.join().unwrap(), Ok(()));
}

#[test]
fn the_token_is_sent_with_every_request() {
    let server = Server::start();
    let token = ApiToken::new("0123456789abcdef0123456789abcdef".to_owned()).unwrap();
    let registration = start(config(server.port()).with_token(token));
    let expected = Some("Bearer 0123456789abcdef0123456789abcdef");
    assert_eq!(server.answer(REGISTERED).header("authorization"), expected);
    assert_eq!(server.answer(ACCEPTED).header("authorization"), expected);
    let stopper = std::thread::spawn(move || registration.deregister(DEADLINE));
    let last = loop {
        let request = server.answer(ACCEPTED);
        if request.line.starts_with("DELETE") {
            break request;
        }
    };
    assert_eq!(last.header("authorization"), expected);
    stopper.join().unwrap().unwrap();
}

// spec: REG-3
#[test]
fn a_control_plane_that_starts_later_is_found() {
    let port = Port::reserve();
    let registration = start(config(port.number()));
    server::wait_for(|| registration.status().failures >= 2);
    let status = registration.status();
    assert_eq!(status.state, RegistrationState::Registering);
    assert!(status.last_error.unwrap().contains("refused"));

    let server = Server::start_on(port);
    assert_eq!(
        server.answer(REGISTERED).line,
        "POST /v2/nodes/register HTTP/1.1"
    );
    server.answer(ACCEPTED);
    server::wait_for(|| registration.status().heartbeats == 1);
    assert_eq!(registration.status().failures_in_a_row, 0);
}

#[test]
fn a_control_plane_that_restarts_finds_the_node_again() {
    let server = Server::start();
    let registration = start(config(server.port()));
    server.answer(REGISTERED);
    server.answer(ACCEPTED);
    let port = server.close();
    server::wait_for(|| registration.status().failures_in_a_row >= 1);

    let server = Server::start_on(port);
    assert_eq!(
        server.answer(UNKNOWN).line,
        "POST /v2/nodes/node/heartbeat HTTP/1.1"
    );
    assert_eq!(
        server.answer(REGISTERED).line,
        "POST /v2/nodes/register HTTP/1.1"
    );
    server.answer(ACCEPTED);
    server::wait_for(|| registration.status().failures_in_a_row == 0);
}

#[test]
fn a_later_incarnation_silences_this_one() {
    let server = Server::start();
    let registration = start(config(server.port()));
    server.answer(REGISTERED);
    server.answer(STALE);
    server::wait_for(|| registration.status().state == RegistrationState::Superseded);
    let error = registration.status().last_error.unwrap();
    assert_eq!(error, "409 STALE_INCARNATION: a later one is known");
    // The server answers nothing any more, so a DELETE would fail here.
    assert_eq!(registration.deregister(DEADLINE), Ok(()));
}

#[test]
fn a_request_without_an_answer_times_out() {
    let server = Server::start();
    let timeout = Duration::from_millis(50);
    let registration = start(config(server.port()).with_request_timeout(timeout));
    server.answer(Answer::Silence);
    server::wait_for(|| registration.status().failures >= 1);
    assert!(
        registration
            .status()
            .last_error
            .unwrap()
            .contains("timeout")
    );
    // On a busy machine an answer of this test may be late, too: then the request is repeated.
    while registration.status().registrations == 0 {
        server.answer(REGISTERED);
    }
}

// spec: REG-8
#[test]
fn stopping_does_not_wait_for_a_missing_answer() {
    let server = Server::start();
    let registration = start(config(server.port()));
    server.answer(REGISTERED);
    server.answer(Answer::Silence);
    let short = Duration::from_millis(20);
    assert_eq!(
        registration.deregister(short),
        Err(DeregisterError::TimedOut(short))
    );
}

#[test]
fn another_service_on_the_port_is_recognised() {
    let server = Server::start();
    let registration = start(config(server.port()));
    server.answer(Answer::json(200, "<html>hello\n</html>"));
    server::wait_for(|| registration.status().failures == 1);
    let error = registration.status().last_error.unwrap();
    assert!(
        error.contains("not the answer of a control plane"),
        "{error}"
    );
    assert!(!error.contains('\n'), "{error:?}");
}
