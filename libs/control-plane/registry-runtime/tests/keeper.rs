//! The keeper: what is written and when, and what a store that fails costs.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::{sync::Arc, time::Duration};

use captured_log::Log;
use common::{
    Running, beat, id, register, start_with,
    store::{Fickle, Health},
    without_prober,
};
use registry_store::Change;
use service_registry::{FORGET_AFTER, Target};
use tokio::time::Instant;
use tracing::Level;

fn running() -> (Arc<Fickle>, Running) {
    let store = Fickle::new();
    let running = start_with(without_prober(), store.clone());
    (store, running)
}

/// The paused clock goes on only when nobody has anything left to do.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn drain(running: &Running, node: &str) {
    running.handle.drain(&Target::Node(id(node)), None).unwrap();
}

// spec: KEEP-1
#[tokio::test(start_paused = true)]
async fn everything_that_matters_is_kept() {
    let (store, running) = running();
    running.handle.register(register("a")).unwrap();
    running.handle.register(register("b")).unwrap();
    drain(&running, "b");
    running.handle.deregister(&id("a"), None).unwrap();
    running.stop().await;
    assert_eq!(store.has(), ["b*"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_at_once_is_written_once() {
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
async fn what_is_undone_before_it_is_written_is_not_written() {
    let (store, running) = running();
    running.handle.register(register("a")).unwrap();
    store.asked(1).await;
    settle().await;
    let before = store.times();
    drain(&running, "a");
    running.handle.undrain(&Target::Node(id("a"))).unwrap();
    running.handle.register(register("b")).unwrap();
    running.handle.deregister(&id("b"), None).unwrap();
    settle().await;
    running.stop().await;
    assert_eq!(store.times(), before);
}

// spec: KEEP-31
#[tokio::test(start_paused = true)]
async fn of_a_large_fleet_that_joins_at_once_everything_is_written() {
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
async fn slots_that_come_and_go_are_not_written() {
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
async fn a_store_that_hangs_keeps_nobody_waiting() {
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
async fn a_store_that_fails_is_said_once_and_made_good() {
    let (log, _guard) = Log::of_this_thread(Level::DEBUG);
    let store = Fickle::new();
    let mut config = without_prober();
    // No silence is a change here.
    config.registry.node_timeout = FORGET_AFTER;
    let running = start_with(config, store.clone());
    running.handle.register(register("a")).unwrap();
    store.asked(1).await;
    for health in [Health::Failing, Health::Panicking] {
        let before = store.times();
        log.take();
        store.set(health);
        drain(&running, "a");
        store.asked(before + 1).await;
        // With the next change.
        running.handle.register(register("b")).unwrap();
        store.asked(before + 2).await;
        // And without any.
        let waited = Instant::now();
        store.asked(before + 4).await;
        assert!(
            waited.elapsed() >= Duration::from_secs(10),
            "{:?}",
            waited.elapsed()
        );
        assert_eq!(store.has(), ["a"]);
        store.set(Health::Well);
        store.asked(before + 5).await;
        assert_eq!(store.has(), ["a*", "b"]);
        // As it was.
        running.handle.undrain(&Target::Node(id("a"))).unwrap();
        running.handle.deregister(&id("b"), None).unwrap();
        store.asked(before + 6).await;
        assert_eq!(store.has(), ["a"]);
        let said = log.take();
        assert_eq!(said.matches(" WARN ").count(), 1, "{said}");
        assert_eq!(said.matches("is saved again").count(), 1, "{said}");
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
    let said = log.take();
    for part in [
        "could not be saved; requests are served",
        "fickle",
        "no storage space",
        "last changes",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
}

// spec: KEEP-7
#[tokio::test(start_paused = true)]
async fn a_write_that_failed_and_arrived_is_settled() {
    let (store, running) = running();
    store.set(Health::Unsure);
    running.handle.register(register("a")).unwrap();
    store.asked(1).await;
    assert_eq!(store.has(), ["a"]);
    // For the keeper nothing was ever written; the store has it all the same.
    running.handle.deregister(&id("a"), None).unwrap();
    store.set(Health::Well);
    running.stop().await;
    assert_eq!(store.has(), [""; 0]);
    let last = store.asked(2).await.pop();
    assert_eq!(last, Some(vec![Change::Remove(id("a"))]));
}

// spec: KEEP-5
#[tokio::test(start_paused = true)]
async fn who_is_forgotten_leaves_the_store() {
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
