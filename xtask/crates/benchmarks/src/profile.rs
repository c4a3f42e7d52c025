//! `perf` beside a measurement.

use std::{path::Path, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use rustix::process::Signal;

use child_process::{Group, Process};

/// Samples a second and core; odd, so that it does not march in step with timers.
const FREQUENCY: &str = "1997";
/// How long `perf` may take to write what it has.
const GRACE: Duration = Duration::from_secs(30);

/// A running `perf record`.
pub(super) struct Recorder {
    process: Process,
    data: PathBuf,
}

impl Recorder {
    /// Samples `pids` into the file `data`, next to which it writes what is said.
    pub(super) fn start(pids: &[u32], data: &Path) -> Result<Self> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut command = Command::new("perf");
        command.args([
            "record",
            "--quiet",
            "-F",
            FREQUENCY,
            "--call-graph",
            "fp",
            "-p",
            &pids.join(","),
        ]);
        command.arg("-o").arg(data);
        let process = Process::spawn(
            "perf",
            &mut command,
            &data.with_extension("log"),
            Group::Ours,
        )
        .context("perf is needed (Debian: linux-perf)")?;
        Ok(Self {
            process,
            data: data.to_owned(),
        })
    }

    /// Ends it and tells how to read what it has.
    pub(super) fn finish(mut self) -> Result<String> {
        self.process.signal(Signal::INT)?;
        self.process.wait_end(GRACE)?;
        Ok(format!(
            "perf report --no-children -i {}",
            self.data.display()
        ))
    }
}
