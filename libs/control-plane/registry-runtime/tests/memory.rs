//! How much memory a known node takes. Alone in its process, because it counts all that is
//! allocated there.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{alloc::System, sync::Arc};

use parking_lot::Mutex;
use pool_registry_types::NodeId;
use registry_runtime::{Config, build};
use registry_store::{Change, RegistryStore, StoreError, StoredNode};
use routing_table::{RouteChange, RouteSink, RoutingTable};
use serde_json::json;
use service_runtime::{Shutdown, Tasks};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::watch;

/// Counts bytes, so that the result depends neither on how the allocator lays them out nor on how
/// fast the writer is. `cargo xtask bench registry` measures resident memory.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Enough that what a process needs anyway does not count.
const NODES: usize = 5_000;

/// Resident memory is to stay below 4 KiB: a third is left for what the allocator adds and what
/// admission keeps beside its table.
const MOST_BYTES: usize = 2800;

/// A routing table as admission keeps it.
#[derive(Debug, Default)]
struct Table(Mutex<RoutingTable>);

impl RouteSink for Table {
    fn apply(&self, changes: &[RouteChange]) {
        let mut table = self.0.lock();
        for change in changes {
            match change {
                RouteChange::Set(endpoint, report) => drop(table.set(endpoint, *report)),
                RouteChange::Remove(endpoint) => drop(table.remove(endpoint)),
            }
        }
    }
}

/// A store that keeps nothing, as a disk keeps nothing in memory, and counts what it was given.
#[derive(Debug, Default)]
struct Disk(watch::Sender<usize>);

impl RegistryStore for Disk {
    fn load(&self) -> Result<Vec<StoredNode>, StoreError> {
        Ok(Vec::new())
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.0.send_modify(|written| *written += changes.len());
        Ok(())
    }
}

// spec: LIVE-40
#[tokio::test]
async fn a_node_with_one_pool_and_one_replica_takes_less_than_four_kibibytes() {
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let (table, disk) = (Arc::new(Table::default()), Arc::new(Disk::default()));
    let mut written = disk.0.subscribe();
    let parts = build(
        Config {
            prober: None,
            ..Config::default()
        },
        disk.clone(),
        table.clone(),
        event_log::EventLog::new(),
    )
    .unwrap();
    tasks.spawn("registry", parts.timer.run(shutdown.clone()));
    tasks.spawn("registry-writer", parts.writer.run());
    let region = Region::new(ALLOCATOR);
    for i in 0..NODES {
        if i % 500 == 0 {
            // What is to be written does not pile up.
            written.wait_for(|written| *written >= i).await.unwrap();
        }
        let name = format!("gpu-node-{i:05}");
        let address = format!("http://10.{}.{}.{}:9200", i >> 16, (i >> 8) & 255, i & 255);
        let registration = json!({
            "node_id": name, "machine_id": format!("machine-{i:05}"), "address": address,
                "pools": ["pool-0"],
            "capabilities": {
                "gpus": [{"device_id": 0, "name": "NVIDIA GeForce RTX 3090",
                    "vram_total_bytes": 25_769_803_776_u64,
                          "compute_capability": "8.6"}],
                "cpu_cores": 16, "ram_total_bytes": 64_000_000_000_u64,
            },
            "version": "0.1.0", "incarnation": 1_763_884_800_123_u64, "takes_replica_hint": true,
        });
        let heartbeat = json!({
            "timestamp": "2025-09-30T22:00:00Z", "incarnation": 1_763_884_800_123_u64, "seq": 1,
            "pools": [{
                "pool_id": "pool-0", "ready": true, "draining": false, "slots_free": 3,
                    "slots_total": 4,
                "vram_free_bytes": 18_000_000_000_u64, "engine": "llamacpp",
                    "engine_version": "b10434",
                "models_available": ["qwen2.5-7b-instruct-q4_k_m"],
                "replicas": [{"replica_id": "r0", "ready": true, "slots_free": 3, "slots_total": 4,
                    "generation": 1,
                              "models": ["qwen2.5-7b-instruct-q4_k_m"], "running": 1,
                                  "waiting": 0}],
            }],
            "gpus": [{"device_id": 0, "name": "NVIDIA GeForce RTX 3090",
                "uuid": "GPU-6ad8a7d6-3b3b-4d2c-b7a0-0c2f0f2f6b54",
                      "driver_version": "580.99.01", "vram_total_bytes": 25_769_803_776_u64,
                      "vram_used_bytes": 7_516_192_768_u64, "vram_free_bytes": 18_253_611_008_u64,
                      "utilization_percent": 42, "temperature_celsius": 55, "power_watts": 250}],
        });
        // As they come: read from text.
        let registration = serde_json::from_str(&registration.to_string()).unwrap();
        parts.handle.register(registration).unwrap();
        let node_id = NodeId::new(&name).unwrap();
        parts
            .handle
            .heartbeat_bytes(&node_id, heartbeat.to_string().as_bytes())
            .unwrap();
    }
    shutdown.request();
    tasks
        .join(std::time::Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(table.0.lock().len(), NODES);
    let change = region.change();
    let each = (change.bytes_allocated - change.bytes_deallocated) / NODES;
    println!("{each} bytes per node");
    assert!(each < MOST_BYTES, "{each} bytes per node");
}
