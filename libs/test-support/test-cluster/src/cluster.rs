//! The programs, the model and the directory that the processes of a test share.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use child_process::Group;
use llama_server::{EngineOptions, find_or_fetch};
use tempfile::TempDir;
use tiny_model::TinyModel;
use workspace_build::Binaries;

use crate::{
    daemon::{Daemon, Setting},
    engine::Engine,
    node::Node,
    orchestrator::Orchestrator,
    supervised::{EngineProcess, engine_processes},
};

/// The lines of each log that a failed test shows.
const TAIL_LINES: usize = 40;

/// The queue timeout in tests: long, so that no result depends on the speed of the machine.
const LONG_QUEUE_TIMEOUT: [Setting<'static>; 1] = [("ORCHESTRATORD_QUEUE_WAIT_MS", "240000")];

/// The programs, the model and the directory of a test. Declare it before the processes: its drop
/// removes the directory.
#[derive(Debug)]
pub struct Cluster {
    directory: TempDir,
    binaries: Binaries,
    llama_server: PathBuf,
    model: PathBuf,
    group: Group,
    engines: AtomicU32,
}

impl Cluster {
    /// Builds the daemons, gets an engine and writes the model.
    ///
    /// # Errors
    /// When the daemons do not build or there is no engine.
    pub fn new(name: &str) -> Result<Self> {
        Self::with_model(name, &TinyModel::default(), Group::Ours)
    }

    /// Runs a test in a cluster of its own, and shows the ends of all logs when it fails.
    ///
    /// # Errors
    /// As [`Cluster::new`], and what `test` returns.
    pub fn test(name: &str, test: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        Self::test_with_model(name, &TinyModel::default(), test)
    }

    /// As [`Cluster::test`], with this model.
    ///
    /// # Errors
    /// As [`Cluster::test`].
    pub fn test_with_model(
        name: &str,
        model: &TinyModel,
        test: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let cluster = Self::with_model(name, model, Group::Ours)?;
        let result = test(&cluster);
        if result.is_err() {
            cluster.show_logs();
        }
        result
    }

    fn show_logs(&self) {
        for (name, text) in self.all_logs() {
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("==== {name}");
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                eprintln!("{line}");
            }
        }
    }

    /// As [`Cluster::new`], with this model and process group.
    ///
    /// # Errors
    /// As [`Cluster::new`].
    pub fn with_model(name: &str, model: &TinyModel, group: Group) -> Result<Self> {
        let binaries = Binaries::get()?;
        let llama_server = find_or_fetch()?;
        let directory = tempfile::Builder::new()
            .prefix(&format!("llorch-{name}-"))
            .tempdir()
            .context("cannot create a directory for the cluster")?;
        std::fs::create_dir(directory.path().join("logs"))
            .context("cannot create a directory for logs")?;
        let path = directory.path().join("tiny.gguf");
        model.write(&path)?;
        Ok(Self {
            directory,
            binaries,
            llama_server,
            model: path,
            group,
            engines: AtomicU32::new(0),
        })
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where all log files are.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.directory().join("logs")
    }

    /// The model file.
    #[must_use]
    pub fn model(&self) -> &Path {
        &self.model
    }

    /// The `llama-server` it uses.
    #[must_use]
    pub fn llama_server(&self) -> &Path {
        &self.llama_server
    }

    /// Keeps the directory after the test, and returns its path.
    pub fn keep(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.directory.path()
    }

    /// The text of all logs, each below its name.
    #[must_use]
    pub fn all_logs(&self) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(self.logs())
            .into_iter()
            .flatten()
            .flatten();
        let mut logs: Vec<(String, String)> = entries
            .filter_map(|entry| {
                let text = String::from_utf8_lossy(&std::fs::read(entry.path()).ok()?).into_owned();
                Some((entry.file_name().to_string_lossy().into_owned(), text))
            })
            .collect();
        logs.sort();
        logs
    }

    /// Starts an `orchestratord` in the CLOUD profile on a free port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn orchestrator(&self, settings: &[Setting<'_>]) -> Result<Orchestrator> {
        let cloud = [("ORCHESTRATORD_CLOUD_PROFILE", "true")];
        Orchestrator::start(self.daemon(
            "orchestratord",
            &self.binaries.orchestratord,
            &[&cloud, self.defaults(), settings],
        )?)
    }

    /// Starts an `orchestratord` in the HOME profile on a free port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn home(&self, settings: &[Setting<'_>]) -> Result<Orchestrator> {
        Orchestrator::start(self.daemon(
            "orchestratord",
            &self.binaries.orchestratord,
            &[self.defaults(), settings],
        )?)
    }

    /// The settings of each `orchestratord` below its own. A demo has none.
    fn defaults(&self) -> &'static [Setting<'static>] {
        match self.group {
            Group::Ours => &LONG_QUEUE_TIMEOUT,
            Group::Own => &[],
        }
    }

    /// Starts a `pool-managerd` in the CLOUD profile that reports to `orchestrator`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn node(
        &self,
        name: &str,
        orchestrator: &Orchestrator,
        settings: &[Setting<'_>],
    ) -> Result<Node> {
        let url = orchestrator.url();
        let cloud = [
            ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
            ("POOL_MANAGERD_NODE_ID", name),
            ("ORCHESTRATORD_URL", url.as_str()),
        ];
        Node::start(self.daemon(name, &self.binaries.pool_managerd, &[&cloud, settings])?)
    }

    /// A `pool-managerd` in the HOME profile, in the directory of another daemon, as when both are
    /// started in one shell. It is not started yet.
    pub fn home_agent(&self, beside: &Daemon) -> Daemon {
        let program = &self.binaries.pool_managerd;
        let mut daemon = Daemon::new(
            "home-agent",
            program,
            beside.directory(),
            &self.logs(),
            self.group,
        );
        daemon.set("POOL_MANAGERD_ADDR", "127.0.0.1:0");
        daemon
    }

    /// The exit code and the output of `pool-managerd check` with these settings only.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn check_node(
        &self,
        arguments: &[&str],
        settings: &[Setting<'_>],
    ) -> Result<(Option<i32>, String)> {
        let output = Command::new(&self.binaries.pool_managerd)
            .arg("check")
            .args(arguments)
            .current_dir(self.directory())
            .env_clear()
            .envs(settings.iter().copied())
            .output()
            .context("cannot run pool-managerd")?;
        let text = [output.stdout, output.stderr].concat();
        Ok((
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        ))
    }

    /// Starts an engine with this number of slots.
    ///
    /// # Errors
    /// When it does not start.
    pub fn engine(&self, slots: u32) -> Result<Engine> {
        self.engine_with(slots, &[])
    }

    /// Starts an engine with further arguments.
    ///
    /// # Errors
    /// When it does not start.
    pub fn engine_with(&self, slots: u32, extra: &[&str]) -> Result<Engine> {
        let number = self.engines.fetch_add(1, Ordering::Relaxed);
        let mut options = EngineOptions::new(&self.model, slots);
        options.extra = extra.iter().map(|&argument| argument.to_owned()).collect();
        options.group = self.group;
        Engine::start(
            format!("engine-{number}"),
            self.llama_server.clone(),
            self.logs(),
            options,
        )
    }

    /// Every engine process of this cluster, ordered by process id.
    #[must_use]
    pub fn engine_processes(&self) -> Vec<EngineProcess> {
        engine_processes(self.directory())
    }

    fn daemon(&self, name: &str, program: &Path, settings: &[&[Setting<'_>]]) -> Result<Daemon> {
        let directory = self.directory().join(name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let mut daemon = Daemon::new(name, program, &directory, &self.logs(), self.group);
        for (variable, value) in settings.iter().copied().flatten() {
            daemon.set(variable, value);
        }
        Ok(daemon)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        // An engine that a node has started outlives the node, and would outlive the test.
        for engine in self.engine_processes() {
            engine.kill();
        }
    }
}
