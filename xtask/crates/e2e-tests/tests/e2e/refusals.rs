//! Refused handoffs and refused nodes, where people look: in both profiles.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use test_client::Client;
use test_clock::wait_for;
use test_cluster::Cluster;

const SOON: Duration = Duration::from_secs(90);
const TOKEN: (&str, &str) = ("LLORCH_API_TOKEN", "refusals-right-4f1c");
const WRONG: (&str, &str) = ("LLORCH_API_TOKEN", "refusals-wrong-4f1c");
/// Not a handoff.
const BAD: &str = r#"{"pool_id":"pool-0","replica_id":"r7","slots":"many"}"#;

fn has_event(client: &Client, kind: &str, part: &str) -> bool {
    let events = client.get_json("/v2/events").unwrap_or_default();
    let events = events["events"].as_array().map_or(&[][..], Vec::as_slice);
    events.iter().any(|event| {
        let message = event["message"].as_str().unwrap_or_default();
        event["kind"] == kind && message.contains(part)
    })
}

/// The refused handoffs of the only node, and of all pools.
fn refused(client: &Client) -> (Value, Value) {
    let nodes = client.get_json("/v2/nodes").unwrap_or_default();
    let pools = client.get_json("/v2/pools").unwrap_or_default();
    (
        nodes["nodes"][0]["refused_handoffs"].clone(),
        pools["refused_handoffs"].clone(),
    )
}

fn is_told(client: &Client) -> bool {
    let (of_node, of_pools) = refused(client);
    let names_it = |list: &Value| {
        list[0]["file"]
            .as_str()
            .is_some_and(|file| file.ends_with("pool-0_r7.json"))
            && list[0]["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty())
    };
    names_it(&of_node) && names_it(&of_pools) && has_event(client, "handoff_refused", "r7.json")
}

// spec: SEE-44
#[test]
fn a_refused_handoff_is_shown_by_the_control_plane() -> Result<()> {
    Cluster::test("refused-handoff", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let mut node = cluster.node("node-a", &orchestrator, &[])?;
        let mut home = cluster.home(&[])?;
        for (client, directory) in [
            (orchestrator.client(), node.daemon().directory().to_owned()),
            (home.client(), home.daemon().directory().to_owned()),
        ] {
            let file = directory.join(".runtime/engines/pool-0_r7.json");
            fs::create_dir_all(file.parent().context("no parent")?)?;
            fs::write(&file, BAD)?;
            wait_for("the refusal", SOON, || is_told(&client))?;
            fs::remove_file(&file)?;
            wait_for("its end", SOON, || {
                refused(&client) == (Value::Null, Value::Null)
                    && has_event(&client, "handoff_refused", "over: ")
            })?;
        }
        Ok(())
    })
}

// spec: SEE-41
#[test]
fn a_node_with_a_wrong_token_is_shown_once() -> Result<()> {
    Cluster::test("refused-node", |cluster| {
        let orchestrator = cluster.orchestrator(&[TOKEN])?;
        let client = orchestrator.client().with_token(TOKEN.1);
        let _node = cluster.node("node-a", &orchestrator, &[WRONG])?;
        let listed = || {
            let nodes = client.get_json("/v2/nodes").unwrap_or_default();
            nodes["refused_nodes"][0].clone()
        };
        // It tries again.
        wait_for("two refusals", SOON, || {
            listed()["times"].as_u64() >= Some(2)
        })?;
        let node = listed();
        ensure!(node["from"] == "127.0.0.1", "{node}");
        ensure!(
            node["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains("token")),
            "{node}"
        );
        ensure!(has_event(&client, "node_refused", "127.0.0.1"), "no event");
        let events = client.get_json("/v2/events")?;
        ensure!(
            events.to_string().matches("node_refused").count() == 1,
            "{events}"
        );
        Ok(())
    })
}
