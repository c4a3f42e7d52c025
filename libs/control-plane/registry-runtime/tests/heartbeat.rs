//! Heartbeats as they come over the wire: what is repeated is recognised, and whatever comes, the
//! outcome is that of the whole message.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{Running, id, register, start, without_prober};
use pool_registry_types::HeartbeatRequest;
use registry_runtime::HeartbeatError;
use routing_table::EndpointState;
use serde_json::{Value, json};
use service_registry::{HeartbeatOutcome, NodeView, RegistryError};

fn said(seq: u64, slots_free: u32) -> Value {
    json!({
        "timestamp": "2025-09-30T22:00:00Z", "incarnation": 1, "seq": seq,
        "pools": [{"pool_id": "pool-0", "ready": true, "draining": false, "slots_free": slots_free,
            "slots_total": 4}],
        "gpus": [{"device_id": 0, "name": "RTX 3090"}],
    })
}

fn with(mut message: Value, field: &str, value: Value) -> Value {
    message[field] = value;
    message
}

fn joined() -> Running {
    let running = start(without_prober());
    running.handle.register(register("a")).unwrap();
    running
}

/// What people see, but for when it was.
fn shown(running: &Running) -> NodeView {
    let mut view = running.handle.node(&id("a")).unwrap();
    view.last_heard = Default::default();
    view
}

fn send(running: &Running, body: &str) -> Result<HeartbeatOutcome, HeartbeatError> {
    running.handle.heartbeat_bytes(&id("a"), body.as_bytes())
}

// spec: LIVE-37, LIVE-10
#[tokio::test(start_paused = true)]
async fn each_report_counts_whether_it_repeats_the_last_or_not() {
    let running = joined();
    let mut number = 0;
    for (message, expected) in [
        (said(1, 4), HeartbeatOutcome::Changed),
        (said(2, 4), HeartbeatOutcome::Unchanged),
        (said(3, 4), HeartbeatOutcome::Unchanged),
        (said(4, 1), HeartbeatOutcome::Unchanged),
        (said(5, 1), HeartbeatOutcome::Unchanged),
        (
            with(said(6, 1), "gpus", Value::Null),
            HeartbeatOutcome::Unchanged,
        ),
        (
            with(said(7, 1), "pools", json!([])),
            HeartbeatOutcome::Changed,
        ),
        (said(8, 2), HeartbeatOutcome::Changed),
    ] {
        assert_eq!(
            send(&running, &message.to_string()).unwrap(),
            expected,
            "{message}"
        );
        if message["pools"] != json!([]) {
            let report = running.routes.report("a").unwrap();
            assert!(report.number > number, "{message}");
            number = report.number;
            assert_eq!(
                u64::from(report.slots_free),
                message["pools"][0]["slots_free"],
                "{message}"
            );
        }
        let gpus = shown(&running).gpus.is_some();
        assert_eq!(gpus, !message["gpus"].is_null());
    }
    let late = send(&running, &said(8, 2).to_string()).unwrap();
    assert_eq!(late, HeartbeatOutcome::Ignored);
}

// spec: LIVE-37
#[tokio::test(start_paused = true)]
async fn one_way_or_the_other_the_effect_is_the_same() {
    let (bytes, typed) = (joined(), joined());
    let spaced = said(3, 4).to_string().replace(':', " : ");
    for body in [
        said(1, 4).to_string(),
        said(2, 4).to_string(),
        spaced,
        // The same again, of which one part is not a heartbeat's.
        with(said(4, 4), "timestamp", json!(7)).to_string(),
        with(said(4, 4), "seq", json!("4")).to_string(),
        with(said(4, 4), "incarnation", json!(-1)).to_string(),
        with(said(4, 4), "incarnation", json!(2)).to_string(),
        with(said(4, 4), "incarnation", json!(0)).to_string(),
        with(said(4, 4), "unknown", json!({"x": [1, 2]})).to_string(),
        said(5, 4).to_string() + "x",
        said(5, 4).to_string().replace('}', ""),
        said(5, 4).to_string().replacen('{', r#"{"seq":5,"#, 1),
        said(5, 5).to_string(),
        with(said(5, 4), "pools", Value::Null).to_string(),
        with(said(5, 4), "gpus", json!({})).to_string(),
        with(said(5, 4), "timestamp", json!("\u{1b}[2J")).to_string(),
        said(6, 4).to_string(),
        String::new(),
    ] {
        let compared = match send(&bytes, &body) {
            Err(HeartbeatError::Invalid(_) | HeartbeatError::Trailing(_)) => None,
            Err(HeartbeatError::Refused(error)) => Some(Err(error)),
            Ok(outcome) => Some(Ok(outcome)),
        };
        let whole = serde_json::from_str::<HeartbeatRequest>(&body).ok();
        let whole = whole.map(|request| typed.handle.heartbeat(&id("a"), request));
        assert_eq!(compared, whole, "{body}");
        assert_eq!(shown(&bytes), shown(&typed), "{body}");
    }
    assert_eq!(
        bytes.routes.report("a").unwrap().state,
        EndpointState::Ready
    );
}

// spec: WIRE-4, WIRE-5
#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_named_and_said_before_who_sent_it() {
    let running = start(without_prober());
    for (body, expected) in [
        (with(said(1, 4), "seq", json!("x")), "seq: invalid type"),
        (
            said(1, 5),
            "pools[0]: slots_free must be at most slots_total (4), not 5",
        ),
    ] {
        let error = send(&running, &body.to_string()).unwrap_err();
        assert!(matches!(error, HeartbeatError::Invalid(_)));
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = send(&running, &said(1, 4).to_string()).unwrap_err();
    assert!(matches!(
        error,
        HeartbeatError::Refused(RegistryError::UnknownNode { .. })
    ));
}
