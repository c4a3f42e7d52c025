//! Two stand-in engines, which end when this process does, however that happens.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::scenario::{ENGINE_SLOTS, ENGINE_TOKENS};

/// How many engines stand behind every contender.
const ENGINES: usize = 2;

/// One of them. It serves until its standard input ends.
struct Engine {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Engine {
    fn start(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["--tokens", &ENGINE_TOKENS.to_string()]);
        command.args(["--slots", &ENGINE_SLOTS.to_string()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().context("an engine without output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line
            .trim()
            .rsplit("http://")
            .next()
            .and_then(|address| address.parse().ok())
            .with_context(|| format!("the engine does not say where it listens: {line:?}"))?;
        Ok(Self {
            child,
            input,
            output,
            address,
        })
    }

    fn direct(&mut self, directives: &str) -> Result<()> {
        let input = self.input.as_mut().context("an engine without input")?;
        writeln!(input, "{directives}")?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        ensure!(
            answer.contains("now does"),
            "the engine does not understand {directives}: {answer}"
        );
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.input.take());
        // An error means that it has ended already.
        let _ = self.child.wait();
    }
}

/// All of them.
pub(super) struct Engines(Vec<Engine>);

impl Engines {
    pub(super) fn start(program: &Path) -> Result<Self> {
        (0..ENGINES)
            .map(|_| Engine::start(program))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Tells all of them how to answer from now on.
    pub(super) fn direct(&mut self, directives: &str) -> Result<()> {
        self.0
            .iter_mut()
            .try_for_each(|engine| engine.direct(directives))
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|engine| engine.address).collect()
    }

    /// Their handoff files.
    pub(super) fn handoffs(&self) -> Vec<Value> {
        (0..)
            .zip(self.addresses())
            .map(|(n, address): (u32, _)| {
                json!({
                    "pool_id": "pool-0",
                    "replica_id": format!("r{n}"),
                    "engine": "llamacpp",
                    "url": format!("http://{address}"),
                    "engine_version": "stand-in",
                    "slots": ENGINE_SLOTS,
                    "models": ["tiny"],
                })
            })
            .collect()
    }
}
