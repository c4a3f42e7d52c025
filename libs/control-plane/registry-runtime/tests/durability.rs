//! Drains: when their callers learn that the store has them.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use common::{
    Running, id, register, start_with,
    store::{FaultyStore, Health},
    without_prober,
};
use futures_util::future::join_all;
use registry_runtime::{NotDurable, PendingWrite};
use service_registry::{RegistryError, Target};

/// A registry with the nodes `names`, which the store has.
async fn running(names: &[&str]) -> (Arc<FaultyStore>, Running) {
    let store = FaultyStore::new();
    let running = start_with(without_prober(), store.clone());
    for name in names {
        running.handle.register(register(name)).unwrap();
    }
    store.asked(1).await;
    (store, running)
}

// spec: KEEP-34
#[tokio::test(start_paused = true)]
async fn a_node_that_an_operator_forgets_is_forgotten_when_the_store_has_it() {
    let (store, running) = running(&["a", "b"]).await;
    store.close();
    let mut durable = pin!(running.handle.forget(&id("a")).unwrap().durable());
    assert!(is_pending(&mut durable).await);
    // The registry forgets it at once.
    assert_eq!(running.handle.node(&id("a")), None);
    assert_eq!(store.has(), ["a", "b"]);
    store.open();
    durable.await.unwrap();
    assert_eq!(store.has(), ["b"]);
    assert_eq!(
        running.handle.forget(&id("a")).map(drop),
        Err(RegistryError::UnknownNode { node_id: id("a") })
    );
    // A node that lives registers again.
    running.handle.register(register("a")).unwrap();
    assert!(running.handle.node(&id("a")).is_some());
    running.stop().await;
}

fn drain(running: &Running, node: &str) -> PendingWrite {
    running.handle.drain(&Target::Node(id(node)), None).unwrap()
}

async fn is_pending<F: Future>(future: &mut Pin<&mut F>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

// spec: KEEP-32
#[tokio::test(start_paused = true)]
async fn a_drain_is_durable_when_the_store_has_it() {
    let (store, running) = running(&["a"]).await;
    store.close();
    let mut durable = pin!(drain(&running, "a").durable());
    assert!(is_pending(&mut durable).await);
    assert_eq!(store.has(), ["a"]);
    store.open();
    durable.await.unwrap();
    assert_eq!(store.has(), ["a*"]);
    let undrained = running.handle.undrain(&Target::Node(id("a"))).unwrap();
    undrained.durable().await.unwrap();
    assert_eq!(store.has(), ["a"]);
    running.stop().await;
}

// spec: KEEP-32
#[tokio::test(start_paused = true)]
async fn drains_share_a_write_and_nodes_do_not_wait_for_it() {
    let names: Vec<String> = (0..40).map(|i| format!("n{i:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (store, running) = running(&names).await;
    let before = store.times();
    store.close();
    let drains = names.iter().map(|name| drain(&running, name).durable());
    let drains: Vec<_> = drains.collect();
    // Events of nodes return at once.
    running.handle.register(register("other")).unwrap();
    store.open();
    for durable in join_all(drains).await {
        durable.unwrap();
    }
    assert!(store.times() <= before + 2, "{}", store.times() - before);
    running.stop().await;
}

// spec: KEEP-32
#[tokio::test(start_paused = true)]
async fn a_drain_that_changes_nothing_is_durable_at_once() {
    let (store, running) = running(&["a"]).await;
    drain(&running, "a").durable().await.unwrap();
    let before = store.times();
    drain(&running, "a").durable().await.unwrap();
    assert_eq!(store.times(), before);
    running.stop().await;
}

// spec: KEEP-32
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_an_error_of_the_drain() {
    let (store, running) = running(&["a", "b"]).await;
    for health in [Health::Failing, Health::Panicking] {
        store.set(health);
        let error = drain(&running, "a").durable().await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, NotDurable::Failed(_)), "{text}");
        assert!(text.contains("holds now"), "{text}");
        store.set(Health::Healthy);
        drain(&running, "b").durable().await.unwrap();
        // The failed write is repeated with it.
        assert_eq!(store.has(), ["a*", "b*"]);
        for node in ["a", "b"] {
            let undrained = running.handle.undrain(&Target::Node(id(node))).unwrap();
            undrained.durable().await.unwrap();
        }
    }
    running.stop().await;
}

// spec: KEEP-32
#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_an_error_after_five_seconds() {
    let (store, running) = running(&["a"]).await;
    store.close();
    let mut durable = pin!(drain(&running, "a").durable());
    assert!(is_pending(&mut durable).await);
    tokio::time::advance(Duration::from_millis(4_999)).await;
    assert!(is_pending(&mut durable).await);
    tokio::time::advance(Duration::from_millis(1)).await;
    let error = durable.await.unwrap_err();
    assert_eq!(error, NotDurable::TimedOut(Duration::from_secs(5)));
    store.open();
    running.stop().await;
    assert_eq!(store.has(), ["a*"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_after_the_writer_has_ended_is_not_durable() {
    let (_, running) = running(&["a"]).await;
    let handle = running.handle.clone();
    running.stop().await;
    let pending = handle.drain(&Target::Node(id("a")), None).unwrap();
    assert_eq!(pending.durable().await, Err(NotDurable::Stopped));
}
