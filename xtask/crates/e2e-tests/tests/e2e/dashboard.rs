//! The page at `/`, in a browser: what a person does with it on a real cluster.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e_tests::browser::Browser;
use test_client::chain;
use test_clock::wait_for;
use test_cluster::{Cluster, Setting};
use tiny_model::TinyModel;

const NAMES: [&str; 3] = ["node-a", "node-b", "node-c"];
const SOON: Duration = Duration::from_secs(90);
const TOKEN: &str = "dashboard-5d20c7e1";
const SLOTS: u32 = 2;
/// Slow enough that an answer of thousands of words outlasts a drain.
const PAD_MB: u32 = 60;

// spec: DASH-9, DASH-10, DASH-11, DASH-12, DASH-32, DASH-40, DASH-41, DASH-50
#[test]
fn an_operator_sees_and_steers_three_nodes() -> Result<()> {
    let Some(browser) = Browser::find()? else {
        return Ok(());
    };
    let model = TinyModel {
        pad_mb: PAD_MB,
        ..TinyModel::default()
    };
    Cluster::test_with_model("dashboard", &model, |cluster| {
        let token: Setting<'_> = ("LLORCH_API_TOKEN", TOKEN);
        let mut orchestrator = cluster.orchestrator(&[token])?;
        let mut nodes = Vec::new();
        let mut engines = Vec::new();
        for name in NAMES {
            let settings = [token, ("POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS", "1")];
            let node = cluster.node(name, &orchestrator, &settings)?;
            let engine = cluster.engine(SLOTS)?;
            node.write_handoff("pool-0", "r0", &engine)?;
            nodes.push(node);
            engines.push(engine);
        }
        let client = orchestrator.client().with_token(TOKEN);
        wait_for("an answer", SOON, || {
            client.chat(1).is_ok_and(|answer| answer.status == 200)
        })?;

        let url = orchestrator.url();
        browser.run("cluster.mjs", &[&url, TOKEN, &chain(12)], |what| {
            match what.split_once(' ') {
                Some(("kill", name)) => nodes
                    .iter_mut()
                    .find(|node| node.name() == name)
                    .with_context(|| format!("no node {name}"))?
                    .kill(),
                None if what == "stop" => orchestrator.kill(),
                None if what == "start" => orchestrator.restart()?,
                _ => bail!("the script needs {what:?}"),
            }
            Ok(())
        })
    })
}

// spec: DASH-12, DASH-13, DASH-30, DASH-31
#[test]
fn anybody_can_use_every_view_and_a_large_fleet_stays_light() -> Result<()> {
    let Some(browser) = Browser::find()? else {
        return Ok(());
    };
    browser.run("fleet.mjs", &[], |what| bail!("the script needs {what:?}"))
}
