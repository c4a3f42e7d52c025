//! The load generator as a process.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::figures::{PacedFigures, Rate};

/// Connections of the closed loops. Each has one heartbeat in flight.
pub(super) const CONNECTIONS: u32 = 32;
/// Connections that all nodes share when they keep the pace that the server sets.
pub(super) const SHARED_CONNECTIONS: u32 = 64;
/// A run that ends after a number of messages ends after so many seconds at the latest.
const COUNTED_RUN_SECS: &str = "600";
/// No real daemon numbers its heartbeats this high, so that each run begins above the one before.
const NUMBERS_PER_RUN: u64 = 1 << 32;

/// Starts load generators against one control plane.
pub(super) struct LoadGenerator {
    pub(super) program: PathBuf,
    pub(super) target: SocketAddr,
    /// How many runs have numbered their heartbeats.
    pub(super) runs: u64,
}

/// What a simulated node sends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Message<'a> {
    /// A registration with the address at which the node is probed.
    Register { address: &'a str },
    /// A heartbeat: `unchanged`, `load` or `readiness`.
    Heartbeat(&'a str),
}

impl LoadGenerator {
    /// `GET /health` as fast as it is answered.
    pub(super) fn health(&self, seconds: f64) -> Result<Rate> {
        let seconds = seconds.to_string();
        self.closed_loop(&["--get", "--path", "/health", "--seconds", &seconds])
    }

    /// One message of each node, as fast as they are answered.
    pub(super) fn once(&mut self, nodes: u64, message: Message<'_>) -> Result<Rate> {
        let count = nodes.to_string();
        let ends = [
            "--count",
            &count,
            "--warm-up",
            "0",
            "--seconds",
            COUNTED_RUN_SECS,
        ];
        self.messages(nodes, message, &ends)
    }

    /// Messages for some seconds, as fast as they are answered.
    pub(super) fn repeated(
        &mut self,
        nodes: u64,
        message: Message<'_>,
        seconds: f64,
    ) -> Result<Rate> {
        let seconds = seconds.to_string();
        self.messages(nodes, message, &["--seconds", &seconds])
    }

    fn messages(&mut self, nodes: u64, message: Message<'_>, ends: &[&str]) -> Result<Rate> {
        let (fleet, first) = (nodes.to_string(), self.next_numbers().to_string());
        let kind: &[&str] = match &message {
            Message::Register { address } => &["--beat", "register", "--address", address],
            Message::Heartbeat(beat) => &["--beat", beat, "--first-number", &first],
        };
        self.closed_loop(&[&["--fleet", &fleet], kind, ends].concat())
    }

    fn closed_loop(&self, arguments: &[&str]) -> Result<Rate> {
        let mut command = self.command(arguments);
        let output = command
            .args(["--connections", &CONNECTIONS.to_string()])
            .output()
            .context("cannot run load-gen")?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Rate::parse(&output.stdout)
    }

    /// The nodes send heartbeats for some seconds, at the pace that the server sets.
    pub(super) fn paced(&mut self, nodes: u64, seconds: f64) -> Result<RunningLoad> {
        let (fleet, first) = (nodes.to_string(), self.next_numbers().to_string());
        let (connections, secs) = (SHARED_CONNECTIONS.to_string(), seconds.to_string());
        let arguments = [
            "--paced",
            "--fleet",
            &fleet,
            "--first-number",
            &first,
            "--seconds",
            &secs,
            "--connections",
            &connections,
        ];
        RunningLoad::spawn(self.command(&arguments), seconds)
    }

    /// One client sends chat requests to the real node's model for some seconds.
    pub(super) fn requests(&self, seconds: f64) -> Result<RunningLoad> {
        let body =
            r#"{"model":"tiny","messages":[{"role":"user","content":"count"}],"max_tokens":4}"#;
        let secs = seconds.to_string();
        let arguments = [
            "--body",
            body,
            "--connections",
            "1",
            "--warm-up",
            "0",
            "--seconds",
            &secs,
        ];
        RunningLoad::spawn(self.command(&arguments), seconds)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--target", &self.target.to_string()])
            .args(arguments);
        command
    }

    fn next_numbers(&mut self) -> u64 {
        self.runs += 1;
        self.runs * NUMBERS_PER_RUN
    }
}

/// A load generator that runs beside the measurement.
pub(super) struct RunningLoad {
    child: Child,
    seconds: f64,
}

impl RunningLoad {
    fn spawn(mut command: Command, seconds: f64) -> Result<Self> {
        let child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run load-gen")?;
        Ok(Self { child, seconds })
    }

    pub(super) fn rate(self) -> Result<Rate> {
        Rate::parse(&self.report()?)
    }

    pub(super) fn paced_figures(self) -> Result<PacedFigures> {
        let seconds = self.seconds;
        PacedFigures::parse(&self.report()?, seconds)
    }

    fn report(self) -> Result<Vec<u8>> {
        let output = self.child.wait_with_output()?;
        ensure!(output.status.success(), "load-gen: {}", output.status);
        Ok(output.stdout)
    }
}
