//! Engines that no handoff of their starter announces: added by an operator, or found by a scan.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use test_client::{Client, chain};
use test_clock::wait_for;
use test_cluster::Cluster;
use workspace_build::llorch;

const SOON: Duration = Duration::from_secs(90);

/// Standard output of `llorch` in the directory of a daemon; it has to succeed.
fn run_in(directory: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(llorch()?)
        .args(arguments)
        .env_clear()
        .current_dir(directory)
        .output()
        .with_context(|| format!("llorch {arguments:?}"))?;
    ensure!(output.status.success(), "llorch {arguments:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn answers(client: &Client) -> bool {
    client.chat(3).is_ok_and(|answer| answer.status == 200)
}

// spec: FIND-8, FIND-11, FIND-13
#[test]
fn an_added_engine_outlives_a_restart_of_the_machine() -> Result<()> {
    Cluster::test("engine-add", |cluster| {
        let mut home = cluster.home(&[])?;
        let mut engine = cluster.engine(2)?;
        let directory = home.daemon().directory().to_owned();
        let added = run_in(
            &directory,
            &["engine", "add", &engine.url(), "--pool", "chat"],
        )?;
        ensure!(added.contains("slots: 2, models: tiny"), "{added}");
        let client = home.client();
        wait_for("an answer", SOON, || answers(&client))?;
        assert_eq!(client.chat(9)?.text()?, chain(9));

        // The machine restarts: processes are gone, and so are runtime directories.
        assert!(home.terminate(SOON)?.success());
        engine.kill();
        std::fs::remove_dir_all(directory.join(".runtime/engines"))?;
        home.restart()?;
        // A dead engine is known, but nothing says that it serves.
        let pool = || {
            let pools = home.client().get_json("/v2/pools").unwrap_or_default();
            pools["pools"][0].clone()
        };
        wait_for("the reason", SOON, || {
            let why = pool()["unavailable"].to_string();
            why.contains("Connection refused")
        })?;
        assert_eq!(
            (&pool()["pool_id"], &pool()["ready"]),
            (&"chat".into(), &false.into())
        );
        engine.restart()?;
        let client = home.client();
        wait_for("an answer again", SOON, || answers(&client))?;
        run_in(&directory, &["engine", "remove", &engine.url()])?;
        // A request that comes just then waits for the engine to come back.
        let client = client.with_header("x-deadline-ms", "2000");
        wait_for("the engine to be forgotten", SOON, || !answers(&client))?;
        Ok(())
    })
}

// spec: FIND-15, FIND-16
#[test]
fn a_scan_of_a_node_offers_an_engine_while_it_runs() -> Result<()> {
    Cluster::test("engine-scan", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let mut engine = cluster.engine(2)?;
        let url = engine.url();
        let port = url.rsplit(':').next().unwrap_or_default().to_owned();
        let settings = [
            ("POOL_MANAGERD_SCAN_INTERVAL_SECS", "1"),
            ("POOL_MANAGERD_SCAN_PORTS", port.as_str()),
        ];
        let node = cluster.node("node-a", &orchestrator, &settings)?;
        let client = orchestrator.client();
        wait_for("an answer", SOON, || answers(&client))?;
        assert_eq!(client.chat(9)?.text()?, chain(9));
        engine.kill();
        let log = || node.log().map(|log| log.text()).unwrap_or_default();
        wait_for("the engine to be withdrawn", SOON, || {
            log().contains("An engine that a scan found gets no more requests")
        })?;
        engine.restart()?;
        wait_for("an answer again", SOON, || answers(&client))?;
        let found = "A scan found an engine; it gets requests after its first good probe";
        assert_eq!(log().matches(found).count(), 2, "{}", log());
        Ok(())
    })
}
