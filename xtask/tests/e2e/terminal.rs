//! A terminal with a shell's line in it, and what a person sees there.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use xtask::{clock::wait_for_some, cluster::Cluster};

/// How wide it is: what every terminal has.
pub(crate) const COLUMNS: usize = 80;
const SOON: Duration = Duration::from_secs(20);

/// A terminal of tmux, ended with the test.
pub(crate) struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs a shell line in 80 columns.
    pub(crate) fn start(cluster: &Cluster, name: &str, line: &str) -> Result<Self> {
        let socket = cluster.directory().join(name).to_string_lossy().into_owned();
        let terminal = Self { socket };
        let columns = COLUMNS.to_string();
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", "30", line])?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("tmux");
        command
            .args(["-u", "-f", "/dev/null", "-S", &self.socket])
            .args(arguments);
        let output = command
            .output()
            .context("cannot run tmux (Debian: apt-get install tmux)")?;
        ensure!(output.status.success(), "tmux {arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// What was written, with lines that were too long for the screen in one piece.
    pub(crate) fn text(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p", "-J"])
    }

    /// Presses keys, by the names that tmux has for them.
    pub(crate) fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    /// The screen, once all of `parts` are on it.
    pub(crate) fn wait(&self, parts: &[&str]) -> Result<String> {
        let what = format!("{parts:?} on the screen");
        let shown = || {
            self.screen()
                .ok()
                .filter(|screen| parts.iter().all(|part| screen.contains(part)))
        };
        wait_for_some(&what, SOON, shown).with_context(|| self.screen().unwrap_or_default())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}
