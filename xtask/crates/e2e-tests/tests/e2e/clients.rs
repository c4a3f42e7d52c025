//! The official clients of the APIs, unchanged, through the whole way: in both profiles, with a
//! token and without one.
//!
//! What each client can do is in `.docs/CLIENTS.md`, which the run checks.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use child_process::succeed;
use e2e_tests::node_modules;
use test_client::{Client, chain};
use test_clock::wait_for;
use test_cluster::{Cluster, Engine, Node, OneNode, Orchestrator, Profile, Setting};
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

    /// The command that runs the script of a client.
    fn command(&self, client: &ClientRow) -> Result<Option<Command>> {
        Ok(match client.language {
            Language::Python => match &self.python {
                Some(packages) => {
                    let mut python = packages.python(&[&scripts()])?;
                    python.arg(scripts().join(client.script));
                    Some(python)
                }
                None => None,
            },
            Language::Node => self.node.as_ref().map(|directory| {
                let mut node = Command::new("node");
                node.arg(directory.join(client.script));
                node
            }),
        })
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
    _home: Option<OneNode>,
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
    let (control, node) = match profile {
        Profile::Home => (cluster.home(&settings)?, None),
        Profile::Cloud => {
            let control = cluster.orchestrator(&settings)?;
            let node = cluster.node("node-a", &control, &settings[1..])?;
            (control, Some(node))
        }
    };
    let mut control = control;
    let directory = match &node {
        Some(_) => None,
        None => Some(control.daemon().directory().to_owned()),
    };
    for (pool, engine) in ["chat", "embeddings"].iter().zip(&engines) {
        match (&node, &directory) {
            (Some(node), _) => node.write_handoff(pool, "r0", engine)?,
            (None, Some(directory)) => announce(directory, pool, engine)?,
            (None, None) => {}
        }
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
        _home: None,
        _engines: engines,
        client,
    })
}

fn announce(directory: &Path, pool: &str, engine: &Engine) -> Result<()> {
    let handoff = test_cluster::handoff(pool, "r0", engine);
    test_cluster::write_handoff(directory, &handoff).map(|_| ())
}

/// Ended requests of clients that left.
fn cancelled(client: &Client) -> u64 {
    let metrics = client.get("/metrics").map(|answer| answer.body);
    metrics
        .unwrap_or_default()
        .lines()
        .filter(|line| {
            line.starts_with("llorch_requests_total") && line.contains(r#"outcome="cancelled""#)
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .map(|count| count as u64)
        .sum()
}

/// Runs one client and returns the features that work.
fn run(
    mut command: Command,
    served: &Served,
    token: Option<&str>,
    client: &ClientRow,
) -> Result<BTreeSet<String>> {
    let before = cancelled(&served.client);
    let said = succeed(
        command
            .env("LLORCH_URL", served.control.url())
            .env("LLORCH_TOKEN", token.unwrap_or_default())
            .env("LLORCH_CHAT_MODEL", CHAT_MODEL)
            .env("LLORCH_EMBEDDING_MODEL", EMBEDDING_MODEL)
            .env("LLORCH_ANSWER", chain(WORDS))
            .env("NO_PROXY", "*")
            .env("no_proxy", "*"),
    )
    .with_context(|| format!("{} with {token:?}", client.name))?;
    let features: BTreeSet<String> = said
        .lines()
        .filter_map(|line| line.strip_prefix("ok "))
        .map(str::to_owned)
        .collect();
    ensure!(
        features.iter().all(|feature| table::is_feature(feature)),
        "{features:?} are not all in the table"
    );
    if features.contains("cancel") {
        wait_for("the cancelled request to end", SOON, || {
            cancelled(&served.client) > before
        })?;
    }
    wait_for("every slot", SOON, || {
        let status = served.client.get_json("/v2/status").unwrap_or_default();
        status["slots"]["free"] == status["slots"]["total"]
    })?;
    Ok(features)
}

fn official_clients_work(profile: Profile, name: &str) -> Result<()> {
    let runtimes = Runtimes::find()?;
    let mut rows = Vec::new();
    Cluster::test(name, |cluster| {
        for token in [None, Some(TOKEN)] {
            let served = serve(cluster, profile, token)?;
            for client in &CLIENTS {
                let Some(command) = runtimes.command(client)? else {
                    continue;
                };
                rows.push((client, run(command, &served, token, client)?));
            }
        }
        Ok(())
    })?;
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
