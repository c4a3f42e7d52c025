//! A pool is drained, and one replica of it.

use std::thread::{self, ScopedJoinHandle};

use anyhow::Result;
use serde_json::{Value, json};
use test_client::{Client, End, Stream, Streamed};
use test_clock::wait_for;
use test_cluster::{Cluster, EngineProcess};

use super::{SLOTS, SOON, are_ready, assert_other_answers, processes, slots, start, two_pools};
use crate::load::{WORDS, ask};

/// How many requests run in the pool, as its node says.
fn running_in(agent: &Client) -> Option<u64> {
    agent.get_json("/v2/pools/chat").ok()?["requests_running"].as_u64()
}

fn joined(stream: ScopedJoinHandle<'_, Result<Streamed>>) -> Result<Streamed> {
    stream
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

// spec: PROV-16, PROV-17
#[test]
fn a_drain_shows_what_still_runs_and_outlives_the_agent() -> Result<()> {
    Cluster::test("prov-drain", |cluster| {
        let (orchestrator, mut node) = start(cluster, &two_pools(cluster))?;
        let (client, agent) = (orchestrator.client(), node.client());
        let tell = |verb: &str| {
            agent
                .post(&format!("/v2/pools/chat/{verb}"), &json!({}))?
                .json()
        };
        let running = processes(cluster, &node);
        let engines = ["r0", "r1"].map(|replica| running[&("chat", replica)]);
        thread::scope(|scope| {
            // A request runs for as long as its engine is suspended.
            let suspended = engines.map(EngineProcess::suspend);
            let stream = scope.spawn(|| client.chat_stream(WORDS).map(Stream::finish));
            wait_for("the request to run", SOON, || running_in(&agent) == Some(1))?;
            let view = tell("drain")?;
            assert_eq!(
                (&view["draining"], &view["requests_running"]),
                (&json!(true), &json!(1))
            );
            drop(suspended);
            assert_eq!(joined(stream)?.end, End::Done);
            anyhow::Ok(())
        })?;
        wait_for("the stream to be counted as ended", SOON, || {
            running_in(&agent) == Some(0)
        })?;

        node.kill();
        node.restart()?;
        wait_for("its engines", SOON, || {
            agent
                .get_json("/v2/pools/chat")
                .is_ok_and(|view| view["ready"] == true)
        })?;
        let direct = "/v2/pools/chat/engine/v1/models";
        assert_eq!(
            agent.get(direct)?.header("x-llorch-refusal"),
            "POOL_DRAINING"
        );
        assert_other_answers(&client)?;
        assert_eq!(tell("undrain")?["draining"], false);
        assert_eq!(agent.get(direct)?.status, 200);
        Ok(())
    })
}

// spec: PROV-22
#[test]
fn one_replica_is_drained_and_the_other_serves() -> Result<()> {
    Cluster::test("prov-replica", |cluster| {
        let (orchestrator, mut node) = start(cluster, &two_pools(cluster))?;
        let (client, agent) = (orchestrator.client(), node.client());
        let tell = |replica: &str, verb: &str| {
            let path = format!("/v2/pools/chat/replicas/{replica}/{verb}");
            agent.post(&path, &json!({"deadline_ms": 600_000}))?.json()
        };
        let said_of = |replica: &str, view: &Value| {
            let replicas = view["replicas"].as_array().cloned().unwrap_or_default();
            let said = replicas
                .into_iter()
                .find(|said| said["replica_id"] == replica);
            said.unwrap_or_default()
        };
        let running = processes(cluster, &node);
        let engines = ["r0", "r1"].map(|replica| running[&("chat", replica)]);
        let drained = thread::scope(|scope| {
            // A request runs for as long as its engine is suspended.
            let suspended = engines.map(EngineProcess::suspend);
            let stream = scope.spawn(|| client.chat_stream(WORDS).map(Stream::finish));
            wait_for("the request to run", SOON, || running_in(&agent) == Some(1))?;
            // Only a replica that drains says how many requests it has: one of the two has this
            // one.
            let mut view = tell("r0", "drain")?;
            let mut drained = "r0";
            if said_of("r0", &view)["drain"]["requests_running"] == 0 {
                tell("r0", "undrain")?;
                drained = "r1";
                view = tell("r1", "drain")?;
            }
            let said = said_of(drained, &view);
            assert_eq!(
                (&view["draining"], &said["draining"]),
                (&json!(false), &json!(true)),
                "{view}"
            );
            assert_eq!(said["drain"]["requests_running"], 1, "{view}");
            assert!(
                said["drain"]["deadline_ms"]
                    .as_u64()
                    .is_some_and(|left| left > 0),
                "{view}"
            );
            drop(suspended);
            for outcome in (0..4).map(|number| ask(&client, number % 2 == 0)) {
                assert!(
                    outcome.is_complete() && outcome.replica != drained,
                    "{outcome:?}"
                );
            }
            assert_eq!(joined(stream)?.end, End::Done);
            anyhow::Ok(drained)
        })?;
        wait_for(
            "the last request on it to be counted as ended",
            SOON,
            || {
                let view = agent.get_json("/v2/pools/chat");
                view.is_ok_and(|view| said_of(drained, &view)["drain"]["requests_running"] == 0)
            },
        )?;
        wait_for("one replica to be left", SOON, || {
            slots(&orchestrator, "chat") == u64::from(SLOTS)
        })?;

        node.kill();
        node.restart()?;
        wait_for("its engines", SOON, || {
            slots(&orchestrator, "chat") == u64::from(SLOTS)
        })?;
        for outcome in (0..2 * SLOTS).map(|_| ask(&client, true)) {
            assert!(
                outcome.is_complete() && outcome.replica != drained,
                "{outcome:?}"
            );
        }
        let view = tell(drained, "undrain")?;
        assert_eq!(said_of(drained, &view)["draining"], Value::Null, "{view}");
        wait_for("both replicas", SOON, || are_ready(&orchestrator))
    })
}
