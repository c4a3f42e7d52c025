//! A node joins, reports once, falls silent, and is offline two seconds later.
//!
//! `cargo run -p registry-runtime --example watch-nodes`

#![allow(clippy::print_stdout, reason = "the example prints to its terminal")]

use std::{sync::Arc, time::Duration};

use event_log::EventLog;
use pool_registry_types::{
    HeartbeatRequest, HttpUrl, MachineId, NodeId, NodeStatus, RegisterRequest, Text,
};
use registry_runtime::{Config, build};
use registry_store::MemoryStore;
use routing_table::{RouteChange, RouteSink};
use service_runtime::{Shutdown, Tasks};

/// Prints route changes.
#[derive(Debug)]
struct Printed;

impl RouteSink for Printed {
    fn apply(&self, changes: &[RouteChange]) {
        for change in changes {
            println!("{change:?}");
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config {
        registry: service_registry::Config::default().with_node_timeout(Duration::from_secs(2))?,
        prober: None,
        ..Config::default()
    };
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let parts = build(
        config,
        Arc::new(MemoryStore::default()),
        Arc::new(Printed),
        EventLog::new(),
    )?;
    tasks.spawn("registry", parts.timer.run(shutdown.clone()));
    tasks.spawn("registry-writer", parts.writer.run());

    let node_id = NodeId::new("gpu-node-1")?;
    let mut registration = RegisterRequest::new(
        node_id.clone(),
        MachineId::new("machine-alpha")?,
        HttpUrl::new("http://192.168.1.100:9200")?,
    );
    registration.incarnation = Some(1);
    registration.takes_replica_hint = true;
    println!("{:?}", parts.handle.register(registration)?);
    let mut heartbeat = HeartbeatRequest::new(Text::cut("2025-09-30T22:00:00Z"), vec![]);
    heartbeat.incarnation = Some(1);
    heartbeat.seq = Some(1);
    println!("{:?}", parts.handle.heartbeat(&node_id, heartbeat)?);

    let mut revisions = parts.handle.revisions();
    while let Some(node) = parts.handle.node(&node_id) {
        println!("{:?} {} {}", parts.handle.now(), node.node_id, node.status);
        if node.status == NodeStatus::Offline {
            break;
        }
        revisions.changed().await?;
    }
    shutdown.request();
    tasks.join(Duration::from_secs(1)).await?;
    Ok(())
}
