//! Schemathesis: requests made from the OpenAPI document, valid ones and invalid ones, and every
//! answer held against it.
//!
//! All its checks are on, but for what `schemathesis/schemathesis.toml` of this crate leaves out
//! with a reason. It runs against real daemons with a real engine behind them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use child_process::{Group, Process};
use serde_json::Value;
use test_client::Client;
use test_clock::wait_for;
use test_cluster::{Cluster, Node, Orchestrator, Setting, handoff, write_handoff};
use test_tools::{Packages, Tool};

/// The version that is tested with.
const PACKAGE: &str = "schemathesis==4.32.5";
/// The valid token.
const TOKEN: &str = "fuzz-4e1b7c90a2d35f68";
/// The limit on the tokens of an answer, so that the test spends its time on requests and not on
/// inference.
const ANSWER_TOKENS: &str = "8";
const SLOTS: u32 = 4;
const SOON: Duration = Duration::from_secs(90);
/// A short queue timeout: many requests wait for a drained pool or a missing model.
const QUEUE_TIMEOUT: Setting<'_> = ("ORCHESTRATORD_QUEUE_WAIT_MS", "100");
/// How much longer than its time a run may take, and how long one without: 20 s, when the machine
/// does nothing else.
const GRACE: Duration = Duration::from_secs(600);

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Requests of each kind for each route.
    pub examples: u32,
    /// How long one daemon is tried; `None` ends with the last of the requests, however long they
    /// take.
    pub time: Option<Duration>,
    /// Which requests are made; the same ones each time, when it is set.
    pub seed: Option<u64>,
}

impl Effort {
    /// What every check can afford: the same requests each time, so that a failure is news of the
    /// change at hand.
    pub const SHORT: Self = Self {
        examples: 5,
        time: None,
        seed: Some(1),
    };
}

/// Schemathesis, installed.
#[derive(Debug)]
pub struct Fuzzer {
    packages: Packages,
}

impl Fuzzer {
    /// Installs it once. `None` where that is not possible; what needs it is then left out.
    ///
    /// # Errors
    /// When it cannot be installed and is required.
    pub fn find() -> Result<Option<Self>> {
        match Packages::install("schemathesis", &[PACKAGE]) {
            Ok(packages) => Ok(Some(Self { packages })),
            Err(error) => Tool::Schemathesis
                .leave_out(&format!("{error:#}"))
                .map(|()| None),
        }
    }

    /// Tries what the server at `url` says of itself. The log is in `target/fuzz`.
    ///
    /// # Errors
    /// When an answer is not what the document says, or the server is broken.
    pub fn run(&self, name: &str, url: &str, token: Option<&str>, effort: Effort) -> Result<()> {
        let configured = workspace_build::root().join("xtask/crates/e2e-tests/schemathesis");
        let logs = workspace_build::target().join("fuzz");
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("cannot create {}", logs.display()))?;
        let mut command = self.packages.python(&[&configured])?;
        command
            .arg(self.packages.program("schemathesis"))
            .arg("--config-file")
            .arg(configured.join("schemathesis.toml"))
            .args(["--no-color", "run", &format!("{url}/openapi.json")])
            .args(["--max-examples", &effort.examples.to_string()])
            .env("SCHEMATHESIS_HOOKS", "hooks")
            .env("NO_PROXY", "*")
            // It keeps what it found beside itself.
            .current_dir(&logs);
        if let Some(seed) = effort.seed {
            command.args(["--seed", &seed.to_string()]);
        }
        if let Some(time) = effort.time {
            command.args(["--max-time", &time.as_secs().to_string()]);
        }
        match token {
            Some(token) => command.args(["--header", &format!("Authorization: Bearer {token}")]),
            // Without a token everybody on this machine is let in, whatever they present: there is
            // nothing to be checked. The first key would end that.
            None => command.args([
                "--exclude-path-regex",
                "^/v2/keys",
                "--exclude-checks",
                "ignored_auth,missing_required_header",
                "--generation-with-security-parameters",
                "false",
            ]),
        };
        let log = logs.join(format!("{name}.log"));
        let mut running = Process::spawn("schemathesis", &mut command, &log, Group::Ours)?;
        let status = running.wait_end(effort.time.unwrap_or_default() + GRACE)?;
        let said = running.log().text();
        if !status.success() {
            bail!("{name}: {status}\n{said}");
        }
        let made = said.lines().find(|line| line.contains(" generated"));
        println!("{name}: {}", made.unwrap_or_default().trim());
        Ok(())
    }
}

/// `pool-managerd` with a token, in CLOUD, with an engine.
///
/// # Errors
/// As [`Fuzzer::run`], and when the cluster does not come up.
pub fn node(fuzzer: &Fuzzer, effort: Effort) -> Result<()> {
    cluster("fuzz-node", |orchestrator, node| {
        fuzzer.run("pool-managerd", &node.url(), Some(TOKEN), effort)?;
        still_well(orchestrator, node)
    })
}

/// `orchestratord` with a token, in CLOUD, with a node and an engine.
///
/// # Errors
/// As [`Fuzzer::run`], and when the cluster does not come up.
pub fn control_plane(fuzzer: &Fuzzer, effort: Effort) -> Result<()> {
    cluster("fuzz-control", |orchestrator, node| {
        fuzzer.run("orchestratord", &orchestrator.url(), Some(TOKEN), effort)?;
        still_well(orchestrator, node)
    })
}

/// Both daemons with an engine that has answered.
fn cluster(name: &str, test: impl FnOnce(&Orchestrator, &Node) -> Result<()>) -> Result<()> {
    Cluster::test(name, |cluster| {
        let settings = [("LLORCH_API_TOKEN", TOKEN)];
        let orchestrator = cluster.orchestrator(&[settings[0], QUEUE_TIMEOUT])?;
        let node = cluster.node("node-a", &orchestrator, &settings)?;
        let engine = cluster.engine_with(SLOTS, &["--predict", ANSWER_TOKENS])?;
        node.write_handoff("pool-0", "r0", &engine)?;
        first_answer(&orchestrator.client().with_token(TOKEN))?;
        test(&orchestrator, &node)
    })
}

/// `orchestratord` without a token, in HOME, with an engine.
///
/// # Errors
/// As [`Fuzzer::run`], and when it does not come up.
pub fn home(fuzzer: &Fuzzer, effort: Effort) -> Result<()> {
    Cluster::test("fuzz-home", |cluster| {
        let mut home = cluster.home(&[QUEUE_TIMEOUT])?;
        let engine = cluster.engine_with(SLOTS, &["--predict", ANSWER_TOKENS])?;
        write_handoff(home.daemon().directory(), &handoff("pool-0", "r0", &engine))?;
        first_answer(&home.client())?;
        fuzzer.run("home", &home.url(), None, effort)?;
        serves_without_drains(&home.client())
    })
}

fn first_answer(client: &Client) -> Result<()> {
    wait_for("an answer", SOON, || {
        client.chat(1).is_ok_and(|answer| answer.status == 200)
    })
}

/// Whatever was sent to it, it serves again once its drains are ended. A node that was forgotten
/// registers by itself.
fn serves_without_drains(client: &Client) -> Result<()> {
    wait_for("an answer without drains", SOON, || {
        end_drains(client).is_ok() && client.chat(1).is_ok_and(|answer| answer.status == 200)
    })
}

fn end_drains(client: &Client) -> Result<()> {
    let nodes = client.get_json("/v2/nodes")?;
    for node in nodes["nodes"].as_array().into_iter().flatten() {
        let id = node["node_id"].as_str().unwrap_or_default();
        client.post(&format!("/v2/nodes/{id}/undrain"), &Value::Null)?;
    }
    let pools = client.get_json("/v2/pools")?;
    for pool in pools["pools"].as_array().into_iter().flatten() {
        let text = |field: &str| pool[field].as_str().unwrap_or_default();
        let of_pool = format!("/v2/pools/{}/{}", text("node_id"), text("pool_id"));
        client.post(&format!("{of_pool}/undrain"), &Value::Null)?;
        let of_replica = format!("{of_pool}/replicas/{}/undrain", text("replica_id"));
        client.post(&of_replica, &Value::Null)?;
    }
    Ok(())
}

/// Whatever was sent to them, both run, and none of their tasks has ended.
fn still_well(orchestrator: &Orchestrator, node: &Node) -> Result<()> {
    for client in [orchestrator.client(), node.client()] {
        let ready = client.with_token(TOKEN).get("/ready")?;
        ensure!(ready.status == 200, "{}", ready.body);
    }
    for log in [orchestrator.log()?, node.log()?] {
        let panicked = log.line_with(&["panicked"]);
        ensure!(panicked.is_none(), "{}", panicked.unwrap_or_default());
    }
    Ok(())
}
