//! Standard output and error: text, tables and JSON, for a terminal or for a program.

use std::{
    env, fmt,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use serde_json::Value;

use crate::args::Format;
pub(crate) use crate::table::{Cell, CellStyle, Table, printable};

/// The width of a table when the terminal does not report its own.
const DEFAULT_WIDTH: u16 = 80;
/// Cells of a [`bar`].
const BAR: usize = 10;

/// How output is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
    /// Lists print names instead of tables.
    pub(crate) names: bool,
    /// Tables show every column in full.
    wide: bool,
    /// Standard output is a terminal.
    pub(crate) terminal: bool,
    pub(crate) color: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let terminal = io::stdout().is_terminal();
        // https://no-color.org: set and not empty.
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            json: format == Format::Json,
            names: format == Format::Name,
            wide: format == Format::Wide,
            terminal,
            color: terminal && !no_color && !dumb,
        }
    }

    /// One line without control characters.
    pub(crate) fn line(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", printable(text))
    }

    /// A part of a text, flushed at once.
    pub(crate) fn part(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.terminal {
            write!(out, "{}", printable(text))?;
        } else {
            write!(out, "{text}")?;
        }
        out.flush()
    }

    /// JSON: indented on a terminal, otherwise on one line.
    pub(crate) fn json(self, value: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.terminal {
            writeln!(out, "{value:#}")
        } else {
            writeln!(out, "{value}")
        }
    }

    /// A table.
    pub(crate) fn table(self, table: &Table) -> io::Result<()> {
        let width = (self.terminal && !self.wide).then(|| size().0);
        let mut out = io::stdout().lock();
        for line in table.lines(width, self.color) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// The names in a list, one a line.
    pub(crate) fn name_list<T: fmt::Display>(
        self,
        names: impl IntoIterator<Item = T>,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for name in names {
            writeln!(out, "{}", printable(&name.to_string()).replace('\n', " "))?;
        }
        Ok(())
    }

    /// Dim text, with colour enabled.
    pub(crate) fn dim(self, text: &str) -> String {
        if self.color {
            format!("\x1b[2m{}\x1b[22m", printable(text))
        } else {
            printable(text).into_owned()
        }
    }

    /// A note on standard error, dim with colour enabled.
    pub(crate) fn dim_note(self, text: &str) {
        let mut err = io::stderr().lock();
        let text = printable(text);
        let _ = if self.color && io::stderr().is_terminal() {
            writeln!(err, "\x1b[2m{text}\x1b[22m")
        } else {
            writeln!(err, "{text}")
        };
    }
}

/// A message on standard error. It is lost when standard error is closed.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// The columns and rows of the terminal.
pub(crate) fn size() -> (u16, u16) {
    match crossterm::terminal::size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (columns, rows),
        _ => (DEFAULT_WIDTH, 24),
    }
}

/// A bar with the used part of `total`.
pub(crate) fn bar(used: u64, total: u64) -> Cell {
    let filled = match total {
        0 => 0,
        total => used.min(total).saturating_mul(BAR as u64).div_ceil(total),
    };
    let filled = usize::try_from(filled).unwrap_or(BAR).min(BAR);
    let style = match (used, total) {
        (_, 0) => CellStyle::Dim,
        (used, total) if used >= total => CellStyle::Warn,
        _ => CellStyle::Good,
    };
    Cell::new(format!(
        "{}{}",
        "█".repeat(filled),
        "░".repeat(BAR - filled)
    ))
    .style(style)
}

/// A time for people: `850 ms`, `1.2 s`, `3 h 12 min`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else if minutes == 0 {
        format!("{:.1} s", time.as_secs_f64())
    } else if hours == 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else if days == 0 {
        format!("{hours} h {} min", minutes % 60)
    } else {
        format!("{days} d {} h", hours % 24)
    }
}

/// Milliseconds with two or three significant digits.
pub(crate) fn millis(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 10_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1000.0)
    }
}

/// A size in GiB.
pub(crate) fn gib(bytes: u64) -> String {
    const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
    format!("{:.1} GiB", bytes as f64 / GIB)
}

/// `3 requests`, `1 request`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_readable() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1200, "1.2 s"),
            (61_000, "1 min 1 s"),
            (11_520_000, "3 h 12 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(time(Duration::from_millis(ms)), text);
        }
        assert_eq!(
            (millis(0.25), millis(12.4), millis(12_000.0)),
            ("0.2 ms".into(), "12 ms".into(), "12.0 s".into())
        );
    }
}
