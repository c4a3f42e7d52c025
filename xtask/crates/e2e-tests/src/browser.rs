//! Chromium, driven by the scripts in `browser/`, for what only a browser can test.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use child_process::succeed;
use test_tools::{Tool, program};

/// What Debian and others call it.
const CHROMIUMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const OLDEST_NODE: u32 = 20;
const MANIFESTS: [&str; 2] = ["package.json", "package-lock.json"];
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
        if !is_new_enough() {
            return leave_out(&format!("Node {OLDEST_NODE} or newer is not installed"));
        }
        let Some(chromium) = CHROMIUMS.into_iter().find_map(program) else {
            return leave_out("chromium is not installed");
        };
        match install() {
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

/// What drives the browser needs Node 20 or newer.
fn is_new_enough() -> bool {
    let major = succeed(Command::new("node").args(["-p", "parseInt(process.versions.node)"]));
    major.is_ok_and(|major| {
        major
            .trim()
            .parse()
            .is_ok_and(|major: u32| major >= OLDEST_NODE)
    })
}

/// Installs what the scripts import, as the lock file says, once; another lock file is another
/// directory's content.
fn install() -> Result<PathBuf> {
    let directory = workspace_build::target().join("browser");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    // Tests are processes of their own: the first installs, the others wait for it here.
    let lock = File::create(directory.join(".lock"))?;
    lock.lock()?;
    let modules = directory.join("node_modules");
    let finished = directory.join(".finished");
    let wanted = read(&scripts().join("package-lock.json"))?;
    if std::fs::read(&finished).ok().as_ref() != Some(&wanted) {
        for manifest in MANIFESTS {
            std::fs::copy(scripts().join(manifest), directory.join(manifest))?;
        }
        let mut npm = Command::new("npm");
        npm.args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--silent",
        ])
        .current_dir(&directory);
        succeed(&mut npm)?;
        std::fs::write(&finished, &wanted)?;
    }
    if !modules.is_dir() {
        bail!(
            "{} is gone: remove {}",
            modules.display(),
            finished.display()
        );
    }
    Ok(modules)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
