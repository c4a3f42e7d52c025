//! The progress of `drain --wait` on standard error.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use llorch_client::DrainTarget;

use crate::{
    clock::now,
    output::{count, note},
};

/// Shows the progress of a drain: a bar on a terminal, else a line for each change.
pub(super) struct DrainProgress {
    bar: ProgressBar,
    prints_lines: bool,
    target: String,
    max_requests: u64,
    /// The last line.
    last_line: String,
    started: Instant,
}

impl DrainProgress {
    pub(super) fn new(target: &DrainTarget) -> Self {
        let bar = ProgressBar::no_length();
        let style = ProgressStyle::with_template(
            "{prefix} [{bar:30}] {pos} of {len} finished, {elapsed} {msg}",
        );
        bar.set_style(
            style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> "),
        );
        bar.set_prefix(format!("draining {target}"));
        Self {
            bar,
            prints_lines: !io::stderr().is_terminal(),
            target: target.to_string(),
            max_requests: 0,
            last_line: String::new(),
            started: now(),
        }
    }

    pub(super) fn update(&mut self, busy: u64, message: &'static str) {
        // A later report may count more requests than an earlier one.
        self.max_requests = self.max_requests.max(busy);
        self.bar.set_length(self.max_requests);
        self.bar
            .set_position(self.max_requests.saturating_sub(busy));
        self.bar.set_message(message);
        let line = if message.is_empty() {
            format!("{} running", count(busy, "request"))
        } else {
            message.to_owned()
        };
        if self.prints_lines && self.last_line != line {
            note(&format!("draining {}: {line}", self.target));
        }
        self.last_line = line;
    }

    /// The time since the wait began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
