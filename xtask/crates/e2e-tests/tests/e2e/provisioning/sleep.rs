//! A pool without requests is scaled to zero, and started again by the first request.

use std::thread;

use anyhow::Result;
use serde_json::Value;
use test_clock::{now, wait_for, wait_for_some};
use test_cluster::{Cluster, Node, Orchestrator};

use super::{SLOTS, SOON, assert_other_answers, begin, pool, pool_of};
use crate::load::{Outcome, ask};

/// A pool that scales to zero and declares no models, and one that does not scale.
fn sleepy(cluster: &Cluster) -> String {
    let chat = pool(cluster, "chat", "tiny", 1).replace("slots =", "sleep_after_secs = 1\nslots =");
    chat + &pool(cluster, "other", "other", 1)
}

/// What the control plane says of the pool, once it is that it sleeps and takes requests.
fn sleeping(orchestrator: &Orchestrator) -> Option<Value> {
    let offered = |pool: &Value| {
        (&pool["sleeping"], &pool["ready"], &pool["slots_free"])
            == (&true.into(), &true.into(), &SLOTS.into())
    };
    pool_of(orchestrator, "chat").filter(offered)
}

/// Waits until the pool is scaled to zero.
fn asleep(cluster: &Cluster, orchestrator: &Orchestrator, node: &Node) -> Result<()> {
    // The engine first: what the control plane knows of the pool may be from before it was woken.
    wait_for("its engine to end", SOON, || {
        cluster.engine_processes().len() == 1
    })?;
    // All of it in one look: a node that has just come back has not reported yet.
    let said = wait_for_some("the pool to sleep", SOON, || sleeping(orchestrator))?;
    assert_eq!(node.announced_port("chat", "r0"), None);
    assert_eq!(said["replicas"][0]["sleeping"], true, "{said}");
    let view = node.client().get_json("/v2/pools/chat")?;
    assert_eq!(view["sleeping"], true, "{view}");
    let models = orchestrator.client().get_json("/v1/models")?;
    let named = |model: &Value| model["id"] == "tiny";
    assert!(
        models["data"]
            .as_array()
            .is_some_and(|data| data.iter().any(named)),
        "{models}"
    );
    Ok(())
}

/// More requests at once than the pool has slots.
fn all_at_once(orchestrator: &Orchestrator) -> Vec<Outcome> {
    let client = &orchestrator.client();
    thread::scope(|scope| {
        let requests: Vec<_> = (0..3 * SLOTS)
            .map(|number| scope.spawn(move || ask(client, number % 2 == 0)))
            .collect();
        let outcomes = requests.into_iter().map(thread::ScopedJoinHandle::join);
        outcomes
            .map(|outcome| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

// spec: PROV-19, PROV-20, PROV-23
#[test]
fn an_idle_pool_is_stopped_and_woken_by_the_first_request() -> Result<()> {
    Cluster::test("prov-sleep", |cluster| {
        let (orchestrator, mut node) = begin(cluster, &sleepy(cluster))?;
        asleep(cluster, &orchestrator, &node)?;
        let woken = now();
        let answer = orchestrator.client().chat(3)?;
        println!(
            "woken and answered after {} ms",
            woken.elapsed().as_millis()
        );
        assert_eq!(answer.status, 200, "{}", answer.body);

        // All who come meanwhile wait for the same start.
        asleep(cluster, &orchestrator, &node)?;
        for outcome in all_at_once(&orchestrator) {
            assert!(outcome.is_complete(), "{outcome:?}");
        }
        let starts = node.log()?.text().matches("Engine starting").count();
        assert_eq!(starts, 2 + 2, "each pool once, and two wakes");

        // It sleeps on when its agent is killed, and when it is told to stop.
        asleep(cluster, &orchestrator, &node)?;
        for kill in [true, false] {
            if kill {
                node.kill();
            } else {
                assert!(node.terminate(SOON)?.success());
                assert_eq!(cluster.engine_processes(), []);
            }
            let incarnation = || {
                orchestrator
                    .client()
                    .get_json("/v2/nodes")
                    .map(|nodes| nodes["nodes"][0]["incarnation"].clone())
            };
            let before = incarnation()?;
            node.restart()?;
            // What is known of its pools is from its last start until it has registered again.
            wait_for("the node's new start", SOON, || {
                incarnation().is_ok_and(|now| now != before)
            })?;
            wait_for("the other pool", SOON, || {
                pool_of(&orchestrator, "other").is_some_and(|pool| pool["ready"] == true)
            })?;
            asleep(cluster, &orchestrator, &node)?;
            assert!(!node.log()?.text().contains("Engine starting pool_id=chat"));
        }
        assert_eq!(orchestrator.client().chat(3)?.status, 200);
        Ok(())
    })
}

// spec: PROV-21
#[test]
fn a_pool_that_does_not_wake_says_why_and_disturbs_no_other() -> Result<()> {
    Cluster::test("prov-wake-fails", |cluster| {
        let model = cluster.directory().join("chat.gguf");
        std::fs::copy(cluster.model(), &model)?;
        let ours = format!("{:?}", cluster.model());
        let file = sleepy(cluster).replacen(&ours, &format!("{model:?}"), 1);
        let (orchestrator, node) = begin(cluster, &file)?;
        asleep(cluster, &orchestrator, &node)?;
        let aside = model.with_extension("aside");
        std::fs::rename(&model, &aside)?;
        let client = orchestrator.client();
        let asked = now();
        let answer = client.chat(3)?;
        println!(
            "refused after {} ms: {}",
            asked.elapsed().as_millis(),
            answer.body
        );
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_other_answers(&client)?;
        let view = node.client().get_json("/v2/pools/chat")?;
        let error = view["last_error"].as_str().unwrap_or_default();
        assert!(error.contains("there is no model file"), "{view}");
        assert_eq!(view["sleeping"], Value::Null, "{view}");

        std::fs::rename(&aside, &model)?;
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })
    })
}
