//! The registry's task: exact timers, views before answers, one view for many events, and its log.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::time::Duration;

use captured_log::Log;
use common::{Running, beat, id, register, start, without_prober};
use futures_util::future::join_all;
use pool_registry_types::NodeStatus;
use registry_runtime::{CallError, Config};
use service_registry::{HeartbeatOutcome, RegistryError, Target};
use tokio::time::Instant;
use tracing::Level;

fn status(running: &Running, node: &str) -> Option<NodeStatus> {
    let nodes = running.handle.nodes();
    let nodes = nodes.borrow();
    nodes.get(&id(node)).map(|node| node.status)
}

async fn until(running: &Running, node: &str, wanted: NodeStatus) {
    let node = id(node);
    running
        .handle
        .nodes()
        .wait_for(|nodes| nodes.get(&node).is_some_and(|node| node.status == wanted))
        .await
        .unwrap();
}

// spec: LIVE-10
#[tokio::test(start_paused = true)]
async fn who_has_the_answer_sees_its_effect() {
    let running = start(without_prober());
    let table = running.handle.table();
    running.handle.register(register("a")).await.unwrap();
    assert_eq!(status(&running, "a"), Some(NodeStatus::Online));
    for slots_free in [4, 1, 3] {
        running.handle.heartbeat(id("a"), beat(slots_free)).await.unwrap();
        assert_eq!(table.borrow().endpoints()[0].slots_free, slots_free);
    }
    running.handle.drain(Target::Node(id("a")), None).await.unwrap();
    assert_eq!(status(&running, "a"), Some(NodeStatus::Draining));
    running.handle.undrain(Target::Node(id("a"))).await.unwrap();
    assert_eq!(status(&running, "a"), Some(NodeStatus::Online));
    running.handle.deregister(id("a"), None).await.unwrap();
    assert_eq!(status(&running, "a"), None);
    assert!(table.borrow().endpoints().is_empty());
}

// spec: LIVE-1
#[tokio::test(start_paused = true)]
async fn offline_at_the_deadline_whatever_the_check_interval() {
    for stale_check_interval in [Duration::from_millis(1), Duration::from_secs(3600)] {
        let config = Config {
            stale_check_interval,
            ..without_prober()
        };
        let running = start(config);
        running.handle.register(register("a")).await.unwrap();
        tokio::time::advance(Duration::from_millis(3210)).await;
        running.handle.heartbeat(id("a"), beat(4)).await.unwrap();
        let heard = Instant::now();
        until(&running, "a", NodeStatus::Offline).await;
        let after = heard.elapsed();
        // Timers have a resolution of a millisecond.
        assert!(
            after >= Duration::from_secs(30) && after <= Duration::from_millis(30_002),
            "{after:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_at_once_is_published_once() {
    let running = start(without_prober());
    let handle = &running.handle;
    // Few enough that tokio does not make the sender pause in between.
    let names: Vec<String> = (0..40).map(|i| format!("node-{i}")).collect();
    join_all(names.iter().map(|name| handle.register(register(name)))).await;
    let before = handle.table().borrow().version();
    let answers = join_all(names.iter().map(|name| handle.heartbeat(id(name), beat(2)))).await;
    assert!(
        answers
            .iter()
            .all(|answer| *answer == Ok(HeartbeatOutcome::Changed))
    );
    assert_eq!(handle.table().borrow().version(), before + 1);
    assert_eq!(handle.table().borrow().endpoints().len(), 40);
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_publishes_nothing() {
    let running = start(without_prober());
    let mut table = running.handle.table();
    table.mark_unchanged();
    let refused = running.handle.heartbeat(id("a"), beat(1)).await;
    assert_eq!(
        refused,
        Err(CallError::Refused(RegistryError::UnknownNode {
            node_id: id("a")
        }))
    );
    assert!(!table.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_task_and_answers_no_more() {
    let running = start(without_prober());
    running.handle.register(register("a")).await.unwrap();
    assert_eq!(running.handle.alive().await, Ok(()));
    running.shutdown.request();
    running.tasks.join(Duration::from_secs(1)).await.unwrap();
    assert_eq!(running.handle.alive().await, Err(CallError::Stopped));
    assert_eq!(
        running.handle.register(register("b")).await,
        Err(CallError::Stopped)
    );
    // The last views stay: routing does not end before the process does.
    assert_eq!(status(&running, "a"), Some(NodeStatus::Online));
}

// spec: LIVE-11
#[tokio::test(start_paused = true)]
async fn the_log_tells_changes_and_only_changes() {
    let (log, _guard) = Log::of_this_thread(Level::DEBUG);
    let running = start(without_prober());
    let handle = &running.handle;
    let lines = |level: &str| -> Vec<String> {
        log.take()
            .lines()
            .filter(|line| line.trim_start().starts_with(level))
            .map(str::to_owned)
            .collect()
    };
    handle.register(register("a")).await.unwrap();
    let joined = lines("INFO");
    assert!(
        joined.len() == 1 && joined[0].contains("Node joined node_id=a"),
        "{joined:?}"
    );
    handle.heartbeat(id("a"), beat(3)).await.unwrap();
    let changed = lines("INFO");
    assert!(
        changed.len() == 1
            && changed[0].contains(
                "Heartbeat changed state node_id=a pools=[pool-0 ready=true draining=false slots=3/4]"
            ),
        "{changed:?}"
    );
    handle.heartbeat(id("a"), beat(1)).await.unwrap();
    let quiet = log.take();
    assert!(
        quiet.contains("DEBUG") && quiet.contains("Heartbeat node_id=a"),
        "{quiet}"
    );
    assert!(!quiet.contains("INFO"), "{quiet}");
    let mut other = register("a");
    other.machine_id = pool_registry_types::MachineId::new("machine-b").unwrap();
    handle.register(other).await.unwrap_err();
    assert!(lines("WARN")[0].contains("machine-a"));
    until(&running, "a", NodeStatus::Offline).await;
    assert!(lines("WARN")[0].contains("Node is offline"));
}
