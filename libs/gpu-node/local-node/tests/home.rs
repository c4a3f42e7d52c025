//! A handoff file becomes an endpoint, and its removal the end of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use std::{path::Path, sync::Arc, time::Duration};

use event_log::EventLog;
use fake_engine::{FakeEngine, Script};
use local_node::{Config, LocalNode};
use pool_registry_types::NodeId;
use routing_table::{Availability, RoutingTable};
use service_runtime::{Shutdown, Tasks};
use tokio::sync::watch;

/// A condition that does not come about within this is a failure.
const LIMIT: Duration = Duration::from_secs(60);

async fn until(
    tables: &mut watch::Receiver<Arc<RoutingTable>>,
    what: &str,
    holds: impl Fn(&RoutingTable) -> bool,
) {
    let waited = tokio::time::timeout(LIMIT, tables.wait_for(|table| holds(table)))
        .await
        .map(drop);
    assert!(
        waited.is_ok(),
        "in vain waited until {what}: {:?}",
        tables.borrow().endpoints()
    );
}

fn write(dir: &Path, name: &str, json: &str) {
    let temporary = dir.join(".new");
    std::fs::write(&temporary, json).unwrap();
    std::fs::rename(temporary, dir.join(name)).unwrap();
}

// spec: CLOUD-3001, CLOUD-3002
#[tokio::test]
async fn handoffs_come_and_go() {
    let engine = FakeEngine::start(Script {
        models: vec!["m".into()],
        slots: 5,
        ..Script::default()
    })
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let runtime_dir = dir.path().join("engines");
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let node = LocalNode::start(Config::new(&runtime_dir), &tasks, &shutdown).unwrap();
    let mut tables = node.routing_tables(
        NodeId::new("home").unwrap(),
        EventLog::new(),
        &tasks,
        shutdown.clone(),
    );
    assert_eq!(tables.borrow().endpoints().len(), 0);

    std::fs::create_dir_all(&runtime_dir).unwrap();
    let handoff = format!(
        r#"{{"pool_id":"p","replica_id":"r0","engine":"llamacpp","url":"{}","slots":3}}"#,
        engine.url()
    );
    write(&runtime_dir, "p_r0.json", &handoff);
    // Nobody wrote the models down: the engine is asked.
    until(&mut tables, "the engine has told its models", |table| {
        table.only_model() == Some("m")
    })
    .await;
    let endpoint = tables.borrow().endpoints()[0].clone();
    assert_eq!(
        (endpoint.slots_total, endpoint.availability),
        (3, Availability::Ready)
    );
    assert_eq!(endpoint.target.to_string(), engine.url());

    write(&runtime_dir, "p_r1.json", "{\"pool_id\":");
    write(
        &runtime_dir,
        "p_r0.json",
        &handoff.replace("\"slots\":3", "\"slots\":5"),
    );
    until(&mut tables, "the new slots count", |table| {
        table.endpoints().iter().any(|e| e.slots_total == 5)
    })
    .await;

    std::fs::remove_file(runtime_dir.join("p_r0.json")).unwrap();
    until(&mut tables, "the endpoint is gone", |table| {
        table.endpoints().is_empty()
    })
    .await;
    shutdown.request();
    tasks.join(LIMIT).await.unwrap();
}
