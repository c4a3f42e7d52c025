//! A shell that is typed into, at a place where the commands of a page find other ports and
//! directories.

use std::{
    cell::OnceCell,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use child_process::Log;
use rustix::process::{Pid, Signal, kill_process};
use test_client::Client;
use test_clock::{wait_for, wait_for_some};
use test_cluster::{Cluster, Engine, Orchestrator, free_port};
use workspace_build::{Binaries, root};

/// How long the programs of a shell may take to end.
const GRACE: Duration = Duration::from_secs(30);

/// Makes every failed request visible.
const CURL: &str = "\
curl() { command curl --silent --show-error --fail-with-body \"$@\" || echo '[curl failed]'; }";

/// What is passed on to cargo, which some commands call.
const CARGO: [&str; 6] = [
    "HOME",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "LLORCH_BIN_DIR",
];

/// The ports, directories and programs that stand for those of a page.
pub(super) struct Place {
    directory: PathBuf,
    logs: PathBuf,
    programs: PathBuf,
    llama_server: PathBuf,
    control: u16,
    node: u16,
    engine: u16,
    token: OnceCell<String>,
}

impl Place {
    /// With free ports.
    pub(super) fn new(cluster: &Cluster) -> Result<Self> {
        let directory = cluster.directory().join("clone");
        std::fs::create_dir_all(&directory)?;
        std::fs::copy(cluster.model(), directory.join("tiny.gguf"))?;
        let llama_server = cluster.llama_server().parent().context("no directory")?;
        Ok(Self {
            directory,
            logs: cluster.logs(),
            programs: Binaries::get()?.directory().to_owned(),
            llama_server: llama_server.to_owned(),
            control: free_port()?,
            node: free_port()?,
            engine: free_port()?,
            token: OnceCell::new(),
        })
    }

    /// With an engine that runs.
    pub(super) fn with_engine(cluster: &Cluster, engine: &Engine) -> Result<Self> {
        let engine = port(&engine.url())?;
        Ok(Self {
            engine,
            ..Self::new(cluster)?
        })
    }

    /// With a control plane that runs.
    pub(super) fn at(cluster: &Cluster, orchestrator: &Orchestrator) -> Result<Self> {
        let control = port(&orchestrator.url())?;
        Ok(Self {
            control,
            ..Self::new(cluster)?
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The token that a page leaves out.
    pub(super) fn set_token(&self, token: &str) -> Result<()> {
        self.token
            .set(token.to_owned())
            .ok()
            .context("there is a token already")
    }

    pub(super) fn control(&self) -> Client {
        self.client(self.control)
    }

    pub(super) fn engine(&self) -> Client {
        self.client(self.engine)
    }

    fn client(&self, port: u16) -> Client {
        let client = Client::new(&format!("http://127.0.0.1:{port}"));
        match self.token.get() {
            Some(token) => client.with_token(token),
            None => client,
        }
    }

    /// The commands of a page for this place.
    fn here(&self, commands: &str) -> String {
        let (control, node, engine) = (self.control, self.node, self.engine);
        let programs = self.programs.display();
        let xtask = format!(
            "cargo run --quiet --manifest-path {} --package xtask --",
            root().join("Cargo.toml").display()
        );
        let token = self.token.get().map_or("…", String::as_str);
        let replacements = [
            (":8080", format!(":{control}")),
            (":9200", format!(":{node}")),
            (":8081", format!(":{engine}")),
            (" 8081", format!(" {engine}")),
            ("0.0.0.0:", "127.0.0.1:".to_owned()),
            ("192.168.1.10:", "127.0.0.1:".to_owned()),
            ("192.168.1.20:", "127.0.0.1:".to_owned()),
            ("LLORCH_API_TOKEN=…", format!("LLORCH_API_TOKEN={token}")),
            ("/tmp/", format!("{}/", self.directory.display())),
            ("target/debug/", format!("{programs}/")),
            (
                "cargo run -p orchestratord --bin orchestratord",
                format!("{programs}/orchestratord"),
            ),
            (
                "cargo run -p pool-managerd",
                format!("{programs}/pool-managerd"),
            ),
            ("cargo xtask", xtask),
        ];
        let apply = |text: String, (from, to): &(&str, String)| text.replace(from, to);
        replacements.iter().fold(commands.to_owned(), apply)
    }
}

fn port(url: &str) -> Result<u16> {
    let (_, port) = url.rsplit_once(':').context("no port")?;
    Ok(port.parse()?)
}

/// A terminal, in the directory that stands for the clone.
pub(super) struct Shell<'a> {
    place: &'a Place,
    child: Child,
    input: ChildStdin,
    log: Log,
    blocks: u32,
}

impl<'a> Shell<'a> {
    pub(super) fn open(place: &'a Place, name: &str) -> Result<Self> {
        let log = place.logs.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let path = std::env::var("PATH").context("no PATH")?;
        let mut command = Command::new("bash");
        command
            .current_dir(&place.directory)
            .env_clear()
            .envs(
                CARGO
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .env(
                "PATH",
                format!(
                    "{}:{}:{path}",
                    place.llama_server.display(),
                    place.programs.display()
                ),
            )
            .env("ORCHESTRATORD_ADDR", format!("127.0.0.1:{}", place.control))
            .env("POOL_MANAGERD_ADDR", format!("127.0.0.1:{}", place.node))
            // No answer depends on the speed of the machine.
            .env("ORCHESTRATORD_QUEUE_WAIT_MS", "240000")
            .stdin(Stdio::piped())
            .stderr(output.try_clone()?)
            .stdout(output);
        let mut child = command.spawn().context("cannot start bash")?;
        let input = child.stdin.take().context("no standard input")?;
        let mut shell = Self {
            place,
            child,
            input,
            log: Log::at(&log),
            blocks: 0,
        };
        shell.write(CURL)?;
        Ok(shell)
    }

    /// What the shell and its programs print.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Types commands, of which the last may run on.
    pub(super) fn type_in(&mut self, commands: &str) -> Result<()> {
        let commands = self.place.here(commands);
        self.write(&commands)
    }

    /// Types commands, waits for the end of those in the foreground, and returns what was printed.
    pub(super) fn run(&mut self, commands: &str, deadline: Duration) -> Result<String> {
        self.blocks += 1;
        let begin = self.log.text().len();
        let mark = format!("[end of block {}]", self.blocks);
        self.type_in(commands)?;
        self.write(&format!("echo '{mark}'"))?;
        let printed = wait_for_some(&mark, deadline, || {
            let text = self.log.text();
            Some(text.get(begin..)?.split_once(&mark)?.0.to_owned())
        })?;
        anyhow::ensure!(!printed.contains("[curl failed]"), "{printed}");
        Ok(printed)
    }

    fn write(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context("the shell has ended")
    }

    /// The programs that the shell has started and that still run.
    fn programs(&self) -> Vec<Pid> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        children
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|child| Pid::from_raw(child.parse().ok()?))
            .collect()
    }
}

impl Drop for Shell<'_> {
    /// Its programs first: an agent ends the engines that it has started.
    fn drop(&mut self) {
        // A program that has ended already cannot be signalled, and need not be.
        for program in self.programs() {
            let _ = kill_process(program, Signal::TERM);
        }
        let _ = wait_for("the programs of the shell to end", GRACE, || {
            self.programs().is_empty()
        });
        for program in self.programs() {
            let _ = kill_process(program, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
