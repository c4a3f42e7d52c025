//! A pool is drained, and one replica of it.

use anyhow::Result;
use serde_json::{Value, json};
use xtask::{clock::wait_for, cluster::Cluster, http::End};

use super::{SLOTS, SOON, are_ready, assert_other_answers, slots, start, two_pools};
use crate::load::{WORDS, ask};

// spec: PROV-16, PROV-17
#[test]
fn a_drain_shows_what_still_runs_and_outlives_the_agent() -> Result<()> {
    Cluster::test("prov-drain", |cluster| {
        let (orchestrator, mut node) = start(cluster, &two_pools(cluster))?;
        let (client, agent) = (orchestrator.client(), node.client());
        let tell = |verb: &str| agent.post(&format!("/v2/pools/chat/{verb}"), &json!({}))?.json();
        let mut stream = client.chat_stream(WORDS)?;
        stream.next_text()?;
        let view = tell("drain")?;
        assert_eq!(
            (&view["draining"], &view["requests_running"]),
            (&json!(true), &json!(1))
        );
        assert_eq!(stream.finish().end, End::Done);
        wait_for("the stream to be counted as ended", SOON, || {
            agent
                .get_json("/v2/pools/chat")
                .is_ok_and(|view| view["requests_running"] == 0)
        })?;

        node.kill();
        node.restart()?;
        wait_for("its engines", SOON, || {
            agent
                .get_json("/v2/pools/chat")
                .is_ok_and(|view| view["ready"] == true)
        })?;
        let direct = "/v2/pools/chat/engine/v1/models";
        assert_eq!(agent.get(direct)?.header("x-llorch-refusal"), "POOL_DRAINING");
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
        let mut stream = client.chat_stream(WORDS)?;
        stream.next_text()?;
        let drained = stream.header("x-llorch-replica").to_owned();
        let path = |verb: &str| format!("/v2/pools/chat/replicas/{drained}/{verb}");
        let replica = |view: &Value| {
            let replicas = view["replicas"].as_array().cloned().unwrap_or_default();
            replicas
                .into_iter()
                .find(|replica| replica["replica_id"] == drained.as_str())
        };
        let view = agent
            .post(&path("drain"), &json!({"deadline_ms": 60_000}))?
            .json()?;
        let said = replica(&view).unwrap_or_default();
        assert_eq!(
            (&view["draining"], &said["draining"]),
            (&json!(false), &json!(true)),
            "{view}"
        );
        assert_eq!(said["drain"]["requests_running"], 1, "{view}");
        assert!(
            said["drain"]["deadline_ms"].as_u64().is_some_and(|left| left > 0),
            "{view}"
        );
        for outcome in (0..4).map(|number| ask(&client, number % 2 == 0)) {
            assert!(outcome.is_complete() && outcome.replica != drained, "{outcome:?}");
        }
        assert_eq!(stream.finish().end, End::Done);
        wait_for("the last request on it to be counted as ended", SOON, || {
            let view = agent.get_json("/v2/pools/chat");
            view.is_ok_and(|view| replica(&view).is_some_and(|said| said["drain"]["requests_running"] == 0))
        })?;
        wait_for("one replica to be left", SOON, || {
            slots(&orchestrator, "chat") == u64::from(SLOTS)
        })?;

        node.kill();
        node.restart()?;
        wait_for("its engines", SOON, || {
            slots(&orchestrator, "chat") == u64::from(SLOTS)
        })?;
        for outcome in (0..2 * SLOTS).map(|_| ask(&client, true)) {
            assert!(outcome.is_complete() && outcome.replica != drained, "{outcome:?}");
        }
        let view = agent.post(&path("undrain"), &json!({}))?.json()?;
        assert_eq!(
            replica(&view).unwrap_or_default()["draining"],
            Value::Null,
            "{view}"
        );
        wait_for("both replicas", SOON, || are_ready(&orchestrator))
    })
}
