//! A running `llama-server`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use child_process::{Group, Process};
use test_client::Client;
use test_clock::wait_for;

/// How long an engine may take to load its model; the tiny one takes 50 ms on an idle machine.
const START: Duration = Duration::from_secs(60);
/// How long it may take from its log line to a healthy answer, the model being tiny.
const HEALTHY: Duration = Duration::from_secs(60);

/// What to serve, and how.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The model file.
    pub model: PathBuf,
    /// The name the engine gives the model.
    pub alias: String,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// How many requests it serves at once.
    pub slots: u32,
    /// Context of each slot in tokens.
    pub ctx: u32,
    /// Further arguments.
    pub extra: Vec<String>,
    /// Who gets the terminal's signals.
    pub group: Group,
}

impl EngineOptions {
    /// Serves `model` as "tiny" with so many slots of 2048 tokens on a free port.
    #[must_use]
    pub fn new(model: &Path, slots: u32) -> Self {
        Self {
            model: model.to_owned(),
            alias: "tiny".to_owned(),
            port: 0,
            slots,
            ctx: 2048,
            extra: Vec::new(),
            group: Group::Ours,
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("--model").arg(&self.model).args([
            "--alias",
            &self.alias,
            "--host",
            "127.0.0.1",
            "--port",
            &self.port.to_string(),
            "--parallel",
            &self.slots.to_string(),
            // The engine divides the context among its slots.
            "--ctx-size",
            &(self.ctx * self.slots).to_string(),
            // One thread: the model is tiny, and more of them spin and take the cores from the
            // others.
            "--threads",
            "1",
            "--threads-batch",
            "1",
            // The cache of prompts would take 8 GiB of memory.
            "--cache-ram",
            "0",
            "--metrics",
            "--no-webui",
        ]);
        command.args(&self.extra);
        command
    }
}

/// A `llama-server` that answers. Dropping it kills it.
#[derive(Debug)]
pub struct LlamaServer {
    process: Process,
    url: String,
    port: u16,
}

impl LlamaServer {
    /// Starts `program` and waits until it is healthy. Its log goes to the file `log`.
    ///
    /// # Errors
    /// When it does not start; the error shows the end of the log.
    pub fn start(program: &Path, options: &EngineOptions, log: &Path) -> Result<Self> {
        let mut process = Process::spawn(
            "llama-server",
            &mut options.command(program),
            log,
            options.group,
        )?;
        // With port 0 the log line is the only place that names the port.
        let line = process.wait_line(&["listening on http://"], START)?;
        let port = port_in(&line).with_context(|| format!("no port in the log line {line:?}"))?;
        let url = format!("http://127.0.0.1:{port}");
        let client = Client::new(&url);
        wait_for("the engine to load its model", HEALTHY, || {
            client
                .get("/health")
                .is_ok_and(|answer| answer.status == 200)
        })
        .with_context(|| process.log().tail(20))?;
        Ok(Self { process, url, port })
    }

    /// Its URL without a final slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A client that talks to it directly.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// Its process: log, signals, end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// How many requests it computes right now.
    ///
    /// Call it at most twice a second: during a call, the engine does not notice clients that are
    /// gone.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn busy_slots(&self) -> Result<u32> {
        let slots = self.client().get_json("/slots")?;
        let slots = slots.as_array().context("/slots is no list")?;
        Ok(slots
            .iter()
            .filter(|slot| slot["is_processing"] == true)
            .fold(0, |sum, _| sum + 1))
    }

    /// How many requests wait in it for a slot. Ours never let one wait there. Not to be asked more
    /// than twice a second, as [`LlamaServer::busy_slots`].
    ///
    /// # Errors
    /// When it does not answer.
    pub fn deferred(&self) -> Result<u64> {
        let metrics = self.client().get("/metrics")?.body;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("llamacpp:requests_deferred "));
        line.and_then(|number| number.trim().parse().ok())
            .context("no requests_deferred in /metrics")
    }
}

/// The port at the end of "… listening on http://127.0.0.1:38105".
fn port_in(line: &str) -> Option<u16> {
    let (_, address) = line.rsplit_once("http://")?;
    let (_, port) = address.split_once(':')?;
    let digits = port
        .find(|c: char| !c.is_ascii_digit())
        .map_or(port, |end| &port[..end]);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_port_from_the_log_line() {
        let line = "srv  llama_server: server is listening on http://127.0.0.1:38105 - starting \
                    the main loop";
        assert_eq!(port_in(line), Some(38105));
        assert_eq!(port_in("listening on http://127.0.0.1"), None);
    }
}
