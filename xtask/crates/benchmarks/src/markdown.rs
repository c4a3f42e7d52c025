//! Tables in Markdown.

use std::fmt;

/// How the cells of a column are aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alignment {
    Left,
    Right,
}

/// A column of a [`Table`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    title: &'static str,
    alignment: Alignment,
}

/// A column of words.
pub(crate) const fn text(title: &'static str) -> Column {
    Column {
        title,
        alignment: Alignment::Left,
    }
}

/// A column of numbers.
pub(crate) const fn number(title: &'static str) -> Column {
    Column {
        title,
        alignment: Alignment::Right,
    }
}

/// A table with a fixed number of columns.
#[derive(Debug, Clone)]
pub(crate) struct Table<const COLUMNS: usize> {
    columns: [Column; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(crate) fn new(columns: [Column; COLUMNS]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| {} |",
            self.columns.map(|column| column.title).join(" | ")
        )?;
        let rules = self.columns.map(|column| match column.alignment {
            Alignment::Left => "---",
            Alignment::Right => "---:",
        });
        writeln!(f, "|{}|", rules.join("|"))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_head_a_rule_and_rows() {
        let mut table = Table::new([text("who"), number("ms")]);
        assert!(table.is_empty());
        table.add(["a".to_owned(), "1".to_owned()]);
        table.add(["b".to_owned(), String::new()]);
        assert_eq!(
            table.to_string(),
            "| who | ms |\n|---|---:|\n| a | 1 |\n| b |  |\n"
        );
    }
}
