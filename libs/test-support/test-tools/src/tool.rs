//! Tools that some tests need and the README does not require. Where one is missing, its tests are
//! left out, and the end of the run lists them.
//!
//! [`Tool::leave_out`] is the one way to leave a test out. Where the variable of the tool is set,
//! as in CI, it fails instead.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// The environment variable with the file to which tests write what they leave out.
pub const VARIABLE: &str = "LLORCH_LEFT_OUT_FILE";

/// A tool that some tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `cargo-auditable`, and binutils to read what it writes.
    Auditable,
    /// A shell with more syntax than POSIX has.
    Bash,
    /// Chromium, and Node with npm to drive it.
    Browser,
    /// `curl`, with the shell that it is typed into.
    Curl,
    /// `cargo-deny`.
    Deny,
    /// The `openapi-python-client` package of the Python package index.
    ClientGenerator,
    /// The official clients for Node, and what installs them.
    NodeClients,
    /// `prometheus` and `promtool`.
    Prometheus,
    /// The official clients for Python.
    PythonClients,
    /// The `schemathesis` package of the Python package index.
    Schemathesis,
    /// The `sslyze` package of the Python package index.
    Sslyze,
}

impl Tool {
    /// What is not tested without it.
    fn tests(self) -> &'static str {
        match self {
            Self::Deny => "licences, sources and owners of the dependencies",
            Self::Auditable => "the list of dependencies in released programs",
            Self::Bash => "the completion script for bash",
            Self::Browser => "the dashboard in a browser",
            Self::Curl => "the commands of the documents",
            Self::ClientGenerator => "clients generated from the OpenAPI documents",
            Self::NodeClients => "the official clients for Node",
            Self::Prometheus => "metrics and alert rules with Prometheus",
            Self::PythonClients => "the official clients for Python",
            Self::Schemathesis => "requests generated from the OpenAPI documents",
            Self::Sslyze => "TLS against Mozilla's profile",
        }
    }

    /// The variable that makes a missing tool a failure.
    fn required(self) -> &'static str {
        match self {
            Self::Deny => "LLORCH_DENY_REQUIRED",
            Self::Auditable => "LLORCH_AUDITABLE_REQUIRED",
            Self::Bash => "LLORCH_BASH_REQUIRED",
            Self::Browser => "LLORCH_BROWSER_REQUIRED",
            Self::Curl => "LLORCH_CURL_REQUIRED",
            Self::ClientGenerator => "LLORCH_CLIENT_GENERATOR_REQUIRED",
            Self::NodeClients => "LLORCH_NODE_CLIENTS_REQUIRED",
            Self::Prometheus => "LLORCH_PROMETHEUS_REQUIRED",
            Self::PythonClients => "LLORCH_PYTHON_CLIENTS_REQUIRED",
            Self::Schemathesis => "LLORCH_FUZZ_REQUIRED",
            Self::Sslyze => "LLORCH_SSLYZE_REQUIRED",
        }
    }

    /// Its Debian packages. Python packages are installed with pip.
    fn packages(self) -> Option<&'static str> {
        match self {
            Self::Bash => Some("bash"),
            Self::Browser => Some("chromium nodejs npm"),
            Self::Curl => Some("bash curl"),
            Self::NodeClients => Some("nodejs npm"),
            Self::Prometheus => Some("prometheus"),
            Self::Auditable
            | Self::ClientGenerator
            | Self::Deny
            | Self::PythonClients
            | Self::Schemathesis
            | Self::Sslyze => None,
        }
    }

    /// Its programs, where it has any under names that are the same everywhere.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Deny => &["cargo-deny"],
            Self::Auditable => &["cargo-auditable", "objcopy", "strip"],
            Self::Bash => &["bash"],
            Self::Browser | Self::NodeClients => &["node", "npm"],
            Self::Curl => &["bash", "curl"],
            Self::Prometheus => &["prometheus", "promtool"],
            Self::ClientGenerator | Self::PythonClients | Self::Schemathesis | Self::Sslyze => &[],
        }
    }

    /// Whether its programs are installed. If one is missing, records that its tests are left out.
    ///
    /// # Errors
    /// When one is missing and the tool is required.
    pub fn is_here(self) -> Result<bool> {
        match self.programs().iter().find(|name| program(name).is_none()) {
            Some(missing) => self
                .leave_out(&format!("{missing} is not installed"))
                .map(|()| false),
            None => Ok(true),
        }
    }

    /// Records that the tests with this tool are left out, and why.
    ///
    /// # Errors
    /// When the tool is required.
    pub fn leave_out(self, reason: &str) -> Result<()> {
        let line = self.line(reason);
        if std::env::var_os(self.required()).is_some() {
            bail!("{line}, but {} is set", self.required());
        }
        println!("left out: {line}");
        if let Some(path) = std::env::var_os(VARIABLE) {
            note(Path::new(&path), &line)?;
        }
        Ok(())
    }

    fn line(self, reason: &str) -> String {
        // The first of several lines has the reason.
        let reason = reason.lines().next().unwrap_or_default();
        match self.packages() {
            Some(packages) => format!(
                "{}: {reason} (Debian: apt-get install {packages})",
                self.tests()
            ),
            None => format!("{}: {reason}", self.tests()),
        }
    }
}

/// Appends a line to the file of the run. Tests of one run are processes beside one another, and
/// one line is one write.
fn note(path: &Path, line: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    file.write_all(format!("{line}\n").as_bytes())
        .with_context(|| format!("cannot write to {}", path.display()))
}

/// Where a program is, by `PATH`.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// The file with what the tests of a run leave out.
#[derive(Debug)]
pub struct LeftOut {
    file: NamedTempFile,
}

impl LeftOut {
    /// Creates the file that the tests of a run append to.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new() -> Result<Self> {
        let file = NamedTempFile::new().context("cannot create a temporary file")?;
        Ok(Self { file })
    }

    /// The value of [`VARIABLE`] for the tests.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Each line once, in order.
    pub fn lines(&self) -> Result<BTreeSet<String>> {
        let text =
            std::fs::read_to_string(self.path()).context("cannot read what the tests left out")?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PACK-12
    #[test]
    fn what_is_left_out_is_listed_once_with_its_reason() {
        let left_out = LeftOut::new().unwrap();
        for tool in [Tool::Prometheus, Tool::Bash, Tool::Prometheus] {
            note(left_out.path(), &tool.line("it is not here\nand more")).unwrap();
        }
        let lines: Vec<String> = left_out.lines().unwrap().into_iter().collect();
        assert_eq!(
            lines,
            [
                "metrics and alert rules with Prometheus: it is not here (Debian: apt-get install \
                 prometheus)",
                "the completion script for bash: it is not here (Debian: apt-get install bash)",
            ]
        );
    }

    #[test]
    fn a_program_is_found_by_path() {
        assert!(program("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(program("no-such-program-anywhere"), None);
    }
}
