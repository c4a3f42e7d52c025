//! From a handoff file to the first answer.

use std::time::Duration;

use anyhow::Result;
use test_clock::{now, wait_for};
use test_cluster::{Cluster, Setting};

const SOON: Duration = Duration::from_secs(90);
/// How often the way is measured.
const ROUNDS: usize = 40;
/// What is aimed at on an idle machine; shown beside the figure, for a test's machine is not idle.
const GOAL_MS: u128 = 250;
/// Longer than any test: what the control plane hears is a change, and no heartbeat that was due.
const NO_HEARTBEAT: Setting<'_> = ("POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS", "3600");
const NO_TIMEOUT: Setting<'_> = ("ORCHESTRATORD_NODE_TIMEOUT_MS", "86400000");

// spec: CLOUD-3002, REG-2
#[test]
fn a_handoff_is_routed_to_at_once() -> Result<()> {
    Cluster::test("handoff", |cluster| {
        let orchestrator = cluster.orchestrator(&[NO_TIMEOUT])?;
        let node = cluster.node("node-a", &orchestrator, &[NO_HEARTBEAT])?;
        let engine = cluster.engine(2)?;
        let client = orchestrator.client();
        let answers = || client.chat(1).is_ok_and(|answer| answer.status == 200);

        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let written = now();
            node.write_handoff("pool-0", "r0", &engine)?;
            wait_for("the first answer", SOON, answers)?;
            times.push(written.elapsed());
            node.remove_handoff("pool-0", "r0")?;
            wait_for("the engine to be forgotten", SOON, || {
                orchestrator.ready_nodes() == 0
            })?;
        }
        times.sort();
        let (p50, p99) = (times[ROUNDS / 2], times[ROUNDS - 1]);
        println!(
            "handoff written -> first routed answer: p50 {} ms, p99 {} ms (goal {GOAL_MS})",
            p50.as_millis(),
            p99.as_millis()
        );
        Ok(())
    })
}

// spec: CLOUD-3001, CLOUD-3002
#[test]
fn the_logs_tell_the_story() -> Result<()> {
    Cluster::test("logs", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let node = cluster.node("node-a", &orchestrator, &[])?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        let log = node.log()?;
        let url = engine.url();
        for parts in [
            &["INFO", "Configuration loaded. Cloud profile: true"][..],
            &["INFO", "Handoff watcher started"],
            &["INFO", "Successfully registered with orchestratord"],
            &["INFO", "Heartbeat task started"],
            &["INFO", "pool-managerd listening on"],
            &[
                "INFO",
                "Handoff detected, updating registry",
                "pool-0",
                "r0",
                "llamacpp",
                &url,
            ],
        ] {
            log.wait_line(parts, SOON)?;
        }
        orchestrator
            .log()?
            .wait_line(&["INFO", "eartbeat", "pool-0"], SOON)?;
        Ok(())
    })
}
