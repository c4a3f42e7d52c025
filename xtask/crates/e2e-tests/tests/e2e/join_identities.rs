//! A node with a certificate does not pass for the control plane, nor for another node, and a join
//! token takes over no node.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use test_clock::wait_for;
use test_cluster::Cluster;
use workspace_build::llorch;

use crate::joining::{Machine, SOON, https, operate, run, with_ca};

// spec: TLS-30, TLS-31, JOIN-60
#[test]
fn a_node_passes_for_no_one_else() -> Result<()> {
    Cluster::test("join-identities", |cluster| {
        let orchestrator = with_ca(cluster, &[])?;
        let (victim, evil) = (
            Machine::new(cluster, "victim")?,
            Machine::new(cluster, "evil")?,
        );
        let printed = operate(&orchestrator, &["join-token", "create", "--uses", "4"])?;
        ensure!(victim.join("victim", &printed, "https")?.code == Some(0));
        ensure!(evil.join("evil", &printed, "https")?.code == Some(0));
        let _evil = evil.start(cluster, "evil")?;
        wait_for("the node", SOON, || orchestrator.node("evil").is_some())?;

        // For an operator, and for a machine that joins: its address is that of a node.
        let is_of_evil = "the server's certificate is that of spiffe://llorch/node/evil, and not \
                          that of spiffe://llorch/control-plane";
        let ca = victim.ca();
        let ca = ca.to_str().context("a path in UTF-8")?;
        let settings = [
            ("LLORCH_URL", evil.url("https")),
            ("LLORCH_TLS_CA_FILE", ca.to_owned()),
            ("LLORCH_API_TOKEN", "a-token-of-an-operator".to_owned()),
        ];
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let asked = run(&llorch()?, &["status"], &settings)?;
        ensure!(
            asked.code != Some(0) && asked.err.contains(is_of_evil),
            "{}",
            asked.err
        );
        let machine = Machine::new(cluster, "third")?;
        let mut misled = printed.clone();
        let own = https(&orchestrator.url());
        misled.err = misled.err.replace(&own, &evil.url("https"));
        let joined = machine.join("third", &misled, "https")?;
        ensure!(
            joined.code == Some(1) && joined.err.contains(is_of_evil),
            "{}",
            joined.err
        );
        // For the agent of another node.
        let mut agent = victim.daemon(cluster, "victim")?;
        agent.set("ORCHESTRATORD_URL", &evil.url("https"));
        agent.start()?;
        let log = agent.log()?;
        wait_for("a refusal", SOON, || log.text().contains(is_of_evil))?;
        drop(agent);

        // For the control plane: the address of one node is answered by the other.
        let url = format!("{}/v2/nodes/register", https(&orchestrator.url()));
        let registration = json!({
            "node_id": "victim", "machine_id": "victim", "address": evil.url("https"),
            "pools": [], "capabilities": {}, "version": "0.1.0", "incarnation": 1,
        });
        let (status, body) = victim.client()?.send("post", &url, &registration)?;
        ensure!(status == 200, "{status} {body}");
        let refused = "is that of spiffe://llorch/node/evil, and not that of \
                       spiffe://llorch/node/victim";
        wait_for("a failed probe", SOON, || {
            let node = orchestrator.node("victim");
            node.is_some_and(|node| node.to_string().contains(refused))
        })?;

        // A token that was not made for it does not replace it; one that was does.
        let stranger = Machine::new(cluster, "stranger")?;
        let taken = stranger.join("victim", &printed, "https")?;
        ensure!(
            taken.code == Some(1) && taken.err.contains("node_id: the node victim has joined"),
            "{}",
            taken.err
        );
        let url = format!("{}/v2/nodes/victim", https(&orchestrator.url()));
        let (status, body) = victim
            .client()?
            .send("get", &url, &serde_json::Value::Null)?;
        ensure!(status == 200, "{status} {body}");
        let bound = operate(&orchestrator, &["join-token", "create", "--node", "victim"])?;
        let joined = stranger.join("victim", &bound, "https")?;
        ensure!(joined.code == Some(0), "{}", joined.err);
        Ok(())
    })
}
