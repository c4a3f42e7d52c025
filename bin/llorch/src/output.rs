//! Standard output and error: tables, text and JSON, for a terminal or for a program.

use std::{
    borrow::Cow,
    env, fmt,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, presets};
use serde_json::Value;

/// The width of a table when the terminal does not report its own.
const DEFAULT_WIDTH: u16 = 80;
/// Cells of a [`bar`].
const BAR: usize = 10;
/// Blank columns between two columns of a table.
const GAP: u16 = 2;

/// How output is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
    /// Standard output is a terminal.
    pub(crate) terminal: bool,
    pub(crate) color: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        // https://no-color.org: set and not empty.
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            json,
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
        let width = self.terminal.then(|| size().0);
        let mut out = io::stdout().lock();
        for line in table.lines(width, self.color) {
            writeln!(out, "{line}")?;
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

/// Replaces control characters: text of a model or a server must not control the terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(bad) {
        text.replace(bad, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// The style of a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CellStyle {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
    Dim,
}

/// A cell of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: CellStyle,
    right: bool,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            style: CellStyle::Plain,
            right: false,
        }
    }

    /// A number, aligned right.
    pub(crate) fn number(number: impl fmt::Display) -> Self {
        Self {
            right: true,
            ..Self::new(format!("{number}"))
        }
    }

    pub(crate) fn style(self, style: CellStyle) -> Self {
        Self { style, ..self }
    }
}

/// A table without borders.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines of the table; with a width, the last column is wrapped.
    pub(crate) fn lines(&self, width: Option<u16>, color: bool) -> Vec<String> {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        if color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        match width {
            Some(width) => {
                table
                    .set_content_arrangement(ContentArrangement::Dynamic)
                    .set_width(width);
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        let right = |column: usize| {
            self.rows
                .first()
                .and_then(|row| row.get(column))
                .is_some_and(|cell| cell.right)
        };
        table.set_header(self.head.iter().enumerate().map(|(column, name)| {
            let cell = comfy_table::Cell::new(name).add_attribute(Attribute::Bold);
            aligned(cell, right(column))
        }));
        for row in &self.rows {
            table.add_row(row.iter().map(styled));
        }
        let last = self.head.len().saturating_sub(1);
        for (place, column) in table.column_iter_mut().enumerate() {
            // Only the last column is wrapped: a wrapped number or name is hard to read.
            if place < last {
                column.set_padding((0, GAP));
                column.set_constraint(ColumnConstraint::ContentWidth);
            } else {
                column.set_padding((0, 0));
            }
        }
        table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
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

fn styled(cell: &Cell) -> comfy_table::Cell {
    let text = printable(&cell.text).replace(['\n', '\t'], " ");
    let cell_text = aligned(comfy_table::Cell::new(text), cell.right);
    match cell.style {
        CellStyle::Plain => cell_text,
        CellStyle::Good => cell_text.fg(Color::Green),
        CellStyle::Warn => cell_text.fg(Color::Yellow),
        CellStyle::Bad => cell_text.fg(Color::Red),
        CellStyle::Dim => cell_text.add_attribute(Attribute::Dim),
    }
}

fn aligned(cell: comfy_table::Cell, right: bool) -> comfy_table::Cell {
    cell.set_alignment(if right {
        CellAlignment::Right
    } else {
        CellAlignment::Left
    })
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

    fn table() -> Table {
        let mut table = Table::new(&["NODE", "FREE", "WHY"]);
        table.row([
            Cell::new("gpu-1"),
            Cell::number(12),
            Cell::new("a long reason that does not fit into the line").style(CellStyle::Bad),
        ]);
        table.row([Cell::new("g\x1b[2J"), Cell::number(3), Cell::new("")]);
        table
    }

    // spec: CLI-2
    #[test]
    fn a_table_is_plain_in_a_pipe_and_fits_the_terminal() {
        assert_eq!(
            table().lines(None, false),
            [
                "NODE   FREE  WHY",
                "gpu-1    12  a long reason that does not fit into the line",
                "g\u{fffd}[2J     3",
            ]
        );
        let narrow = table().lines(Some(30), false);
        assert!(narrow.len() > 3, "{narrow:#?}");
        assert!(
            narrow.iter().all(|line| line.chars().count() <= 30),
            "{narrow:#?}"
        );
        assert!(table().lines(Some(80), true).join("").contains("\x1b["));
    }

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
