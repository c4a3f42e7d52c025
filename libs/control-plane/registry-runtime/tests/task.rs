//! The registry behind its lock: exact timers, effects before answers, and its log.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::time::Duration;

use captured_log::Log;
use common::{beat, id, register, start, without_prober};
use pool_registry_types::NodeStatus;
use registry_runtime::Config;
use routing_table::EndpointState;
use service_registry::{HeartbeatOutcome, NodeFilter, RegistryError, Target};
use tokio::time::Instant;
use tracing::Level;

// spec: LIVE-10
#[tokio::test(start_paused = true)]
async fn who_has_the_answer_sees_its_effect() {
    let running = start(without_prober());
    running.handle.register(register("a")).unwrap();
    assert_eq!(running.status("a"), Some(NodeStatus::Online));
    for slots_free in [4, 1, 3] {
        running
            .handle
            .heartbeat(&id("a"), beat(slots_free))
            .unwrap();
        assert_eq!(running.routes.report("a").unwrap().slots_free, slots_free);
    }
    drop(running.handle.drain(&Target::Node(id("a")), None).unwrap());
    assert_eq!(running.status("a"), Some(NodeStatus::Draining));
    assert_eq!(running.routes.state("a"), Some(EndpointState::Draining));
    drop(running.handle.undrain(&Target::Node(id("a"))).unwrap());
    assert_eq!(running.status("a"), Some(NodeStatus::Online));
    running.handle.deregister(&id("a"), None).unwrap();
    assert_eq!(running.status("a"), None);
    assert_eq!(running.routes.len(), 0);
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
        running.handle.register(register("a")).unwrap();
        tokio::time::advance(Duration::from_millis(3210)).await;
        running.handle.heartbeat(&id("a"), beat(4)).unwrap();
        let heard = Instant::now();
        running.until_status("a", NodeStatus::Offline).await;
        let after = heard.elapsed();
        // Timers have a resolution of a millisecond.
        assert!(
            after >= Duration::from_secs(30) && after <= Duration::from_millis(30_002),
            "{after:?}"
        );
    }
}

// spec: LIVE-33
#[tokio::test(start_paused = true)]
async fn what_changes_nothing_tells_nothing() {
    let running = start(without_prober());
    running.handle.register(register("a")).unwrap();
    running.handle.heartbeat(&id("a"), beat(4)).unwrap();
    let told = || *running.routes.times.lock();
    let (before, revision) = (told(), running.handle.revision());
    let refused = running.handle.heartbeat(&id("b"), beat(1));
    assert_eq!(
        refused,
        Err(RegistryError::UnknownNode { node_id: id("b") })
    );
    running.handle.probed(&id("a"), Some(1), Ok(()));
    assert_eq!((told(), running.handle.revision()), (before, revision));
    // Nor does time, until something is due.
    running.until_status("a", NodeStatus::Offline).await;
    assert_eq!(told(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_of_the_task_sees_one_while_it_lives() {
    let running = start(without_prober());
    running.handle.register(register("a")).unwrap();
    assert!(running.handle.alive().await);
    running.shutdown.request();
    running.tasks.join(Duration::from_secs(1)).await.unwrap();
    assert!(!running.handle.alive().await);
    // Requests go on until the process ends, and so does what nodes say.
    assert_eq!(
        running.handle.heartbeat(&id("a"), beat(2)),
        Ok(HeartbeatOutcome::Changed)
    );
    assert_eq!(running.routes.report("a").unwrap().slots_free, 2);
}

// spec: LIVE-32
#[tokio::test(start_paused = true)]
async fn a_deadline_that_comes_up_early_is_looked_at_again() {
    let running = start(without_prober());
    running.handle.register(register("a")).unwrap();
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        running.handle.heartbeat(&id("a"), beat(4)).unwrap();
        assert_eq!(running.status("a"), Some(NodeStatus::Online));
    }
    let heard = Instant::now();
    running.until_status("a", NodeStatus::Offline).await;
    assert!(
        heard.elapsed() >= Duration::from_secs(30)
            && heard.elapsed() <= Duration::from_millis(30_002)
    );
}

// spec: LIVE-38
#[tokio::test(start_paused = true)]
async fn pages_numbers_and_the_pace_are_there_without_a_walk() {
    let running = start(without_prober());
    let handle = &running.handle;
    for i in 0..3000 {
        handle.register(register(&format!("n{i:04}"))).unwrap();
    }
    drop(handle.drain(&Target::Node(id("n2999")), None).unwrap());
    let summary = handle.summary();
    assert_eq!(
        (
            summary.nodes(),
            summary.online,
            summary.draining,
            summary.pools
        ),
        (3000, 2999, 1, 0)
    );
    assert_eq!(handle.pace().next_heartbeat, Duration::from_secs(10));
    // More nodes are looked at than at once.
    let draining = NodeFilter {
        status: Some(NodeStatus::Draining),
        model: None,
    };
    let page = handle.page(Some(&id("n0001")), 5, &draining);
    assert_eq!((page.nodes.len(), page.more), (1, false));
    let page = handle.page(None, 2500, &NodeFilter::default());
    assert_eq!((page.nodes.len(), page.more), (2500, true));
    assert_eq!(page.nodes[2499].node_id, id("n2499"));
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
    handle.register(register("a")).unwrap();
    let joined = lines("INFO");
    assert!(
        joined.len() == 1 && joined[0].contains("Node joined node_id=a"),
        "{joined:?}"
    );
    handle.heartbeat(&id("a"), beat(3)).unwrap();
    let changed = lines("INFO");
    assert!(
        changed.len() == 1
            && changed[0].contains(
                "Heartbeat changed state node_id=a pools=[pool-0 ready=true draining=false \
                 slots=3/4]"
            ),
        "{changed:?}"
    );
    handle.heartbeat(&id("a"), beat(1)).unwrap();
    let quiet = log.take();
    assert!(
        quiet.contains("DEBUG") && quiet.contains("Heartbeat node_id=a"),
        "{quiet}"
    );
    assert!(!quiet.contains("INFO"), "{quiet}");
    let mut other = register("a");
    other.machine_id = pool_registry_types::MachineId::new("machine-b").unwrap();
    handle.register(other).unwrap_err();
    assert!(lines("WARN")[0].contains("machine-a"));
    running.until_status("a", NodeStatus::Offline).await;
    assert!(lines("WARN")[0].contains("Node is offline"));
}
