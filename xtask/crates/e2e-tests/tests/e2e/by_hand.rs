//! What the README tells people to type, typed.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use child_process::{Group, Process};
use test_client::{Client, chain};
use test_clock::{now, wait_for};
use test_cluster::{Cluster, free_port, handoff, write_handoff};
use workspace_build::{Binaries, llorch, root};

const SOON: Duration = Duration::from_secs(90);

/// A shell line, run in a directory of its own with nothing in the environment but PATH.
fn shell(cluster: &Cluster, name: &str, line: &str) -> Result<Process> {
    let directory = cluster.directory().join(name);
    std::fs::create_dir_all(&directory)?;
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .current_dir(directory)
        .env_clear();
    command.env("PATH", std::env::var_os("PATH").context("no PATH")?);
    Process::spawn(
        name,
        &mut command,
        &cluster.logs().join(format!("{name}.log")),
        Group::Ours,
    )
}

// spec: CLOUD-3010, CLOUD-3011, PACK-7
#[test]
fn the_readme_by_hand() -> Result<()> {
    Cluster::test("by-hand", |cluster| {
        let engine = cluster.engine(4)?;
        let Binaries {
            orchestratord,
            pool_managerd,
        } = Binaries::get()?;
        let (control_port, node_port) = (free_port()?, free_port()?);

        let mut control = shell(
            cluster,
            "control",
            &format!(
                "ORCHESTRATORD_CLOUD_PROFILE=true ORCHESTRATORD_ADDR=127.0.0.1:{control_port} \
                 exec {}",
                orchestratord.display()
            ),
        )?;
        control.wait_line(&["listening on"], SOON)?;
        let mut node = shell(
            cluster,
            "node",
            &format!(
                "POOL_MANAGERD_CLOUD_PROFILE=true POOL_MANAGERD_NODE_ID=test-node \
             POOL_MANAGERD_ADDR=127.0.0.1:{node_port} \
              POOL_MANAGERD_ADDRESS=http://localhost:{node_port} \
             ORCHESTRATORD_URL=http://localhost:{control_port} exec {}",
                pool_managerd.display()
            ),
        )?;
        node.wait_line(&["Successfully registered with orchestratord"], SOON)?;

        let handoff = format!(
            r#"{{"pool_id":"pool-0","replica_id":"r0","engine":"llamacpp","url":"{}","engine_version":"v1","slots":4}}"#,
            engine.url()
        );
        let line = format!(
            "mkdir -p .runtime/engines && echo '{handoff}' > .runtime/engines/pool-0_r0.json"
        );
        let directory = cluster.directory().join("node");
        let status = Command::new("sh")
            .args(["-c", &line])
            .current_dir(&directory)
            .status()?;
        ensure!(status.success(), "the handoff was not written");
        let written = now();

        control.wait_line(&["eartbeat", "pool-0"], SOON)?;
        let seen = written.elapsed();
        let client = Client::new(&format!("http://localhost:{control_port}"));
        let pools = || Some(client.get_json("/v2/nodes").ok()?["nodes"][0]["pools"].take());
        wait_for("pool-0 in /v2/nodes", SOON, || {
            pools().is_some_and(|pools| pools[0]["pool_id"] == "pool-0")
        })?;
        println!("seen in the log after {} ms", seen.as_millis());

        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;
        assert_eq!(client.chat(10)?.text()?, chain(10));
        Ok(())
    })
}

/// The blocks of shell lines below a heading of the README.
fn blocks(heading: &str) -> Result<Vec<String>> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let (_, section) = readme
        .split_once(&format!("\n{heading}\n"))
        .with_context(|| format!("the README has no {heading:?}"))?;
    let section = section.split("\n#").next().unwrap_or_default();
    let blocks = section.split("```sh\n").skip(1);
    Ok(blocks
        .filter_map(|block| Some(block.split_once("```")?.0.to_owned()))
        .collect())
}

/// The bodies that its `curl` lines send.
fn bodies(block: &str) -> Vec<&str> {
    let after = block.split("-d '").skip(1);
    after.filter_map(|rest| rest.split('\'').next()).collect()
}

// spec: PACK-7, PATH-18
#[test]
fn other_names_for_models_as_the_readme_has_them() -> Result<()> {
    Cluster::test("by-hand-aliases", |cluster| {
        let (start, ask) = match &blocks("### Other names for models")?[..] {
            [start, ask] => (start.clone(), ask.clone()),
            others => anyhow::bail!("{} blocks", others.len()),
        };
        let engine = cluster.engine(4)?;
        write_handoff(
            &cluster.directory().join("control"),
            &handoff("pool-0", "r0", &engine),
        )?;
        // As it stands there, but for the places that the tests beside this one have, too.
        let port = free_port()?;
        let program = format!("exec {}", Binaries::get()?.orchestratord.display());
        let own = cluster.directory().to_string_lossy().into_owned() + "/";
        let line = start
            .replace("/tmp/", &own)
            .replace("target/debug/orchestratord", &program);
        let line = format!("export ORCHESTRATORD_ADDR=127.0.0.1:{port}\n{line}");
        let mut control = shell(cluster, "control", &line)?;
        control.wait_line(&["listening on"], SOON)?;

        let client = Client::new(&format!("http://localhost:{port}"));
        let names = || -> Option<Vec<String>> {
            let list = client.get_json("/v1/models").ok()?;
            let models = list["data"].as_array()?.iter();
            models
                .map(|model| Some(model["id"].as_str()?.to_owned()))
                .collect()
        };
        wait_for("both names", SOON, || {
            names().is_some_and(|names| names == ["gpt-4o", "tiny"])
        })?;
        let bodies = bodies(&ask);
        assert_eq!(bodies.len(), 1, "{ask}");
        let answer = client.post("/v1/chat/completions", &serde_json::from_str(bodies[0])?)?;
        assert_eq!(answer.text()?, chain(8));
        assert_eq!(answer.json()?["model"], "tiny");
        Ok(())
    })
}

// spec: CONF-1
#[test]
fn wrong_settings_are_all_told_at_once() -> Result<()> {
    Cluster::test("settings", |cluster| {
        let line = format!(
            "POOL_MANAGERD_CLOUD_PROFILE=true POOL_MANAGERD_ADDR=nonsense \
             POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS=x exec {}",
            Binaries::get()?.pool_managerd.display()
        );
        let mut node = shell(cluster, "node", &line)?;
        assert_eq!(node.wait_end(SOON)?.code(), Some(64));
        let log = node.log().text();
        for variable in [
            "POOL_MANAGERD_ADDR",
            "POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS",
            "POOL_MANAGERD_ADDRESS",
            "ORCHESTRATORD_URL",
        ] {
            assert!(log.contains(variable), "{variable} is not in: {log}");
        }
        Ok(())
    })
}

// spec: CONF-3
#[test]
fn help_and_version_need_no_settings() -> Result<()> {
    let Binaries {
        orchestratord,
        pool_managerd,
    } = Binaries::get()?;
    for program in [orchestratord, pool_managerd, llorch()?] {
        for option in ["--help", "--version"] {
            let output = Command::new(&program).arg(option).env_clear().output()?;
            assert!(output.status.success(), "{} {option}", program.display());
            assert!(
                !output.stdout.is_empty(),
                "{} {option} says nothing",
                program.display()
            );
        }
    }
    Ok(())
}
