//! The official clients of the APIs, unchanged, through the whole way: in both profiles, with a
//! token and without one.
//!
//! What each client can do is in `.docs/CLIENTS.md`, which the run checks or, by
//! `cargo xtask e2e --write-clients`, writes.
//!
//! The clients of a language run one after the other in one process, against a server with a token
//! and one without; the languages run side by side.

use std::{collections::BTreeSet, path::PathBuf, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use child_process::succeed;
use e2e_tests::node_modules;
use serde_json::{Value, json};
use test_client::{Client, chain};
use test_clock::wait_for;
use test_cluster::{Cluster, Engine, Node, Orchestrator, Profile, Setting};
use test_tools::{Packages, Tool};

mod table;

use table::{CLIENTS, ClientRow, Language};

const SOON: Duration = Duration::from_secs(90);
const TOKEN: &str = "canary-5d0c81f2a7e94b36";
/// Official clients encode the slash of a name in a path.
const CHAT_MODEL: &str = "org/tiny";
const EMBEDDING_MODEL: &str = "org/embedder";
const WORDS: usize = 12;
/// How long a control plane that has just started waits for a model that no node has announced yet.
const UNKNOWN: Setting<'_> = ("ORCHESTRATORD_QUEUE_WAIT_MS", "1000");

/// The servers that each client is tried with, and their tokens.
const SERVERS: [(&str, Option<&str>); 2] = [("open", None), ("guarded", Some(TOKEN))];

/// What runs the scripts of a language; `None` where it is missing.
struct Runtimes {
    python: Option<Packages>,
    /// The directory with the modules and the scripts.
    node: Option<PathBuf>,
}

fn scripts() -> PathBuf {
    workspace_build::root().join("xtask/crates/e2e-tests/clients")
}

impl Runtimes {
    fn find() -> Result<Self> {
        let versions: Vec<String> = CLIENTS
            .iter()
            .filter(|client| client.language == Language::Python)
            .map(|client| format!("{}=={}", client.package, client.version))
            .collect();
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        let python = match Packages::install("clients", &versions) {
            Ok(packages) => Some(packages),
            Err(error) => {
                Tool::PythonClients.leave_out(&format!("{error:#}"))?;
                None
            }
        };
        Ok(Self {
            python,
            node: node()?,
        })
    }

    /// The command that runs the scripts of a language.
    fn command(&self, language: Language) -> Result<Option<Command>> {
        let (mut command, directory, runner) = match language {
            Language::Python => match &self.python {
                Some(packages) => (packages.python(&[])?, scripts(), "run.py"),
                None => return Ok(None),
            },
            Language::Node => match &self.node {
                Some(directory) => (Command::new("node"), directory.clone(), "run.mjs"),
                None => return Ok(None),
            },
        };
        let clients = CLIENTS.iter().filter(|client| client.language == language);
        command
            .current_dir(directory)
            .arg(runner)
            .args(clients.map(|client| client.script));
        Ok(Some(command))
    }
}

/// Modules are looked for above a script, so the scripts are copied beside them.
fn node() -> Result<Option<PathBuf>> {
    let tool = Tool::NodeClients;
    if !tool.is_here()? {
        return Ok(None);
    }
    if !node_modules::is_node_new_enough() {
        let oldest = node_modules::OLDEST_NODE;
        tool.leave_out(&format!("Node {oldest} or newer is not installed"))?;
        return Ok(None);
    }
    let modules = match node_modules::install("clients", &scripts()) {
        Ok(modules) => modules,
        Err(error) => return tool.leave_out(&format!("{error:#}")).map(|()| None),
    };
    let directory = modules.parent().context("no directory")?.to_owned();
    for file in std::fs::read_dir(scripts())? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "mjs") {
            let name = file.file_name().context("no name")?;
            // Two tests copy at a time: a rename is one step.
            let copy = tempfile::NamedTempFile::new_in(&directory)?;
            std::fs::copy(&file, copy.path())?;
            copy.persist(directory.join(name))?;
        }
    }
    Ok(Some(directory))
}

/// A cluster with an engine for chats and one for embeddings.
struct Served {
    control: Orchestrator,
    _node: Option<Node>,
    _engines: [Engine; 2],
    client: Client,
}

fn serve(cluster: &Cluster, profile: Profile, token: Option<&str>) -> Result<Served> {
    let token_setting = token.map(|token| ("LLORCH_API_TOKEN", token));
    let settings: Vec<Setting<'_>> = [UNKNOWN].into_iter().chain(token_setting).collect();
    let engines = [
        cluster.engine_with(2, &["--alias", CHAT_MODEL])?,
        cluster.engine_with(
            2,
            &[
                "--alias",
                EMBEDDING_MODEL,
                "--embeddings",
                "--pooling",
                "mean",
            ],
        )?,
    ];
    let (mut control, mut node) = match profile {
        Profile::Home => (cluster.home(&settings)?, None),
        Profile::Cloud => {
            let control = cluster.orchestrator(&settings)?;
            let node = cluster.node("node-a", &control, &settings[1..])?;
            (control, Some(node))
        }
    };
    let directory = match &mut node {
        Some(node) => node.daemon().directory().to_owned(),
        None => control.daemon().directory().to_owned(),
    };
    let models = [("pool-0", CHAT_MODEL), ("pool-1", EMBEDDING_MODEL)];
    for ((pool, model), engine) in models.iter().zip(&engines) {
        let mut handoff = test_cluster::handoff(pool, "r0", engine);
        handoff["models"] = json!([model]);
        test_cluster::write_handoff(&directory, &handoff)?;
    }
    let client = match token {
        Some(token) => control.client().with_token(token),
        None => control.client(),
    };
    wait_for("both models", SOON, || {
        let models = client.get_json("/v1/models").unwrap_or_default();
        [CHAT_MODEL, EMBEDDING_MODEL].iter().all(|name| {
            let listed = models["data"].as_array().into_iter().flatten();
            listed.into_iter().any(|model| model["id"] == *name)
        })
    })?;
    Ok(Served {
        control,
        _node: node,
        _engines: engines,
        client,
    })
}

/// Ended requests of clients that left.
fn cancelled(client: &Client) -> u64 {
    let page = client.get("/metrics").map(|answer| answer.body);
    page.unwrap_or_default()
        .lines()
        .filter(|line| {
            line.starts_with("llorch_requests_total") && line.contains(r#"outcome="cancelled""#)
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// What one client has shown at one server: a feature for each time that it worked.
struct Run {
    client: &'static ClientRow,
    server: &'static str,
    features: Vec<String>,
}

/// Runs the scripts of a language against all servers.
fn run(mut command: Command, servers: &str) -> Result<Vec<Run>> {
    let said = succeed(
        command
            .env("LLORCH_SERVERS", servers)
            .env("LLORCH_CHAT_MODEL", CHAT_MODEL)
            .env("LLORCH_EMBEDDING_MODEL", EMBEDDING_MODEL)
            .env("LLORCH_ANSWER", chain(WORDS))
            .env("NO_PROXY", "*")
            .env("no_proxy", "*"),
    )?;
    let mut runs: Vec<Run> = Vec::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match (words.as_slice(), runs.last_mut()) {
            (["run", script, server], _) => {
                let mut clients = CLIENTS.iter();
                let mut servers = SERVERS.iter();
                runs.push(Run {
                    client: (clients.find(|client| client.script == *script)).context("client")?,
                    server: (servers.find(|(name, _)| name == server))
                        .context("server")?
                        .0,
                    features: Vec::new(),
                });
            }
            (["ok", feature], Some(run)) => {
                ensure!(table::is_feature(feature), "{feature} is not in the table");
                run.features.push((*feature).to_owned());
            }
            // Some clients print.
            _ => {}
        }
    }
    Ok(runs)
}

/// Waits until the server has seen the end of all that its clients have cancelled.
fn wait_for_slots(server: &Served, cancels: u64) -> Result<()> {
    wait_for("the cancelled requests to end", SOON, || {
        cancelled(&server.client) >= cancels
    })?;
    wait_for("every slot", SOON, || {
        let status = server.client.get_json("/v2/status").unwrap_or_default();
        status["slots"]["free"] == status["slots"]["total"]
    })
}

/// A cluster for each server: two control planes do not share a directory.
fn with_clusters(name: &str, test: impl FnOnce([&Cluster; 2]) -> Result<()>) -> Result<()> {
    let [first, second] = SERVERS.map(|(server, _)| format!("{name}-{server}"));
    Cluster::test(&first, |one| {
        Cluster::test(&second, |other| test([one, other]))
    })
}

fn official_clients_work(profile: Profile, name: &str) -> Result<()> {
    let runtimes = Runtimes::find()?;
    let commands = [Language::Python, Language::Node].map(|language| runtimes.command(language));
    let commands = commands.into_iter().collect::<Result<Vec<_>>>()?;
    let mut runs = Vec::new();
    with_clusters(name, |clusters| {
        let mut served = Vec::new();
        for (cluster, (name, token)) in clusters.into_iter().zip(SERVERS) {
            served.push((name, serve(cluster, profile, token)?));
        }
        let servers: Vec<Value> = (SERVERS.iter().zip(&served))
            .map(|((name, token), (_, server))| {
                json!({"name": name, "token": token.unwrap_or_default(),
                    "url": server.control.url()})
            })
            .collect();
        let servers = json!(servers).to_string();
        let results: Vec<Result<Vec<Run>>> = thread::scope(|scope| {
            let running: Vec<_> = (commands.into_iter().flatten())
                .map(|command| scope.spawn(|| run(command, &servers)))
                .collect();
            let ended = running.into_iter().map(|thread| thread.join());
            ended
                .map(|result| result.unwrap_or_else(|_| bail!("a thread panicked")))
                .collect()
        });
        for result in results {
            runs.extend(result?);
        }
        for (name, server) in &served {
            let of_server = runs.iter().filter(|run| run.server == *name);
            let features = of_server.flat_map(|run| &run.features);
            let cancels = features.filter(|feature| *feature == "cancel").count();
            wait_for_slots(server, u64::try_from(cancels)?)?;
        }
        Ok(())
    })?;
    let rows: Vec<(&ClientRow, BTreeSet<String>)> = runs
        .into_iter()
        .map(|run| (run.client, run.features.into_iter().collect()))
        .collect();
    table::check(&rows)
}

// spec: PATH-13, PATH-102, PATH-108
#[test]
fn official_clients_work_in_home() -> Result<()> {
    official_clients_work(Profile::Home, "clients-home")
}

// spec: PATH-13, PATH-102, PATH-108
#[test]
fn official_clients_work_in_cloud() -> Result<()> {
    official_clients_work(Profile::Cloud, "clients-cloud")
}
