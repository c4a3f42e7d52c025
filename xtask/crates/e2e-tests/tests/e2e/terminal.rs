//! A terminal that runs a shell line, and what a person sees on it.

use std::{
    io::{Read as _, Write},
    num::NonZeroU16,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use test_clock::wait_for_some;
use test_cluster::Cluster;
use vt100::Parser;

/// The width that every terminal has at least.
pub(crate) const COLUMNS: u16 = 80;
const ROWS: u16 = 30;
const SOON: Duration = Duration::from_secs(90);

/// What the keys send.
pub(crate) const ENTER: &str = "\r";
pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_D: &str = "\x04";

/// A shell line that runs a command, prints its exit code on a line of its own, and prints whether
/// the terminal reads whole lines again, as before it. The shell survives Ctrl-C and waits at the
/// end, so that the screen stays.
pub(crate) fn with_its_end(command: &str) -> String {
    format!(
        "trap : INT; {command}; printf '\\nended with %s\\n' $?; \
         case $(stty -a) in *-icanon*) echo raw ;; *) echo restored ;; esac; read line"
    )
}

/// A pseudoterminal with a shell on it. The shell ends with the test.
pub(crate) struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    shown: Arc<Mutex<Parser>>,
    /// The terminal exists as long as this does.
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// Runs a shell line on a terminal of 80 columns, with nothing of the developer's environment
    /// but `PATH`.
    pub(crate) fn start(cluster: &Cluster, line: &str) -> Result<Self> {
        let size = PtySize {
            rows: ROWS,
            cols: COLUMNS,
            pixel_width: 0,
            pixel_height: 0,
        };
        let pair = native_pty_system().openpty(size)?;
        let mut command = CommandBuilder::new("sh");
        command.args(["-c", line]);
        command.cwd(cluster.directory());
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").context("no PATH")?);
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        let child = pair.slave.spawn_command(command)?;
        // From now on only the shell and its commands hold the other end.
        drop(pair.slave);
        let size = |length| NonZeroU16::new(length).context("a terminal without size");
        let shown = Arc::new(Mutex::new(Parser::new(size(ROWS)?, size(COLUMNS)?, 0)));
        let mut output = pair.master.try_clone_reader()?;
        let written = shown.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails when the other end is closed.
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                written.lock().process(&bytes[..length]);
            }
        });
        Ok(Self {
            child,
            keys: pair.master.take_writer()?,
            shown,
            _master: pair.master,
        })
    }

    /// The rows of the screen.
    pub(crate) fn screen(&self) -> String {
        let parser = self.shown.lock();
        let rows: Vec<String> = parser.screen().rows(0, COLUMNS).collect();
        rows.join("\n")
    }

    /// What is on the screen, with each line that is longer than a row in one piece.
    pub(crate) fn text(&self) -> String {
        self.shown.lock().screen().contents()
    }

    /// Types in what the keys send.
    pub(crate) fn type_in(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes())?;
        self.keys.flush().context("the terminal takes no keys")
    }

    /// The screen, once all of `parts` are on it.
    pub(crate) fn wait(&self, parts: &[&str]) -> Result<String> {
        let what = format!("{parts:?} on the screen");
        let shown = || {
            let screen = self.screen();
            parts
                .iter()
                .all(|part| screen.contains(part))
                .then_some(screen)
        };
        wait_for_some(&what, SOON, shown).with_context(|| self.screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Has it ended, there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
