//! The agent is killed, and told to stop.

use std::thread;

use anyhow::Result;
use test_client::{End, chain};
use test_clock::{now, wait_for};
use test_cluster::Cluster;
use tiny_model::TinyModel;

use super::{REPLICAS, SLOTS, SOON, are_ready, assert_other_answers, processes, start, two_pools};
use crate::load::WORDS;

/// Words of a stream that goes on while an agent is killed and started again.
const LONG: u32 = 1500;
/// Makes the engines so slow that such a stream does not end before its agent does.
const PAD_MB: u32 = 4;

// spec: PROV-10
#[test]
fn the_engines_of_a_killed_agent_are_adopted() -> Result<()> {
    let model = TinyModel {
        pad_mb: PAD_MB,
        ..TinyModel::default()
    };
    Cluster::test_with_model("prov-adopt", &model, |cluster| {
        let (orchestrator, mut node) = start(cluster, &two_pools(cluster))?;
        // Another node, whose requests are none of the first one's business.
        let other = cluster.node("node-b", &orchestrator, &[])?;
        let engine = cluster.engine(SLOTS)?;
        other.write_handoff("pool-0", "r0", &engine)?;
        wait_for("the other node", SOON, || orchestrator.ready_nodes() == 2)?;
        let pinned = |node: &str| orchestrator.client().with_header("x-llorch-pin-node", node);
        let mut unbroken = pinned("node-b").chat_stream(LONG)?;
        let first = unbroken.next_text()?.text();
        let before = processes(cluster, &node);
        assert_eq!(before.len(), REPLICAS.len());
        let all = cluster.engine_processes();
        let mut broken = pinned("node-a").chat_stream(LONG)?;
        broken.next_text()?;
        node.kill();
        assert_eq!(
            cluster.engine_processes(),
            all,
            "engines outlive their agent"
        );
        let broken = broken.finish();
        assert_eq!(
            broken.end,
            End::Error("WORKER_RESET".to_owned()),
            "{broken:?}"
        );
        let restarted = now();
        node.restart()?;
        let client = pinned("node-a");
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;
        println!(
            "first answer {} ms after the agent was started again",
            restarted.elapsed().as_millis()
        );
        wait_for("all engines", SOON, || are_ready(&orchestrator))?;
        assert_other_answers(&client)?;
        let adopted = "Engine of an earlier agent adopted";
        let log = node.log()?.text();
        assert_eq!(log.matches(adopted).count(), REPLICAS.len(), "{log}");
        assert_eq!(cluster.engine_processes(), all, "no second process");
        assert_eq!(processes(cluster, &node), before);
        let unbroken = unbroken.finish();
        let whole = chain(LONG as usize);
        assert_eq!(unbroken.end, End::Done, "{unbroken:?}");
        assert_eq!(whole.strip_prefix(&first), Some(&*unbroken.text()));
        Ok(())
    })
}

// spec: PROV-3, PROV-4, STOP-2
#[test]
fn an_agent_that_is_told_to_stop_leaves_no_engine_behind() -> Result<()> {
    Cluster::test("prov-stop", |cluster| {
        let (orchestrator, mut node) = start(cluster, &two_pools(cluster))?;
        let mut stream = orchestrator.client().chat_stream(WORDS)?;
        stream.next_text()?;
        let stopped = now();
        let (status, rest) = thread::scope(|scope| {
            let rest = scope.spawn(|| stream.finish());
            let status = node.terminate(SOON);
            let rest = rest
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (status, rest)
        });
        assert!(status?.success());
        println!(
            "all engines and the agent ended after {} ms",
            stopped.elapsed().as_millis()
        );
        assert_eq!(rest.end, End::Done, "{rest:?}");
        assert_eq!(cluster.engine_processes(), []);
        for (pool, replica) in REPLICAS {
            assert_eq!(node.announced_port(pool, replica), None);
        }
        Ok(())
    })
}
