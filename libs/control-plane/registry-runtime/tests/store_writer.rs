//! The store writer: what it writes and when, and failing stores.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::{sync::Arc, time::Duration};

use captured_log::Log;
use common::{
    Running, beat, id, register, start_with,
    store::{FaultyStore, Health},
    without_prober,
};
use registry_store::Change;
use service_registry::{FORGET_AFTER, Target};
use tokio::time::Instant;
use tracing::Level;

fn running() -> (Arc<FaultyStore>, Running) {
    let store = FaultyStore::new();
    let running = start_with(without_prober(), store.clone());
    (store, running)
}

/// Waits until all tasks are idle, because only then the paused clock advances.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn drain(running: &Running, node: &str) {
    drop(running.handle.drain(&Target::Node(id(node)), None).unwrap());
}

// spec: KEEP-1
#[tokio::test(start_paused = true)]
async fn nodes_and_drains_are_stored() {
    let (store, running) = running();
    running.handle.register(register("a")).unwrap();
    running.handle.register(register("b")).unwrap();
    drain(&running, "b");
    running.handle.deregister(&id("a"), None).unwrap();
    running.stop().await;
    assert_eq!(store.has(), ["b*"]);
}

#[tokio::test(start_paused = true)]
async fn simultaneous_changes_share_a_write() {
    let (store, running) = running();
    for i in 0..40 {
        running
            .handle
            .register(register(&format!("node-{i}")))
            .unwrap();
    }
    let asked = store.asked(1).await;
    assert_eq!(asked[0].len(), 40);
    running.stop().await;
    assert_eq!(store.times(), 1);
}

// spec: KEEP-31
#[tokio::test(start_paused = true)]
async fn undone_changes_are_not_written() {
    let (store, running) = running();
    running.handle.register(register("a")).unwrap();
    store.asked(1).await;
    settle().await;
    let before = store.times();
    drain(&running, "a");
    drop(running.handle.undrain(&Target::Node(id("a"))).unwrap());
    running.handle.register(register("b")).unwrap();
    running.handle.deregister(&id("b"), None).unwrap();
    settle().await;
    running.stop().await;
    assert_eq!(store.times(), before);
}

// spec: KEEP-31
#[tokio::test(start_paused = true)]
async fn a_large_fleet_that_joins_at_once_is_written_in_parts() {
    let (store, running) = running();
    for i in 0..9000 {
        running
            .handle
            .register(register(&format!("node-{i:04}")))
            .unwrap();
    }
    running.stop().await;
    let asked = store.asked(1).await;
    assert!(asked.len() > 1 && asked.iter().all(|changes| changes.len() <= 8192 + 256));
    assert_eq!(store.has().len(), 9000);
}

// spec: KEEP-6
#[tokio::test(start_paused = true)]
async fn changes_of_free_slots_are_not_written() {
    let (store, running) = running();
    running.handle.register(register("a")).unwrap();
    running.handle.heartbeat(&id("a"), beat(4)).unwrap();
    settle().await;
    let before = store.times();
    assert_ne!(before, 0);
    for slots_free in [0, 3, 1, 4] {
        running
            .handle
            .heartbeat(&id("a"), beat(slots_free))
            .unwrap();
        settle().await;
    }
    running.stop().await;
    assert_eq!(store.times(), before);
}

// spec: KEEP-7
#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_delays_no_node() {
    let (store, running) = running();
    store.close();
    for (node, slots_free) in [("a", 1), ("b", 2), ("c", 3)] {
        running.handle.register(register(node)).unwrap();
        running
            .handle
            .heartbeat(&id(node), beat(slots_free))
            .unwrap();
    }
    assert_eq!(running.routes.len(), 3);
    assert_eq!(store.times(), 0);
    store.open();
    running.stop().await;
    assert_eq!(store.has(), ["a", "b", "c"]);
}

// spec: KEEP-7
#[tokio::test(start_paused = true)]
async fn a_failing_store_is_logged_once_and_retried() {
    let (log, _guard) = Log::of_this_thread(Level::DEBUG);
    let store = FaultyStore::new();
    let mut config = without_prober();
    // No silence is a change here.
    config.registry = config.registry.with_node_timeout(FORGET_AFTER).unwrap();
    let running = start_with(config, store.clone());
    running.handle.register(register("a")).unwrap();
    store.asked(1).await;
    for health in [Health::Failing, Health::Panicking] {
        let before = store.times();
        log.take();
        store.set(health);
        drain(&running, "a");
        store.asked(before + 1).await;
        // It tries again with the next change.
        running.handle.register(register("b")).unwrap();
        store.asked(before + 2).await;
        // And without a change.
        let waited = Instant::now();
        store.asked(before + 4).await;
        assert!(
            waited.elapsed() >= Duration::from_secs(10),
            "{:?}",
            waited.elapsed()
        );
        assert_eq!(store.has(), ["a"]);
        store.set(Health::Healthy);
        store.asked(before + 5).await;
        assert_eq!(store.has(), ["a*", "b"]);
        // Back to the first state.
        drop(running.handle.undrain(&Target::Node(id("a"))).unwrap());
        running.handle.deregister(&id("b"), None).unwrap();
        store.asked(before + 6).await;
        assert_eq!(store.has(), ["a"]);
        let text = log.take();
        assert_eq!(text.matches(" WARN ").count(), 1, "{text}");
        assert_eq!(text.matches("is saved again").count(), 1, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_warning_names_the_cause() {
    let (log, _guard) = Log::of_this_thread(Level::DEBUG);
    let (store, running) = running();
    store.set(Health::Failing);
    running.handle.register(register("a")).unwrap();
    store.asked(1).await;
    running.stop().await;
    let text = log.take();
    for part in [
        "could not be saved; requests are served",
        "faulty",
        "no storage space",
        "last changes",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

// spec: KEEP-7
#[tokio::test(start_paused = true)]
async fn a_failed_write_that_arrived_is_corrected() {
    let (store, running) = running();
    store.set(Health::Unsure);
    running.handle.register(register("a")).unwrap();
    store.asked(1).await;
    assert_eq!(store.has(), ["a"]);
    // The writer saw a failure, but the store has the node.
    running.handle.deregister(&id("a"), None).unwrap();
    store.set(Health::Healthy);
    running.stop().await;
    assert_eq!(store.has(), [""; 0]);
    let last = store.asked(2).await.pop();
    assert_eq!(last, Some(vec![Change::Remove(id("a"))]));
}

// spec: KEEP-5
#[tokio::test(start_paused = true)]
async fn a_forgotten_node_leaves_the_store() {
    let (store, running) = running();
    running.handle.register(register("a")).unwrap();
    let from = Instant::now();
    // Kept, offline, forgotten.
    let asked = store.asked(3).await;
    assert_eq!(asked[2], [Change::Remove(id("a"))]);
    assert!(from.elapsed() >= FORGET_AFTER + Duration::from_secs(30));
    assert_eq!(store.has(), [""; 0]);
    running.stop().await;
}
