//! Tables without borders: one row a record for programs, fitted to the width of a terminal for
//! people.

mod layout;

use std::{borrow::Cow, fmt};

use comfy_table::{Attribute, CellAlignment, Color, ContentArrangement, presets};
use console::{measure_text_width, truncate_str};

use self::layout::{Column, GAP, Layout};

/// How far a note below its row is indented.
const INDENT: u16 = 2;

/// The end of a text that is cut.
const ELLIPSIS: &str = "…";

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
        let text = text.into();
        Self {
            text: printable(&text).replace(['\n', '\t'], " "),
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

    /// Cuts the text to a width.
    fn cut(&self, width: usize) -> Self {
        Self {
            text: truncate_str(&self.text, width, ELLIPSIS).into_owned(),
            ..self.clone()
        }
    }

    fn width(&self) -> usize {
        measure_text_width(&self.text)
    }
}

/// A table without borders.
///
/// On a terminal that is too narrow, columns are cut or left out, and the last column, which holds
/// reasons and messages, moves to a line of its own below its row.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    optional: &'static [&'static str],
    long: &'static [&'static str],
}

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
            optional: &[],
            long: &[],
        }
    }

    /// Names the columns that may be left out on a narrow terminal, the least important first.
    pub(crate) fn optional(self, optional: &'static [&'static str]) -> Self {
        Self { optional, ..self }
    }

    /// Names the columns that are cut first, because their texts may be long.
    pub(crate) fn long(self, long: &'static [&'static str]) -> Self {
        Self { long, ..self }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines of the table. Without a width, each row is one line with all its texts.
    pub(crate) fn lines(&self, width: Option<u16>, color: bool) -> Vec<String> {
        let columns = self.columns();
        let layout = match width {
            None => Layout::natural(&columns),
            Some(width) => Layout::fitted(&columns, usize::from(width)),
        };
        let lines = self.grid(&layout, color);
        let Some(width) = width else {
            return lines;
        };
        let mut all = Vec::new();
        for (place, line) in lines.into_iter().enumerate() {
            all.push(line);
            // The first line is the head.
            let row = place.checked_sub(1).and_then(|row| self.rows.get(row));
            if let Some(note) = row.and_then(|row| row.last())
                && layout.is_below(note.width())
            {
                all.extend(note_lines(note, width, color));
            }
        }
        all
    }

    fn columns(&self) -> Vec<Column> {
        let name_and_column = self.head.iter().enumerate();
        name_and_column
            .map(|(place, name)| {
                let cells = self.rows.iter().filter_map(|row| row.get(place));
                let rank = self.optional.iter().position(|optional| optional == name);
                Column {
                    title: measure_text_width(name),
                    width: cells
                        .map(|cell| cell.width())
                        .chain([measure_text_width(name)])
                        .max()
                        .unwrap_or(0),
                    is_long: self.long.contains(name),
                    is_number: self.is_right(place),
                    dropped_as: rank,
                }
            })
            .collect()
    }

    fn is_right(&self, column: usize) -> bool {
        let first = self.rows.first().and_then(|row| row.get(column));
        first.is_some_and(|cell| cell.right)
    }

    /// The head and one line for each row.
    fn grid(&self, layout: &Layout, color: bool) -> Vec<String> {
        let mut table = plain_table(color);
        table.set_content_arrangement(ContentArrangement::Disabled);
        let shown: Vec<(usize, usize)> = layout.shown().collect();
        table.set_header(shown.iter().map(|(place, width)| {
            let title = Cell::new(self.head[*place]).cut(*width);
            let cell = comfy_table::Cell::new(title.text).add_attribute(Attribute::Bold);
            aligned(cell, self.is_right(*place))
        }));
        for row in &self.rows {
            table.add_row(shown.iter().map(|(place, width)| {
                let Some(cell) = row.get(*place) else {
                    return comfy_table::Cell::new("");
                };
                let is_note = *place + 1 == self.head.len();
                if is_note && layout.is_below(cell.width()) {
                    return comfy_table::Cell::new("");
                }
                styled(&cell.cut(*width))
            }));
        }
        let last = shown.len().saturating_sub(1);
        for (place, column) in table.column_iter_mut().enumerate() {
            let gap = if place < last { GAP } else { 0 };
            column.set_padding((0, gap));
        }
        trimmed(&table)
    }
}

/// A note, wrapped and indented.
fn note_lines(note: &Cell, width: u16, color: bool) -> Vec<String> {
    let mut table = plain_table(color);
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table.add_row([styled(note)]);
    if let Some(column) = table.column_mut(0) {
        column.set_padding((INDENT, 0));
    }
    trimmed(&table)
}

fn plain_table(color: bool) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

fn trimmed(table: &comfy_table::Table) -> Vec<String> {
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn styled(cell: &Cell) -> comfy_table::Cell {
    let cell_text = aligned(comfy_table::Cell::new(&cell.text), cell.right);
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
    fn a_table_is_plain_in_a_pipe_and_coloured_on_a_terminal() {
        assert_eq!(
            table().lines(None, false),
            [
                "NODE   FREE  WHY",
                "gpu-1    12  a long reason that does not fit into the line",
                "g\u{fffd}[2J     3",
            ]
        );
        assert!(table().lines(Some(80), true).join("").contains("\x1b["));
    }

    // spec: CLI-34
    #[test]
    fn a_long_reason_gets_lines_of_its_own() {
        assert_eq!(
            table().lines(Some(30), false),
            [
                "NODE   FREE  WHY",
                "gpu-1    12",
                "  a long reason that does not",
                "  fit into the line",
                "g\u{fffd}[2J     3",
            ]
        );
    }

    // spec: CLI-34
    #[test]
    fn any_width_is_kept() {
        let mut table = Table::new(&["NODE", "POOL", "STATE", "FREE", "ENGINE", "MODELS", "WHY"])
            .optional(&["ENGINE"])
            .long(&["MODELS"]);
        for node in ["gpu-with-a-very-long-name-1", "日本語の名前", "a"] {
            table.row([
                Cell::new(node),
                Cell::new("pool-0"),
                Cell::new("not ready"),
                Cell::number(1_000_000),
                Cell::new("llamacpp"),
                Cell::new("a-model-with-a-long-name/and-another-part:latest 二番目のモデル"),
                Cell::new("a reason with-one-word-that-is-longer-than-most-windows-are-wide"),
            ]);
        }
        for width in 1..200 {
            for line in table.lines(Some(width), false) {
                assert!(
                    measure_text_width(&line) <= usize::from(width).max(4),
                    "{width}: {line:?}"
                );
            }
        }
        // What matters most stays.
        let shown = table.lines(Some(80), false);
        assert_eq!(
            shown[0].split_whitespace().collect::<Vec<_>>(),
            ["NODE", "POOL", "STATE", "FREE", "MODELS"]
        );
        assert!(
            shown[1].starts_with("gpu-with-a-very-long-name-1  pool-0"),
            "{shown:#?}"
        );
        assert!(
            shown[1].ends_with('…') && shown[2].starts_with("  a reason"),
            "{shown:#?}"
        );
    }
}
