//! `--watch`: a list again and again.

use std::io::{self, Write as _};

use super::App;
use crate::{
    args::Watch,
    clock::pause,
    exit::{Failure, Outcome},
    output::{note, time},
};

/// Moves to the upper left corner of the terminal and erases it.
const CLEAR: &str = "\x1b[H\x1b[2J";

impl App {
    /// Runs `show` once or, with an interval, until Ctrl-C or until the reader of the output
    /// leaves.
    ///
    /// On a terminal each list replaces the one before. Elsewhere an empty line is between two, and
    /// JSON is one document a line.
    pub(super) fn watched(&self, watch: Watch, show: impl Fn() -> Outcome) -> Outcome {
        let Some(every) = watch.every else {
            return show();
        };
        let replaces = self.output.terminal && !self.output.json;
        let begin = |text: &str| {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        if replaces {
            begin(CLEAR)?;
        }
        // What fails at first fails for good: a wrong token, an unknown node.
        show()?;
        loop {
            io::stdout().flush()?;
            pause(every);
            if replaces {
                begin(CLEAR)?;
            } else if !self.output.json {
                begin("\n")?;
            }
            match show() {
                // It may be back soon.
                Err(Failure::Client(error)) => {
                    note(&format!("llorch: {error}; tried again in {}", time(every)));
                }
                outcome => outcome?,
            }
        }
    }
}
