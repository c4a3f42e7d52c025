//! Engines that start, serve and stop.

use engine_provisioner::EnginePhase;
use pool_registry_types::{Handoff, ReplicaId};

use crate::node::{Home, gone, is_there, kill, number_in, pool, pool_p, shell, until};

// spec: PROV-2
#[tokio::test]
async fn an_engine_is_announced_when_ready_and_removed_after_a_stop() {
    let home = Home::new();
    let node = home.start(&pool("models = [\"tiny\"]\ndevice_mask = \"GPU0\""));
    let engine = node.one(EnginePhase::Ready).await;
    let text = std::fs::read_to_string(home.path("handoffs/p_r0.json")).unwrap();
    let handoff: Handoff = serde_json::from_str(&text).unwrap();
    assert_eq!(Some(&handoff.url), engine.url.as_ref());
    assert_eq!(
        (handoff.slots(), handoff.device_mask.as_deref()),
        (2, Some("GPU0"))
    );
    node.replicas(|replicas| {
        replicas.len() == 1 && replicas[0].ready && replicas[0].slots_total() == 2
    })
    .await;
    assert_eq!(home.files("state/engines").len(), 1);

    node.stop().await;
    assert!(!is_there(engine.pid.unwrap()), "it was reaped");
    assert!(home.handoffs().is_empty() && home.files("state/engines").is_empty());
}

// spec: PROV-6, PROV-9
#[tokio::test]
async fn a_crash_affects_only_the_engine_that_crashed() {
    let home = Home::new();
    let node = home.start(&pool("replicas = 2"));
    let before = node.ready(2).await;
    kill(before[0].pid.unwrap());
    let after = node
        .until(|rows| rows[0].restarts == 1 && rows[0].phase == EnginePhase::Ready)
        .await;
    assert_ne!(after[0].pid, before[0].pid);
    assert_eq!((after[1].pid, after[1].restarts), (before[1].pid, 0));
    node.replicas(|replicas| replicas.iter().all(|replica| replica.ready))
        .await;
    node.stop().await;
}

// spec: PROV-3
#[tokio::test]
async fn the_handoff_is_removed_before_the_engine_stops() {
    let home = Home::new();
    // On SIGTERM it records which handoffs exist.
    let script = format!(
        "trap 'ls {} > {}; kill $!; exit 0' TERM; \"$0\" \"$1\" & wait",
        home.path("handoffs").display(),
        home.path("snapshot").display()
    );
    let node = home.start(&shell(&script, ""));
    node.one(EnginePhase::Ready).await;
    assert_eq!(home.handoffs(), ["p_r0.json"]);
    node.stop().await;
    assert_eq!(std::fs::read_to_string(home.path("snapshot")).unwrap(), "");
}

// spec: PROV-4
#[tokio::test]
async fn a_stop_waits_for_running_requests() {
    let home = Home::new();
    let node = home.start(&pool(""));
    let engine = node.one(EnginePhase::Ready).await;
    node.replicas(|replicas| replicas.iter().any(|replica| replica.ready))
        .await;
    let lease = node.registry.claim(&pool_p(), None).unwrap();
    let release = async {
        node.one(EnginePhase::Draining).await;
        // The registry has retired it, so no further request can come; the engine still runs.
        node.replicas(|replicas| replicas.len() == 1 && !replicas[0].ready)
            .await;
        assert!(home.handoffs().is_empty() && is_there(engine.pid.unwrap()));
        assert!(node.registry.claim(&pool_p(), None).is_err());
        drop(lease);
    };
    tokio::join!(node.provisioner.stop_all(), release);
    assert!(!is_there(engine.pid.unwrap()));
    node.vanish().await;
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let home = Home::new();
    let node = home.start(&pool("drain_timeout_secs = 0"));
    node.one(EnginePhase::Ready).await;
    node.replicas(|replicas| replicas.iter().any(|replica| replica.ready))
        .await;
    let lease = node.registry.claim(&pool_p(), None).unwrap();
    node.stop().await;
    drop(lease);
}

// spec: PROV-4, PROV-5
#[tokio::test]
async fn an_engine_that_ignores_sigterm_is_killed_with_its_children() {
    let home = Home::new();
    let child = home.path("child");
    let script = format!(
        "trap '' TERM; sleep 100 & echo $! > {0}.tmp; mv {0}.tmp {0}; exec \"$0\" \"$1\"",
        child.display()
    );
    let node =
        home.start(&shell(&script, "stop_grace_secs = 0").replace("stop_grace_secs = 10\n", ""));
    let engine = node.one(EnginePhase::Ready).await;
    let child = number_in(&child).await;
    assert!(is_there(child));
    node.stop().await;
    assert!(!is_there(engine.pid.unwrap()));
    gone(child).await;
}

#[tokio::test]
async fn a_restart_replaces_every_engine() {
    let home = Home::new();
    let node = home.start(&pool("replicas = 2"));
    let before = node.ready(2).await;
    node.provisioner.restart(&pool_p()).await.unwrap();
    let after = node.ready(2).await;
    for (old, new) in before.iter().zip(after.iter()) {
        assert_ne!(old.pid, new.pid);
        assert_eq!(
            new.replica_id,
            ReplicaId::new(old.replica_id.as_str()).unwrap()
        );
    }
    let unknown = node
        .provisioner
        .restart(&pool_p().as_str().repeat(2).parse().unwrap())
        .await;
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "the pool file has no pool pp"
    );
    node.stop().await;
}

// spec: PROV-13
#[tokio::test]
async fn the_logs_of_an_engine_are_bounded() {
    let home = Home::new();
    // Twenty million bytes before it is ready; the limit is sixteen.
    let node = home.start(&shell(
        "yes 'a line of the log' | head -c 20000000 >&2; echo out; exec \"$0\" \"$1\"",
        "",
    ));
    node.one(EnginePhase::Ready).await;
    let full = home.path("state/engine-logs/p_r0.err.log.1");
    until("the full log was rotated", || full.exists()).await;
    let log = home.path("state/engine-logs/p_r0.err.log");
    until("the log is empty", || {
        std::fs::metadata(&log).unwrap().len() == 0
    })
    .await;
    let out = std::fs::read_to_string(home.path("state/engine-logs/p_r0.out.log")).unwrap();
    assert_eq!(out, "out\n");
    node.stop().await;
}
