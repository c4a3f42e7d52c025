//! Several nodes behind one URL: sharing the load, and losing a node in the middle of it.

use std::time::Duration;

use anyhow::{Context, Result};
use fake_engine::{FakeEngine, Script};
use serde_json::json;
use test_clock::{pause, wait_for};
use test_cluster::{Cluster, Engine, Node, Orchestrator, write_handoff};

use crate::load::{Load, shares};

const NAMES: [&str; 3] = ["node-a", "node-b", "node-c"];
const SLOTS: u32 = 4;
/// Where the control plane reaches a node.
const ADDRESS: &str = "POOL_MANAGERD_ADDRESS";
const SOON: Duration = Duration::from_secs(90);

/// Three nodes with an engine each, all ready.
fn three(cluster: &Cluster) -> Result<(Orchestrator, Vec<Node>, Vec<Engine>)> {
    let orchestrator = cluster.orchestrator(&[])?;
    let mut nodes = Vec::new();
    let mut engines = Vec::new();
    for name in NAMES {
        let node = cluster.node(name, &orchestrator, &[])?;
        let engine = cluster.engine(SLOTS)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        nodes.push(node);
        engines.push(engine);
    }
    wait_for("three ready nodes", SOON, || {
        orchestrator.ready_nodes() == 3
    })?;
    Ok((orchestrator, nodes, engines))
}

// spec: SLOT-1, PLACE-5
#[test]
fn three_nodes_share_200_requests_and_no_engine_queues() -> Result<()> {
    Cluster::test("share", |cluster| {
        let (orchestrator, _nodes, engines) = three(cluster)?;
        let load = Load::new(orchestrator.client(), 200, 16);
        let mut deferred = 0;
        let outcomes = load.run(|load| {
            while load.finished() < 200 {
                // More often, and the engines would no longer notice clients that are gone.
                pause(Duration::from_millis(500));
                deferred = deferred.max(engines.iter().map(Engine::deferred).max().unwrap_or(0));
            }
            Ok(())
        })?;
        for outcome in &outcomes {
            assert!(outcome.is_complete(), "{outcome:?}");
        }
        let shares = shares(&outcomes, &NAMES);
        println!("shares {shares:?}");
        assert_eq!(shares.iter().sum::<usize>(), 200);
        assert!(shares.iter().all(|&share| share >= 20), "{shares:?}");
        assert_eq!(
            deferred, 0,
            "an engine was given more requests than it has slots"
        );
        Ok(())
    })
}

// spec: SLOT-1
#[test]
fn no_engine_ever_sees_more_requests_than_slots() -> Result<()> {
    // A stand-in engine counts exactly what a real one can only be asked for now and then.
    Cluster::test("slots", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let mut node = cluster.node("node-a", &orchestrator, &[])?;
        let token_delay = Duration::from_millis(2);
        let engines = [2, 3].map(|slots| {
            FakeEngine::start(Script {
                slots,
                token_delay,
                ..Script::default()
            })
        });
        let mut running = Vec::new();
        for (number, engine) in engines.into_iter().enumerate() {
            let engine = engine?;
            let handoff = json!({
                "pool_id": "pool-0", "replica_id": format!("r{number}"), "engine": "llamacpp",
                 "url": engine.url(),
                "engine_version": "fake", "slots": engine.script().slots, "models": ["tiny"],
            });
            write_handoff(node.daemon().directory(), &handoff)?;
            running.push(engine);
        }
        wait_for("both engines", SOON, || {
            orchestrator
                .node("node-a")
                .is_some_and(|node| node["pools"][0]["slots_total"] == 5)
        })?;
        let outcomes = Load::new(orchestrator.client(), 200, 24).run(|_| Ok(()))?;
        for outcome in &outcomes {
            assert_eq!(outcome.status, 200, "{outcome:?}");
        }
        let peaks: Vec<u32> = running.iter().map(|engine| engine.stats().peak).collect();
        println!("peaks {peaks:?}");
        assert!(peaks[0] <= 2 && peaks[1] <= 3, "{peaks:?}");
        assert!(peaks.iter().all(|&peak| peak > 0), "{peaks:?}");
        Ok(())
    })
}

// spec: PATH-3, PATH-6
#[test]
fn a_killed_node_loses_only_streams_that_had_begun() -> Result<()> {
    Cluster::test("kill", |cluster| {
        let (orchestrator, mut nodes, _engines) = three(cluster)?;
        let outcomes = Load::while_it_lasts(orchestrator.client(), 10).run(|load| {
            load.wait_for(40)?;
            nodes[0].kill();
            load.wait_for(100)
        })?;
        let broken: Vec<_> = outcomes
            .iter()
            .filter(|outcome| !outcome.is_complete())
            .collect();
        println!("{} of {} broken", broken.len(), outcomes.len());
        for outcome in &broken {
            assert!(outcome.is_honestly_broken(), "{outcome:?}");
            assert_eq!(outcome.node, NAMES[0]);
        }
        assert!(
            broken.len() <= SLOTS as usize,
            "more than one per slot: {broken:?}"
        );
        Ok(())
    })
}

// spec: LIVE-16
#[test]
fn an_address_that_leads_to_another_node_is_unreachable_and_says_why() -> Result<()> {
    Cluster::test("wrong-address", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let right = cluster.node("node-a", &orchestrator, &[])?;
        let mut wrong = cluster.node("node-b", &orchestrator, &[])?;
        let engines = [cluster.engine(SLOTS)?, cluster.engine(SLOTS)?];
        for (node, engine) in [&right, &wrong].into_iter().zip(&engines) {
            node.write_handoff("pool-0", "r0", engine)?;
        }
        wait_for("two ready nodes", SOON, || orchestrator.ready_nodes() == 2)?;

        let own = wrong.url();
        wrong.daemon().set(ADDRESS, &right.url());
        wrong.restart()?;
        wait_for("the reason", SOON, || {
            orchestrator.node("node-b").is_some_and(|node| {
                let reason = node["status_reason"].as_str().unwrap_or_default();
                node["status"] == "unreachable" && reason.contains("the node node-a answers")
            })
        })?;
        for outcome in &Load::new(orchestrator.client(), 20, 2).run(|_| Ok(()))? {
            assert!(outcome.is_complete(), "{outcome:?}");
            assert_eq!(outcome.node, "node-a");
        }

        wrong.daemon().set(ADDRESS, &own);
        wrong.restart()?;
        wait_for("two ready nodes again", SOON, || {
            orchestrator.ready_nodes() == 2
        })
    })
}

// spec: STOP-2
#[test]
fn a_terminated_node_loses_nothing() -> Result<()> {
    Cluster::test("term", |cluster| {
        let (orchestrator, mut nodes, _engines) = three(cluster)?;
        let outcomes = Load::while_it_lasts(orchestrator.client(), 10).run(|load| {
            load.wait_for(40)?;
            let status = nodes[0].terminate(SOON)?;
            assert!(status.success(), "{status}");
            load.wait_for(40)
        })?;
        for outcome in &outcomes {
            assert!(outcome.is_complete(), "{outcome:?}");
        }
        wait_for("the node to be gone from the list of routes", SOON, || {
            orchestrator.ready_nodes() == 2
        })
    })
}

// spec: PROBE-2
#[test]
fn a_killed_engine_comes_back_by_itself() -> Result<()> {
    Cluster::test("engine", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let node = cluster.node("node-a", &orchestrator, &[])?;
        let mut engine = cluster.engine(SLOTS)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        let client = orchestrator.client();
        let answers = || client.chat(3).is_ok_and(|answer| answer.status == 200);
        wait_for("an answer", SOON, answers)?;
        engine.kill();
        wait_for("the node to see that it is gone", SOON, || {
            orchestrator.ready_nodes() == 0
        })?;
        let pool = orchestrator.node("node-a").context("the node is gone")?["pools"][0].take();
        assert!(
            pool["last_error"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty()),
            "{pool}"
        );
        engine.restart()?;
        wait_for("an answer again", SOON, answers)
    })
}
