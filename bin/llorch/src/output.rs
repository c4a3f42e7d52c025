//! What goes to the terminal, or to whoever reads instead of one: tables, text and JSON.

use std::{
    borrow::Cow,
    env, fmt,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, presets};
use serde_json::Value;

/// How wide a table may be when the terminal does not say.
const USUAL_WIDTH: u16 = 80;
/// Cells of a [`bar`].
const BAR: usize = 10;
/// Blank columns between two columns of a table.
const GAP: u16 = 2;

/// Where output goes and how it looks there.
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
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            json,
            terminal,
            color: terminal && !unwanted && !dumb,
        }
    }

    /// One line, cleaned of what would steer a terminal.
    pub(crate) fn line(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", printable(text))
    }

    /// A piece of a text, at once.
    pub(crate) fn piece(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.terminal {
            write!(out, "{}", printable(text))?;
        } else {
            write!(out, "{text}")?;
        }
        out.flush()
    }

    /// JSON: on a terminal to be read, otherwise one line.
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

    /// Dim text, where there is colour.
    pub(crate) fn dim(self, text: &str) -> String {
        if self.color {
            format!("\x1b[2m{}\x1b[22m", printable(text))
        } else {
            printable(text).into_owned()
        }
    }
}

impl Output {
    /// A note, dim where there is colour.
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

/// Something for the person beside the result. If nobody listens, that is fine.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// Columns and rows of the terminal.
pub(crate) fn size() -> (u16, u16) {
    match crossterm::terminal::size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (columns, rows),
        _ => (USUAL_WIDTH, 24),
    }
}

/// Without control characters: what a model or a server says must not steer the terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(bad) {
        text.replace(bad, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// How a cell looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Look {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
    Dim,
}

/// One cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    look: Look,
    right: bool,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            look: Look::Plain,
            right: false,
        }
    }

    /// A number: aligned at its end.
    pub(crate) fn number(number: impl fmt::Display) -> Self {
        Self {
            right: true,
            ..Self::new(format!("{number}"))
        }
    }

    pub(crate) fn looks(self, look: Look) -> Self {
        Self { look, ..self }
    }
}

/// A table without borders, its head in capitals.
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

    /// Its lines; wrapped to `width` when there is one.
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
            table.add_row(row.iter().map(shown));
        }
        let last = self.head.len().saturating_sub(1);
        for (place, column) in table.column_iter_mut().enumerate() {
            // A wrapped number or name is hard to read; a wrapped last column is not.
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

/// How much of `total` is used.
pub(crate) fn bar(used: u64, total: u64) -> Cell {
    let filled = match total {
        0 => 0,
        total => used.min(total).saturating_mul(BAR as u64).div_ceil(total),
    };
    let filled = usize::try_from(filled).unwrap_or(BAR).min(BAR);
    let look = match (used, total) {
        (_, 0) => Look::Dim,
        (used, total) if used >= total => Look::Warn,
        _ => Look::Good,
    };
    Cell::new(format!(
        "{}{}",
        "█".repeat(filled),
        "░".repeat(BAR - filled)
    ))
    .looks(look)
}

fn shown(cell: &Cell) -> comfy_table::Cell {
    let text = printable(&cell.text).replace(['\n', '\t'], " ");
    let shown = aligned(comfy_table::Cell::new(text), cell.right);
    match cell.look {
        Look::Plain => shown,
        Look::Good => shown.fg(Color::Green),
        Look::Warn => shown.fg(Color::Yellow),
        Look::Bad => shown.fg(Color::Red),
        Look::Dim => shown.add_attribute(Attribute::Dim),
    }
}

fn aligned(cell: comfy_table::Cell, right: bool) -> comfy_table::Cell {
    cell.set_alignment(if right {
        CellAlignment::Right
    } else {
        CellAlignment::Left
    })
}

/// A time as people read it: `850 ms`, `1.2 s`, `3 h 12 min`.
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

/// Milliseconds with as many digits as matter.
pub(crate) fn millis(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 10_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1000.0)
    }
}

/// A size in memory.
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
            Cell::new("a long reason that does not fit into the line").looks(Look::Bad),
        ]);
        table.row([Cell::new("g\x1b[2J"), Cell::number(3), Cell::new("")]);
        table
    }

    // spec: CLI-2
    #[test]
    fn a_table_is_plain_where_nobody_looks_and_fits_where_somebody_does() {
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
    fn times_are_read_by_people() {
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
