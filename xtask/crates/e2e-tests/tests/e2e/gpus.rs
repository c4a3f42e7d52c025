//! GPUs from the driver to the control plane's API, with a stand-in for NVIDIA's library.

use std::time::Duration;

use anyhow::{Context, Result};
use fake_nvml::{FakeNvml, GPU_IS_LOST, Gpu};
use serde_json::{Value, json};
use test_clock::{now, wait_for_some};
use test_cluster::{Cluster, Orchestrator, free_port, write_handoff};
use workspace_build::llorch;

use crate::terminal::Terminal;

const SOON: Duration = Duration::from_secs(90);
/// Often, so that the test need not wait for the next report.
const HEARTBEAT: (&str, &str) = ("POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS", "1");
const TOTAL: u64 = 24_000_000_000;

/// `llorch top` on a terminal.
fn top(cluster: &Cluster, orchestrator: &Orchestrator) -> Result<Terminal> {
    let (url, program) = (orchestrator.url(), llorch()?);
    let line = format!(
        "LLORCH_URL={url} {} top --interval 200ms",
        program.display()
    );
    Terminal::start(cluster, &line)
}

/// The field of each GPU in `list`.
fn each<'a>(list: &'a Value, field: &str) -> Vec<&'a Value> {
    let gpus = list.as_array().map(Vec::as_slice).unwrap_or_default();
    gpus.iter().map(|gpu| &gpu[field]).collect()
}

// spec: GPU-1, GPU-3, GPU-7, GPU-8, CLI-13
#[test]
fn a_node_reports_its_gpus_as_they_are() -> Result<()> {
    Cluster::test("gpus", |cluster| {
        let driver = FakeNvml::new()?;
        let library = driver.directory().to_str().context("not a path in UTF-8")?;
        let orchestrator = cluster.orchestrator(&[])?;
        let mut node = cluster.node(
            "gpu-1",
            &orchestrator,
            &[HEARTBEAT, ("LD_LIBRARY_PATH", library)],
        )?;
        // No request reaches an engine, so there are none.
        let port = free_port()?;
        for devices in ["GPU0", "GPU1"] {
            let announced = json!({
                "pool_id": format!("pool-{devices}"), "replica_id": devices, "engine": "llamacpp",
                "url": format!("http://localhost:{port}/{devices}"), "slots": 2,
                 "device_mask": devices,
            });
            write_handoff(node.daemon().directory(), &announced)?;
        }
        let when = |what: &str, holds: &dyn Fn(&Value) -> bool| {
            wait_for_some(what, SOON, || {
                orchestrator.node("gpu-1").filter(|node| holds(node))
            })
        };
        let free_of = |node: &Value, pool: &str| {
            let pools = node["pools"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let pool = pools.iter().find(|status| status["pool_id"] == pool);
            pool.and_then(|pool| pool["vram_free_bytes"].as_u64())
        };

        let shown = when("both GPUs and pools", &|node| {
            each(&node["gpus"], "device_id").len() == 2 && free_of(node, "pool-GPU1") == Some(TOTAL)
        })?;
        println!("GET /v2/nodes: {}", shown["gpus"]);
        assert_eq!(
            shown["gpus"][1],
            json!({
                "device_id": 1, "name": "NVIDIA GeForce RTX 3090", "uuid": "GPU-1000",
                 "driver_version": "580.99.01",
                "compute_capability": "8.6", "vram_total_bytes": TOTAL, "vram_used_bytes": 0,
                 "vram_free_bytes": TOTAL,
                "utilization_percent": 42, "temperature_celsius": 55, "power_watts": 250,
            })
        );
        assert_eq!(
            shown["capabilities"]["gpus"][1]["compute_capability"],
            "8.6"
        );

        // A model is loaded beside us.
        let mut gpus = [Gpu::numbered(0), Gpu::numbered(1)];
        gpus[1].used_bytes = 6_000_000_000;
        let changed = now();
        driver.set(&gpus)?;
        let shown = when("the memory in use", &|node| {
            node["gpus"][1]["vram_used_bytes"] == 6_000_000_000_u64
        })?;
        println!(
            "6 GB taken on GPU 1: shown after {} ms, with heartbeats 1 s apart",
            changed.elapsed().as_millis()
        );
        assert_eq!(free_of(&shown, "pool-GPU0"), Some(TOTAL));
        assert_eq!(free_of(&shown, "pool-GPU1"), Some(TOTAL - 6_000_000_000));

        gpus[1].code = GPU_IS_LOST;
        driver.set(&gpus)?;
        let shown = when("the loss", &|node| node["gpus"][1]["problem"].is_string())?;
        println!("GPU 1 fell off the bus: {}", shown["gpus"][1]);
        assert_eq!(shown["status"], "online");
        assert_eq!(
            each(&shown["gpus"], "vram_free_bytes"),
            [&json!(TOTAL), &Value::Null]
        );
        assert_eq!(free_of(&shown, "pool-GPU1"), Some(0));
        let loss = "needs a reset, a reboot or new hardware";

        gpus[1].code = 0;
        driver.set(&gpus)?;
        when("its return", &|node| {
            each(&node["gpus"], "problem") == [&Value::Null; 2]
        })?;
        // Said once when it began and once when it was over, however many reports there were.
        assert_eq!(node.log()?.text().matches(loss).count(), 2);

        // The same, asked of the node itself and as a list.
        let own = node.client().get_json("/v2/gpus")?;
        assert_eq!(each(&own["gpus"], "device_id"), [&json!(0), &json!(1)]);
        let all = orchestrator.client().get_json("/v2/gpus")?;
        assert_eq!(
            each(&all["gpus"], "node_id"),
            [&json!("gpu-1"), &json!("gpu-1")]
        );

        // And as a person watches them. The fake GPUs are 42 % busy.
        let top = top(cluster, &orchestrator)?;
        println!(
            "{}",
            top.wait(&["gpu-1  ██░░", "5.6 GiB of 44.7 GiB  42 42"])?
        );
        gpus[0].used_bytes = TOTAL;
        driver.set(&gpus)?;
        top.wait(&["27.9 GiB of 44.7 GiB  42 42"])?;
        Ok(())
    })
}

// spec: GPU-7, CLI-13
#[test]
fn one_machine_shows_its_gpus() -> Result<()> {
    Cluster::test("gpus-home", |cluster| {
        let driver = FakeNvml::new()?;
        let library = driver.directory().to_str().context("not a path in UTF-8")?;
        let home = cluster.home(&[("LD_LIBRARY_PATH", library)])?;
        let shown = wait_for_some("the GPUs", SOON, || {
            let answer = home.client().get_json("/v2/gpus").ok()?;
            (each(&answer["gpus"], "uuid").len() == 2).then_some(answer)
        })?;
        assert_eq!(
            each(&shown["gpus"], "uuid"),
            [&json!("GPU-0000"), &json!("GPU-1000")]
        );
        // The page is told the same, of the one node.
        let mut live = home.client().follow("/v2/live")?;
        let told = loop {
            let event = live.next_event()?.context("the page's stream ended")?;
            let state: Value = serde_json::from_str(&event.data)?;
            let gpus = state["nodes"][0]["gpus"].clone();
            if !gpus.is_null() {
                break gpus;
            }
        };
        assert_eq!(each(&told, "uuid"), each(&shown["gpus"], "uuid"));
        top(cluster, &home)?.wait(&["(home)", "0.0 GiB of 44.7 GiB  42 42"])?;
        Ok(())
    })
}
