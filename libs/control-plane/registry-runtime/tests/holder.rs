//! Two machines with one node id: the registered one is asked who it is.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{agent::Agent, id, register_at, start_with, store::FaultyStore, without_prober};
use pool_registry_types::{BootId, RegisterRequest};
use service_registry::{RegisterOutcome, RegistryError};

/// What the agent of the registered incarnation says.
const HOLDER: &str = concat!(
    "HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n",
    r#"{"status":"ok","node_id":"a","incarnation":1}"#
);
/// What the agent of another incarnation says.
const OTHER: &str = concat!(
    "HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n",
    r#"{"status":"ok","node_id":"a","incarnation":2}"#
);

fn booted(address: &str, incarnation: u64, boot: &str) -> RegisterRequest {
    let mut request = register_at("a", address);
    request.incarnation = Some(incarnation);
    request.boot_id = Some(BootId::new(boot).unwrap());
    request
}

// spec: LIVE-42
#[tokio::test]
async fn a_holder_that_answers_keeps_its_id_and_any_other_loses_it_at_once() {
    for (answer, keeps) in [(Some(HOLDER), true), (Some(OTHER), false)] {
        let running = start_with(without_prober(), FaultyStore::new());
        let holder = Agent::start(answer).await;
        let first = booted(&holder.address, 1, "boot-1");
        let first = running.handle.register_unless_held(first).await;
        assert_eq!(first, Ok(RegisterOutcome::Joined));
        assert_eq!(holder.requests(), 0);
        let second = booted("http://192.0.2.1:1", 2, "boot-2");
        let second = running.handle.register_unless_held(second).await;
        assert_eq!(holder.requests(), 1);
        let address = running.handle.node(&id("a")).unwrap().address;
        if keeps {
            assert!(
                matches!(second, Err(RegistryError::HolderAnswers { .. })),
                "{second:?}"
            );
            assert_eq!(address.to_string(), holder.address);
        } else {
            assert_eq!(second, Ok(RegisterOutcome::Restarted));
            assert_eq!(address.host(), "192.0.2.1");
        }
        running.stop().await;
    }
}

// spec: LIVE-42
#[tokio::test]
async fn a_holder_that_cannot_be_reached_loses_its_id_at_once() {
    let running = start_with(without_prober(), FaultyStore::new());
    let gone = Agent::start(Some(HOLDER)).await;
    let address = gone.address.clone();
    running
        .handle
        .register_unless_held(booted(&address, 9, "boot-1"))
        .await
        .unwrap();
    drop(gone);
    // The machine restarted with an earlier clock.
    let again = booted(&address, 2, "boot-2");
    let again = running.handle.register_unless_held(again).await;
    assert_eq!(again, Ok(RegisterOutcome::Restarted));
    running.stop().await;
}
