//! Messages that version 0.1.0 wrote are read, and written again with the same bytes.
//!
//! A message of this version without later fields is a message of version 0.1.0.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::fmt::Debug;

use pool_registry_types::{HeartbeatRequest, HeartbeatResponse, RegisterRequest, RegisterResponse};
use serde::{Serialize, de::DeserializeOwned};

/// `recorded` is parsed, has the expected content, and is written with the same bytes.
fn is_kept<T: Serialize + DeserializeOwned + Debug>(recorded: &str) -> T {
    let message: T = serde_json::from_str(recorded).unwrap();
    assert_eq!(serde_json::to_string(&message).unwrap(), recorded);
    message
}

// spec: WIRE-30
#[test]
fn messages_of_version_0_1_0_keep_their_bytes() {
    let request: RegisterRequest = is_kept(include_str!("recorded/register-0.1.0.json"));
    assert!(!request.takes_replica_hint, "its pools are its endpoints");
    let answer: RegisterResponse = is_kept(include_str!("recorded/register-answer-0.1.0.json"));
    assert_eq!(
        (answer.next_heartbeat_ms, answer.timeout_ms),
        (Some(10_000), Some(30_000))
    );
    let beat: HeartbeatRequest = is_kept(include_str!("recorded/heartbeat-0.1.0.json"));
    let replicas = beat
        .pools
        .iter()
        .flat_map(|pool| pool.replicas.iter().flatten());
    assert_eq!(
        replicas
            .map(|replica| replica.generation)
            .collect::<Vec<_>>(),
        [None, None]
    );
    is_kept::<HeartbeatRequest>(include_str!("recorded/heartbeat-empty-0.1.0.json"));
    let answer: HeartbeatResponse = is_kept(include_str!("recorded/heartbeat-answer-0.1.0.json"));
    assert_eq!(answer.timeout_ms, None, "as when it registered");
}

// spec: WIRE-30
#[test]
fn later_fields_are_added_and_none_is_required() {
    let recorded = include_str!("recorded/register-0.1.0.json");
    let later = recorded.replacen('{', r#"{"takes_replica_hint":true,"#, 1);
    let request: RegisterRequest = serde_json::from_str(&later).unwrap();
    assert!(request.takes_replica_hint);
    let recorded = include_str!("recorded/heartbeat-0.1.0.json");
    let later = recorded.replace(
        r#""replica_id":"r0","#,
        r#""replica_id":"r0","generation":7,"#,
    );
    let beat: HeartbeatRequest = serde_json::from_str(&later).unwrap();
    assert_eq!(
        beat.pools[0].replicas.as_ref().unwrap()[0].generation,
        Some(7)
    );
    let answer: HeartbeatResponse =
        serde_json::from_str(r#"{"success":true,"next_heartbeat_ms":20000,"timeout_ms":60000}"#)
            .unwrap();
    assert_eq!(answer.timeout_ms, Some(60_000));
    // `null` counts as absent.
    let absent = r#"{"success":true,"next_heartbeat_ms":20000,"timeout_ms":null}"#;
    assert_eq!(
        serde_json::from_str::<HeartbeatResponse>(absent)
            .unwrap()
            .timeout_ms,
        None
    );
}
