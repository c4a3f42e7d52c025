//! Reloads: replaced, rolled back and cancelled.

use std::time::Duration;

use engine_provisioner::{ChangeError, EnginePhase, PoolFile, PoolSpec};

use crate::node::{Home, gone, is_there, pool, pool_p, shell};

fn spec(text: &str) -> PoolSpec {
    PoolFile::parse(text).unwrap().pools.remove(0)
}

// spec: PROV-12
#[tokio::test]
async fn a_new_engine_is_ready_before_the_old_one_stops_getting_requests() {
    let home = Home::new();
    let node = home.start(&pool(""));
    let old = node.one(EnginePhase::Ready).await;
    node.replicas(|replicas| replicas.iter().any(|replica| replica.ready))
        .await;
    let lease = node.registry.claim(&pool_p(), None).unwrap();

    let reload = node.provisioner.reload(spec(&pool("models = [\"new\"]")));
    let watched = async {
        let draining = |row: &engine_provisioner::EngineStatus| {
            row.phase == EnginePhase::Draining && row.pid == old.pid
        };
        let rows = node.until(|rows| rows.iter().any(draining)).await;
        assert!(
            rows.iter()
                .any(|row| row.phase == EnginePhase::Ready && row.pid != old.pid)
        );
        node.replicas(|replicas| {
            replicas[0].ready && replicas[0].models == Some(vec!["new".parse().unwrap()])
        })
        .await;
        let new = node.registry.claim(&pool_p(), None).unwrap();
        assert_ne!(new.url(), lease.url());
        assert!(is_there(old.pid.unwrap()), "a request runs on it");
        drop(lease);
    };
    let (reloaded, ()) = tokio::join!(reload, watched);
    reloaded.unwrap();
    assert!(!is_there(old.pid.unwrap()));
    assert_eq!(home.handoffs(), ["p_r0.json"]);
    node.ready(1).await;
    node.stop().await;
}

// spec: PROV-42
#[tokio::test]
async fn the_queue_timeout_of_a_pool_is_reported_and_changes_with_a_reload() {
    let home = Home::new();
    let node = home.start(&pool("queue_timeout_secs = 90"));
    let reported = || node.registry.queue_timeout(&pool_p());
    node.ready(1).await;
    assert_eq!(reported(), Some(Duration::from_secs(90)));
    node.provisioner
        .reload(spec(&pool("queue_timeout_secs = 80")))
        .await
        .unwrap();
    assert_eq!(reported(), Some(Duration::from_secs(80)));
    node.provisioner.reload(spec(&pool(""))).await.unwrap();
    assert_eq!(reported(), None);
    node.stop().await;
}

// spec: PROV-12
#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    let home = Home::new();
    let node = home.start(&pool("replicas = 2"));
    let before = node.ready(2).await;
    // The second new engine fails, so the first is rolled back.
    let script = format!(
        "mkdir {} 2>/dev/null && exec \"$0\" \"$1\"; echo 'no more' >&2; exit 1",
        home.path("once").display()
    );
    let error = (node
        .provisioner
        .reload(spec(&shell(&script, "replicas = 2")))
        .await)
        .unwrap_err();
    assert!(matches!(&error, ChangeError::NotReady { .. }), "{error}");
    assert!(error.to_string().contains("no more"), "{error}");
    let after = node.ready(2).await;
    assert_eq!(after[1].pid, before[1].pid, "it was not replaced");
    node.provisioner.restart(&pool_p()).await.unwrap();
    node.ready(2).await;
    node.stop().await;
}

// spec: PROV-12
#[tokio::test]
async fn with_room_for_one_engine_the_old_one_stops_first_and_returns_on_failure() {
    let home = Home::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let port = format!("port = {port}");
    let node = home.start(&pool(&port));
    let old = node.one(EnginePhase::Ready).await;
    let error = node
        .provisioner
        .reload(spec(&shell("exit 1", &port)))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("did not become ready"),
        "{error}"
    );
    let back = node.one(EnginePhase::Ready).await;
    assert_ne!(back.pid, old.pid);
    assert_eq!(back.url, old.url);

    node.provisioner
        .reload(spec(&pool(&format!("{port}\nenv = {{ A = \"1\" }}"))))
        .await
        .unwrap();
    let new = node.one(EnginePhase::Ready).await;
    assert_ne!(new.pid, back.pid);
    assert_eq!(new.url, old.url);
    node.stop().await;
}

#[tokio::test]
async fn a_reload_changes_the_number_of_replicas() {
    let home = Home::new();
    let node = home.start(&pool("replicas = 2"));
    let before = node.ready(2).await;
    node.provisioner
        .reload(spec(&pool("replicas = 3")))
        .await
        .unwrap();
    node.ready(3).await;
    node.provisioner.reload(spec(&pool(""))).await.unwrap();
    node.ready(1).await;
    assert_eq!(home.handoffs(), ["p_r0.json"]);
    for old in before.iter() {
        gone(old.pid.unwrap()).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn a_stop_cancels_a_reload() {
    let home = Home::new();
    let node = home.start(&pool(""));
    node.one(EnginePhase::Ready).await;
    let hangs = spec(&shell("exec sleep 100", ""));
    let reload = node.provisioner.reload(hangs);
    let stop = async {
        node.until(|rows| {
            rows.len() == 2
                && rows
                    .iter()
                    .any(|row| row.phase == EnginePhase::Starting && row.pid.is_some())
        })
        .await;
        node.provisioner.stop_all().await;
    };
    let (reloaded, ()) = tokio::join!(reload, stop);
    assert_eq!(reloaded, Err(ChangeError::Stopping));
    assert!(home.files("state/engines").is_empty(), "neither runs");
    let again = node.provisioner.reload(spec(&pool(""))).await;
    assert_eq!(again, Err(ChangeError::Stopping));
    node.vanish().await;
}
