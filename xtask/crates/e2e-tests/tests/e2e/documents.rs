//! The commands of the README and of `.docs`, taken from the pages and typed into a shell.
//!
//! A comment above a block names its test: `<!-- run: e2e documents::aliases -->`. `cargo xtask
//! tidy` checks that each block has one, or says why no test runs it.

mod page;
mod shell;

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use child_process::succeed;
use serde_json::Value;
use test_client::{Client, chain};
use test_clock::wait_for;
use test_cluster::{Cluster, handoff, write_handoff};
use test_tools::Tool;
use workspace_build::root;

use self::{
    page::{blocks, line_with, output_below},
    shell::{Place, Shell},
};

/// Long enough for an engine to start on a busy machine.
const SOON: Duration = Duration::from_secs(180);

/// Whether `client` is served the models `names`, in this order.
fn has_models(client: &Client, names: &[&str]) -> bool {
    let list = client.get_json("/v1/models").unwrap_or_default();
    let models = list["data"].as_array().map_or(&[][..], Vec::as_slice);
    models.iter().map(|model| &model["id"]).eq(names)
}

fn is_healthy(client: &Client) -> bool {
    client
        .get("/health")
        .is_ok_and(|answer| answer.status == 200)
}

// spec: PACK-7
#[test]
fn the_demo_answers() -> Result<()> {
    let page = "README.md";
    let [command] = &blocks(page, "the_demo_answers")?[..] else {
        anyhow::bail!("{page}: one command is expected");
    };
    let output = succeed(Command::new("sh").args(["-c", command]).current_dir(root()))?;
    // The page shows the same lines, with other ports.
    let first_words = |text: &str| -> Vec<String> {
        let words = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        words.map(str::to_owned).collect()
    };
    let shown = output_below(page, command)?;
    ensure!(first_words(&output) == first_words(&shown), "{output}");
    ensure!(output.contains(chain(8).trim()), "{output}");
    Ok(())
}

// spec: CLOUD-12001, PACK-7
#[test]
fn home_as_the_readme_has_it() -> Result<()> {
    if !Tool::Curl.is_here()? {
        return Ok(());
    }
    Cluster::test("documents-home", |cluster| {
        let [start, announce, ask, stop] = &blocks("README.md", "home_as_the_readme_has_it")?[..]
        else {
            anyhow::bail!("four blocks are expected");
        };
        let place = Place::new(cluster)?;
        let mut terminal = Shell::open(&place, "terminal")?;
        terminal.type_in(start)?;
        wait_for("the engine", SOON, || is_healthy(&place.engine()))?;
        wait_for("orchestratord", SOON, || is_healthy(&place.control()))?;
        terminal.run(announce, SOON)?;
        wait_for("the model", SOON, || {
            has_models(&place.control(), &["tiny"])
        })?;
        let answer = terminal.run(ask, SOON)?;
        ensure!(answer.contains(chain(8).trim()), "{answer}");
        terminal.run(&format!("{stop}\nwait"), SOON)?;
        ensure!(
            !place
                .directory()
                .join(".runtime/engines/pool-0_r0.json")
                .exists()
        );
        Ok(())
    })
}

// spec: PACK-7
#[test]
fn cloud_as_the_readme_has_it() -> Result<()> {
    if !Tool::Curl.is_here()? {
        return Ok(());
    }
    Cluster::test("documents-cloud", |cluster| {
        let [control, node, ask] = &blocks("README.md", "cloud_as_the_readme_has_it")?[..] else {
            anyhow::bail!("three blocks are expected");
        };
        let place = Place::new(cluster)?;
        let mut first = Shell::open(&place, "control")?;
        first.type_in(control)?;
        first.log().wait_line(&["listening on"], SOON)?;
        // The block prints the token before anything else.
        let text = first.log().text();
        place.set_token(text.lines().next().unwrap_or_default())?;

        let mut second = Shell::open(&place, "node")?;
        second.run(node, SOON)?;
        wait_for("the engine", SOON, || is_healthy(&place.engine()))?;
        wait_for("the model", SOON, || {
            has_models(&place.control(), &["tiny"])
        })?;

        let mut third = Shell::open(&place, "anywhere")?;
        let answer = third.run(ask, SOON)?;
        for part in [
            r#""node_id":"gpu-1""#,
            r#""status":"online""#,
            "data: [DONE]",
        ] {
            ensure!(answer.contains(part), "no {part} in {answer}");
        }
        Ok(())
    })
}

// spec: CLOUD-3010, CLOUD-3011, PACK-7
#[test]
fn the_manual_run() -> Result<()> {
    if !Tool::Curl.is_here()? {
        return Ok(());
    }
    Cluster::test("documents-manual", |cluster| {
        let page = ".docs/MANUAL_RUN.md";
        let [control, node, announce] = &blocks(page, "the_manual_run")?[..] else {
            anyhow::bail!("three blocks are expected");
        };
        let engine = cluster.engine(4)?;
        let place = Place::with_engine(cluster, &engine)?;
        let mut first = Shell::open(&place, "control")?;
        first.type_in(control)?;
        first.log().wait_line(&["listening on"], SOON)?;
        let mut second = Shell::open(&place, "node")?;
        second.type_in(node)?;
        second
            .log()
            .wait_line(&["Successfully registered with orchestratord"], SOON)?;
        let mut third = Shell::open(&place, "terminal")?;
        let nodes = third.run(announce, SOON)?;
        ensure!(nodes.contains("test-node"), "{nodes}");
        let line = line_with(page, "Heartbeat changed state")?;
        // An engine that has answered a probe by then is shown with its models as well.
        first.log().wait_line(&[line.trim_end_matches(']')], SOON)?;
        let client = place.control();
        let pools = || Some(client.get_json("/v2/nodes").ok()?["nodes"][0]["pools"].take());
        wait_for("pool-0 in /v2/nodes", SOON, || {
            pools().is_some_and(|pools| pools[0]["pool_id"] == "pool-0")
        })?;
        wait_for("the model", SOON, || has_models(&client, &["tiny"]))?;
        ensure!(client.chat(10)?.text()? == chain(10));
        Ok(())
    })
}

// spec: PACK-7
#[test]
fn the_pool_file() -> Result<()> {
    if !Tool::Curl.is_here()? {
        return Ok(());
    }
    Cluster::test("documents-pools", |cluster| {
        let [start, ask, steer, show, stop] = &blocks(".docs/POOL_FILE.md", "the_pool_file")?[..]
        else {
            anyhow::bail!("five blocks are expected");
        };
        let place = Place::new(cluster)?;
        let mut terminal = Shell::open(&place, "terminal")?;
        terminal.run(start, SOON)?;
        wait_for("both models", SOON, || {
            has_models(&place.control(), &["one", "two"])
        })?;
        let answer = terminal.run(ask, SOON)?;
        ensure!(answer.contains(r#""model":"two""#), "{answer}");
        let answers = terminal.run(steer, SOON)?;
        ensure!(!answers.contains(r#""error":{"#), "{answers}");
        let pools = terminal.run(show, SOON)?;
        ensure!(pools.contains(r#""pool_id":"chat""#), "{pools}");
        terminal.run(&format!("{stop}\nwait"), SOON)?;
        Ok(())
    })
}

// spec: PACK-7, PATH-18
#[test]
fn aliases() -> Result<()> {
    if !Tool::Curl.is_here()? {
        return Ok(());
    }
    Cluster::test("documents-aliases", |cluster| {
        let [start, ask] = &blocks(".docs/ALIASES.md", "aliases")?[..] else {
            anyhow::bail!("two blocks are expected");
        };
        let engine = cluster.engine(4)?;
        let place = Place::with_engine(cluster, &engine)?;
        write_handoff(place.directory(), &handoff("pool-0", "r0", &engine))?;
        let mut first = Shell::open(&place, "control")?;
        first.type_in(start)?;
        wait_for("both names", SOON, || {
            has_models(&place.control(), &["gpt-4o", "tiny"])
        })?;
        let mut second = Shell::open(&place, "terminal")?;
        let answer = second.run(ask, SOON)?;
        for part in ["gpt-4o", r#""model":"tiny""#, chain(8).trim()] {
            ensure!(answer.contains(part), "no {part} in {answer}");
        }
        Ok(())
    })
}

// spec: PACK-7
#[test]
fn requests_tasks_and_operations() -> Result<()> {
    if !Tool::Curl.is_here()? {
        return Ok(());
    }
    Cluster::test("documents-operations", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let node = cluster.node("gpu-1", &orchestrator, &[])?;
        let engine = cluster.engine(4)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        wait_for("the model", SOON, || {
            has_models(&orchestrator.client(), &["tiny"])
        })?;
        let place = Place::at(cluster, &orchestrator)?;
        let mut terminal = Shell::open(&place, "terminal")?;
        for (page, parts) in [
            (".docs/REQUESTS.md", &["gpu-1"][..]),
            (
                ".docs/TASKS.md",
                &["event: started", "event: token", "event: end", "my-task"],
            ),
            (
                ".docs/OPERATIONS.md",
                &["for_ms", r#""gpus":["#, "openapi", "llorch_requests_total"],
            ),
        ] {
            for block in blocks(page, "requests_tasks_and_operations")? {
                let answers = terminal.run(&block, SOON)?;
                for part in parts {
                    ensure!(answers.contains(part), "{page}: no {part} in {answers}");
                }
            }
        }
        let drained = orchestrator
            .node("gpu-1")
            .map(|mut node| node["drain"].take());
        ensure!(drained == Some(Value::Null), "{drained:?}");
        Ok(())
    })
}

// spec: PACK-7, CLI-35
#[test]
fn see_several_machines() -> Result<()> {
    Cluster::test("documents-several", |cluster| {
        let [commands] = &blocks(".docs/SEVERAL_MACHINES.md", "see_several_machines")?[..] else {
            anyhow::bail!("one block is expected");
        };
        // The model of the page is another name of the model of the tests.
        let aliases = cluster.directory().join("aliases.toml");
        std::fs::write(&aliases, "[aliases]\nmy-model = \"tiny\"\n")?;
        let aliases = aliases.to_string_lossy();
        let token = ("LLORCH_API_TOKEN", "documents-several-1b7e");
        let settings = [token, ("ORCHESTRATORD_ALIASES_FILE", &*aliases)];
        let orchestrator = cluster.orchestrator(&settings)?;
        let node = cluster.node("gpu-1", &orchestrator, &[token])?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        let client = orchestrator.client().with_token(token.1);
        wait_for("the model", SOON, || {
            has_models(&client, &["my-model", "tiny"])
        })?;
        let commands = commands
            .replace("http://192.168.1.10:8080", &orchestrator.url())
            .replace('…', token.1);
        let llorch = workspace_build::llorch()?;
        let directory = llorch.parent().map_or_else(String::new, |directory| {
            directory.to_string_lossy().into_owned()
        });
        let path = std::env::var("PATH").unwrap_or_default();
        let said = succeed(
            Command::new("sh")
                .args(["-ec", &commands])
                .env("PATH", format!("{directory}:{path}"))
                .stdin(std::process::Stdio::null()),
        )?;
        ensure!(
            said.contains("gpu-1  online") && said.contains("tiny   yes"),
            "{said}"
        );
        // The prompt is `hello` alone, and the model has answered.
        let answer = said.lines().last().unwrap_or_default();
        ensure!(!answer.is_empty() && !answer.contains("my-model"), "{said}");
        Ok(())
    })
}

// spec: CHECK-1, PACK-7
#[test]
fn the_checks() -> Result<()> {
    if !Tool::Curl.is_here()? {
        return Ok(());
    }
    Cluster::test("documents-checks", |cluster| {
        let page = ".docs/OPERATIONS.md";
        let [check] = &blocks(page, "the_checks")?[..] else {
            anyhow::bail!("one block is expected");
        };
        let place = Place::new(cluster)?;
        let mut terminal = Shell::open(&place, "terminal")?;
        let unknown = "export ORCHESTRATORD_UNKNOWN=1 POOL_MANAGERD_UNKNOWN=1";
        let report = terminal.run(&format!("{unknown}\n{check}"), SOON)?;
        let shown = line_with(page, &" ".repeat(40))?;
        let hint = shown.trim().split(' ').next().unwrap_or_default();
        for part in [
            "ORCHESTRATORD_UNKNOWN",
            "POOL_MANAGERD_UNKNOWN",
            " errors, ",
            hint,
        ] {
            ensure!(report.contains(part), "no {part:?} in {report}");
        }
        Ok(())
    })
}
