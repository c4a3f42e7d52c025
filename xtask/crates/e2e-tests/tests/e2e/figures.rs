//! What a real engine says of itself, as the node shows it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;
use serde_json::{Value, json};
use test_clock::wait_for;
use test_cluster::{Cluster, Node, write_handoff};

const SOON: Duration = Duration::from_secs(90);
/// More words than anybody waits for here.
const MANY_WORDS: u32 = 1900;

fn pool(node: &Node) -> Value {
    let pools = node.client().get_json("/v2/pools").unwrap_or_default();
    pools["pools"][0].clone()
}

// spec: PROBE-7, PROBE-10
#[test]
fn an_engine_says_its_version_its_slots_and_what_it_does() -> Result<()> {
    Cluster::test("figures", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let mut node = cluster.node("gpu-1", &orchestrator, &[])?;
        let engine = cluster.engine(2)?;
        let wish = json!({
            "pool_id": "pool-0", "replica_id": "r0", "engine": "llamacpp", "url": engine.url(),
             "slots": 4,
        });
        write_handoff(node.daemon().directory(), &wish)?;
        wait_for("the promise to be corrected", SOON, || {
            pool(&node)["slots_total"] == 2
        })?;
        let said = pool(&node);
        let replica = &said["replicas"][0];
        assert_eq!(replica["slots_total"], 2, "{said}");
        assert_eq!(replica["slots_promised"], 4, "{said}");
        assert!(said["engine_version"].as_str().is_some(), "{said}");
        node.log()?.wait_line(
            &[
                "WARN",
                "fewer slots than its handoff announces",
                "promised=4 has=2",
                "pool-0",
                "r0",
            ],
            SOON,
        )?;

        wait_for("the control plane to know", SOON, || {
            orchestrator
                .node("gpu-1")
                .is_some_and(|node| node["pools"][0]["replicas"][0]["slots_promised"] == 4)
        })?;
        let seen = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !seen.load(Ordering::Relaxed) {
                        let stream = orchestrator.client().chat_stream(MANY_WORDS);
                        assert_eq!(stream.expect("a stream").finish().status, 200);
                    }
                });
            }
            let found = wait_for("the requests to be seen in the engine", SOON, || {
                pool(&node)["replicas"][0]["running"].as_u64() > Some(0)
            });
            seen.store(true, Ordering::Relaxed);
            found
        })?;
        wait_for("the engine to be idle", SOON, || {
            let replica = pool(&node)["replicas"][0].clone();
            replica["running"] == 0 && replica["waiting"] == 0
        })?;
        Ok(())
    })
}

// spec: PROBE-8
#[test]
fn an_engine_falls_asleep_although_it_is_asked_all_the_time() -> Result<()> {
    Cluster::test("sleeping", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let node = cluster.node("gpu-1", &orchestrator, &[])?;
        let engine = cluster.engine_with(2, &["--sleep-idle-seconds", "2"])?;
        node.write_handoff("pool-0", "r0", &engine)?;
        wait_for("the engine to sleep", SOON, || {
            pool(&node)["replicas"][0]["sleeping"] == true
        })?;
        assert_eq!(pool(&node)["ready"], true, "it wakes for a request");
        assert_eq!(orchestrator.client().chat(3)?.status, 200);
        Ok(())
    })
}
