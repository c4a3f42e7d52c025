//! Restarts of the control plane: known nodes, routes and drains.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    Routes,
    agent::{Agent, OK},
    beat, id, register, register_at, start_with,
    store::FaultyStore,
    without_prober,
};
use pool_registry_types::NodeStatus;
use registry_runtime::{Config, ProberConfig, build};
use registry_store::{FILE_NAME, FileStore, StoreError};
use routing_table::EndpointState;
use service_registry::{HeartbeatOutcome, RegistryError, Target};
use tokio::time::Instant;

/// A control plane with three nodes that report, one of them drained, and what it left in the store
/// when it was killed.
async fn killed() -> Arc<FaultyStore> {
    let store = FaultyStore::new();
    let running = start_with(without_prober(), store.clone());
    for node in ["a", "b", "c"] {
        running.handle.register(register(node)).unwrap();
        running.handle.heartbeat(&id(node), beat(0)).unwrap();
    }
    store.asked(1).await;
    drop(running.handle.drain(&Target::Node(id("b")), None).unwrap());
    store.asked(2).await;
    running.kill().await;
    assert_eq!(store.has(), ["a", "b*", "c"]);
    store
}

// spec: LIVE-8, KEEP-1
#[tokio::test(start_paused = true)]
async fn no_node_is_offline_before_a_full_timeout() {
    let running = start_with(without_prober(), killed().await);
    let started = Instant::now();
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    running.handle.heartbeat(&id("a"), beat(4)).unwrap();
    running.until_status("c", NodeStatus::Offline).await;
    let after = started.elapsed();
    assert!(
        after >= Duration::from_secs(30) && after <= Duration::from_millis(30_002),
        "{after:?}"
    );
    assert_eq!(running.status("a"), Some(NodeStatus::Online));
}

// spec: KEEP-3
#[tokio::test(start_paused = true)]
async fn a_heartbeat_of_a_known_incarnation_needs_no_registration() {
    let running = start_with(without_prober(), killed().await);
    assert_eq!(
        running.handle.heartbeat(&id("a"), beat(4)),
        Ok(HeartbeatOutcome::Changed)
    );
    assert_eq!(running.routes.state("a"), Some(EndpointState::Ready));
    // A heartbeat of another incarnation does.
    let mut next = beat(4);
    next.incarnation = Some(2);
    assert_eq!(
        running.handle.heartbeat(&id("c"), next),
        Err(RegistryError::UnknownNode { node_id: id("c") })
    );
}

// spec: LIVE-9, KEEP-1
#[tokio::test(start_paused = true)]
async fn a_drain_holds_until_it_is_undone() {
    let store = killed().await;
    for _ in 0..2 {
        let running = start_with(without_prober(), store.clone());
        running.handle.heartbeat(&id("b"), beat(4)).unwrap();
        assert_eq!(running.routes.state("b"), Some(EndpointState::Draining));
        running.stop().await;
    }
    let running = start_with(without_prober(), store.clone());
    drop(running.handle.undrain(&Target::Node(id("b"))).unwrap());
    running.stop().await;
    let running = start_with(without_prober(), store);
    running.handle.heartbeat(&id("b"), beat(4)).unwrap();
    assert_eq!(running.routes.state("b"), Some(EndpointState::Ready));
}

// spec: KEEP-6
#[tokio::test(start_paused = true)]
async fn a_start_without_changes_writes_nothing() {
    let store = killed().await;
    let before = store.times();
    let running = start_with(without_prober(), store.clone());
    for node in ["a", "b", "c"] {
        running.handle.probed(&id(node), Some(1), Ok(()));
        running.handle.heartbeat(&id(node), beat(3)).unwrap();
    }
    running.stop().await;
    assert_eq!(store.times(), before);
}

/// On the real clock, with real sockets and a real file.
// spec: KEEP-2
#[tokio::test]
async fn the_first_probe_makes_a_known_node_routable() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Arc::new(FileStore::open(directory.path()).unwrap());
    let agent = Agent::start(Some(OK)).await;
    let before = start_with(without_prober(), open());
    for node in ["a", "b"] {
        let registration = register_at(node, &agent.address);
        before.handle.register(registration).unwrap();
        // All slots are taken when it goes down.
        before.handle.heartbeat(&id(node), beat(0)).unwrap();
    }
    drop(before.handle.drain(&Target::Node(id("b")), None).unwrap());
    before.stop().await;
    assert_eq!(agent.requests(), 0);

    // A second probe would come in an hour, and no heartbeat comes at all.
    let config = Config {
        prober: Some(ProberConfig {
            interval: Duration::from_secs(3600),
            ..ProberConfig::default()
        }),
        ..Config::default()
    };
    let after = start_with(config, open());
    assert_eq!(after.routes.state("a"), Some(EndpointState::NotReady));
    for (node, wanted) in [("a", EndpointState::Ready), ("b", EndpointState::Draining)] {
        after
            .until(node, |after| after.routes.state(node) == Some(wanted))
            .await;
        assert_eq!(after.routes.report(node).unwrap().slots_free, 4);
    }
    assert_eq!(agent.requests(), 2);
    after.stop().await;
}

// spec: KEEP-9
#[tokio::test]
async fn a_store_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    drop(store);
    std::fs::write(directory.path().join(FILE_NAME), "something else").unwrap();
    let error = FileStore::open(directory.path())
        .and_then(|store| {
            build(
                without_prober(),
                Arc::new(store),
                Arc::new(Routes::default()),
                event_log::EventLog::new(),
            )
        })
        .unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
}
