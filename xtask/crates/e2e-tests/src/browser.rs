//! Chromium, driven by the scripts in `browser/`, for what only a browser can test.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use test_tools::{Tool, program};

use crate::node_modules::{self, OLDEST_NODE};

/// What Debian and others call it.
const CHROMIUMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// How a script begins a line that asks for something.
const NEED: &str = "need ";

/// A browser and what drives it.
#[derive(Debug)]
pub struct Browser {
    chromium: PathBuf,
    modules: PathBuf,
}

impl Browser {
    /// The browser of this machine. `None` where something is missing; what needs it is then left
    /// out.
    ///
    /// # Errors
    /// When something is missing and the browser is required.
    pub fn find() -> Result<Option<Self>> {
        if !Tool::Browser.is_here()? {
            return Ok(None);
        }
        let leave_out = |reason: &str| Tool::Browser.leave_out(reason).map(|()| None);
        if !node_modules::is_node_new_enough() {
            return leave_out(&format!("Node {OLDEST_NODE} or newer is not installed"));
        }
        let Some(chromium) = CHROMIUMS.into_iter().find_map(program) else {
            return leave_out("chromium is not installed");
        };
        match node_modules::install("browser", &scripts()) {
            Ok(modules) => Ok(Some(Self { chromium, modules })),
            Err(error) => leave_out(&format!("{error:#}")),
        }
    }

    /// Runs a script of `browser/` to its end. For each line `need WHAT` that it prints,
    /// `help(WHAT)` is called while it waits. Its pictures are in `target/screenshots`.
    ///
    /// # Errors
    /// When it fails, or `help` does.
    pub fn run(
        &self,
        script: &str,
        arguments: &[&str],
        mut help: impl FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let screenshots = workspace_build::target().join("screenshots");
        std::fs::create_dir_all(&screenshots)
            .context("cannot create a directory for screenshots")?;
        let child = Command::new("node")
            .arg(scripts().join(script))
            .args(arguments)
            .env("LLORCH_NODE_MODULES", &self.modules)
            .env("LLORCH_CHROMIUM", &self.chromium)
            .env("LLORCH_SCREENSHOTS", &screenshots)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run node")?;
        let mut script = Script(child);
        let mut input = script.0.stdin.take().context("no input")?;
        let output = script.0.stdout.take().context("no output")?;
        for line in BufReader::new(output).lines() {
            let line = line.context("the script cannot be read")?;
            match line.strip_prefix(NEED) {
                Some(what) => {
                    help(what)?;
                    writeln!(input, "done").context("the script does not listen")?;
                }
                None => println!("{line}"),
            }
        }
        let status = script.0.wait()?;
        ensure!(status.success(), "the browser script: {status}");
        Ok(())
    }
}

/// Ends with the test.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        // Has it ended, there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn scripts() -> PathBuf {
    workspace_build::root().join("xtask/crates/e2e-tests/browser")
}
