//! Daemons that are started again find their place by themselves.

use std::time::Duration;

use anyhow::Result;
use test_client::chain;
use test_clock::{now, wait_for};
use test_cluster::Cluster;

const SOON: Duration = Duration::from_secs(90);

// spec: REG-4
#[test]
fn nodes_find_a_restarted_orchestratord() -> Result<()> {
    Cluster::test("restart", |cluster| {
        let mut orchestrator = cluster.orchestrator(&[])?;
        let mut nodes = Vec::new();
        let mut engines = Vec::new();
        for name in ["node-a", "node-b"] {
            let node = cluster.node(name, &orchestrator, &[])?;
            let engine = cluster.engine(2)?;
            node.write_handoff("pool-0", "r0", &engine)?;
            nodes.push(node);
            engines.push(engine);
        }
        wait_for("two ready nodes", SOON, || orchestrator.ready_nodes() == 2)?;

        orchestrator.kill();
        orchestrator.restart()?;
        let started = now();
        let client = orchestrator.client();
        wait_for("an answer", SOON, || {
            client.chat(5).is_ok_and(|answer| answer.status == 200)
        })?;
        println!(
            "first answer {} ms after the restart (goal 1000)",
            started.elapsed().as_millis()
        );
        wait_for("both nodes", SOON, || orchestrator.ready_nodes() == 2)?;
        println!(
            "both nodes {} ms after the restart",
            started.elapsed().as_millis()
        );
        assert_eq!(client.chat(5)?.text()?, chain(5));
        Ok(())
    })
}

// spec: HAND-1, REG-5
#[test]
fn a_restarted_node_serves_its_old_handoffs() -> Result<()> {
    Cluster::test("node-restart", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let mut node = cluster.node("node-a", &orchestrator, &[])?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        let client = orchestrator.client();
        let answers = || client.chat(3).is_ok_and(|answer| answer.status == 200);
        wait_for("an answer", SOON, answers)?;
        let incarnation =
            |node: Option<serde_json::Value>| node.and_then(|node| node["incarnation"].as_u64());
        let before = incarnation(orchestrator.node("node-a"));

        node.kill();
        node.restart()?;
        wait_for("the new life of the node", SOON, || {
            incarnation(orchestrator.node("node-a")) > before
        })?;
        wait_for("an answer of it", SOON, answers)
    })
}

// spec: STOP-2
#[test]
fn both_daemons_end_cleanly_when_idle() -> Result<()> {
    Cluster::test("stop", |cluster| {
        let mut orchestrator = cluster.orchestrator(&[])?;
        let mut node = cluster.node("node-a", &orchestrator, &[])?;
        wait_for("the node", SOON, || orchestrator.node("node-a").is_some())?;
        assert!(node.terminate(SOON)?.success());
        wait_for("its goodbye", SOON, || {
            orchestrator
                .node("node-a")
                .is_none_or(|node| node["status"] == "offline")
        })?;
        assert!(orchestrator.terminate(SOON)?.success());
        Ok(())
    })
}
