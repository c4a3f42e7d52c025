//! What people who watch see: status and events of real daemons, in both profiles.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use test_client::Client;
use test_clock::wait_for;
use test_cluster::{Cluster, handoff, write_handoff};

use crate::load::Load;

const SOON: Duration = Duration::from_secs(90);

fn kinds(client: &Client) -> Vec<String> {
    let events = client.get_json("/v2/events").unwrap_or_default();
    let kind = |event: &Value| event["kind"].as_str().map(str::to_owned);
    events["events"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(kind)
        .collect()
}

fn status(client: &Client) -> Value {
    client.get_json("/v2/status").unwrap_or_default()
}

// spec: SEE-1, SEE-5, SEE-8
#[test]
fn a_node_is_watched_from_joining_to_silence() -> Result<()> {
    Cluster::test("watching", |cluster| {
        let orchestrator = cluster.orchestrator(&[("ORCHESTRATORD_NODE_TIMEOUT_MS", "6000")])?;
        let client = orchestrator.client();
        let mut node = cluster.node("node-a", &orchestrator, &[])?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;
        Load::while_it_lasts(client.clone(), 1).run(|_| {
            wait_for("the streams to be seen", SOON, || {
                let status = status(&client);
                status["models"][0]["running"] == 1
                    && status["slots"]["free"] == 1
                    && status["traffic"]["tokens_per_s"].as_f64() > Some(0.0)
            })
        })?;
        let seen = status(&client);
        assert_eq!(
            (&seen["profile"], &seen["nodes"]["online"]),
            (&"cloud".into(), &1.into())
        );
        assert_eq!(
            (&seen["models"][0]["model"], &seen["slots"]["total"]),
            (&"tiny".into(), &2.into())
        );
        wait_for("the first token of a stream to be told", SOON, || {
            status(&client)["traffic"]["first_token_ms"]["p50"].is_number()
        })?;

        node.kill();
        wait_for("the node to be offline", SOON, || {
            kinds(&client).contains(&"node_offline".to_owned())
        })?;
        let told = kinds(&client);
        let place = |kind: &str| told.iter().position(|told| told == kind);
        assert!(place("node_joined") < place("pool_ready"), "{told:?}");
        assert!(place("pool_ready") < place("node_offline"), "{told:?}");
        assert_eq!(status(&client)["nodes"]["offline"], 1);
        Ok(())
    })
}

// spec: SEE-1, SEE-3, SEE-5, SEE-8
#[test]
fn at_home_engines_are_watched_and_a_watcher_does_not_hold_up_the_end() -> Result<()> {
    Cluster::test("watching-home", |cluster| {
        // A request for the dead engine fails at once.
        let mut home = cluster.home(&[("ORCHESTRATORD_QUEUE_WAIT_MS", "100")])?;
        let client = home.client();
        let engine = cluster.engine(2)?;
        write_handoff(home.daemon().directory(), &handoff("pool-0", "r0", &engine))?;
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;
        assert_eq!(status(&client)["profile"], "home");
        assert!(kinds(&client).contains(&"pool_ready".to_owned()));
        drop(engine);
        wait_for("the engine to be quarantined", SOON, || {
            let _ = client.chat(3);
            kinds(&client).contains(&"quarantined".to_owned())
        })?;
        wait_for("the error to be told", SOON, || {
            status(&client)["recent_errors"][0]["model"] == "tiny"
        })?;
        let _watcher = client.follow("/v2/events")?;
        assert!(home.terminate(SOON)?.success());
        Ok(())
    })
}
