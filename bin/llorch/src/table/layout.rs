//! The widths of the columns of a table, for a window of a given width.

/// Blank columns between two columns of a table.
pub(super) const GAP: u16 = 2;

/// Columns with long texts keep this width before other columns are left out.
const LONG_MIN: usize = 12;

/// Texts keep this width before columns are left out that are not optional.
const TEXT_MIN: usize = 4;

/// A column as it would be in a window of any width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: usize,
    /// The width of its longest text.
    pub(super) width: usize,
    pub(super) is_long: bool,
    pub(super) is_number: bool,
    /// The order in which optional columns are left out.
    pub(super) dropped_as: Option<usize>,
}

/// The widths of the columns that are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    widths: Vec<Option<usize>>,
    /// The room for the last column in each row. Wider notes stand below their rows.
    note_room: Option<usize>,
}

impl Layout {
    /// All columns, as wide as their texts.
    pub(super) fn natural(columns: &[Column]) -> Self {
        let widths = columns.iter().map(|column| Some(column.width));
        Self {
            widths: widths.collect(),
            note_room: None,
        }
    }

    /// As many columns as a window has room for, as wide as possible.
    pub(super) fn fitted(columns: &[Column], window: usize) -> Self {
        let Some((note, others)) = columns.split_last() else {
            return Self::natural(columns);
        };
        if total(columns.iter().map(|column| column.width)) <= window {
            return Self::natural(columns);
        }
        // An optional last column is no note.
        let has_note = note.dropped_as.is_none() && !note.is_number;
        let (fixed, note) = if has_note {
            (others, Some(note))
        } else {
            (columns, None)
        };
        let mut widths = fit(fixed, window);
        let taken: usize = widths.iter().flatten().map(|width| width + GAP_WIDTH).sum();
        let room = window.saturating_sub(taken);
        let note_room = note.map(|note| if room < note.title { 0 } else { room });
        if note.is_some() {
            widths.push(note_room.filter(|room| *room > 0));
        }
        Self { widths, note_room }
    }

    /// The places and widths of the columns that are shown.
    pub(super) fn shown(&self) -> impl Iterator<Item = (usize, usize)> {
        let widths = self.widths.iter().enumerate();
        widths.filter_map(|(place, width)| Some((place, (*width)?)))
    }

    /// Whether a note of this width stands below its row.
    pub(super) fn is_below(&self, width: usize) -> bool {
        self.note_room.is_some_and(|room| width > room)
    }
}

const GAP_WIDTH: usize = GAP as usize;

/// The width of columns beside one another.
fn total(widths: impl IntoIterator<Item = usize>) -> usize {
    let with_gaps = widths.into_iter().map(|width| width + GAP_WIDTH);
    with_gaps.sum::<usize>().saturating_sub(GAP_WIDTH)
}

/// Cuts long columns, then leaves out optional ones, then cuts every text, then leaves out the last
/// columns, until the rest fits.
fn fit(columns: &[Column], window: usize) -> Vec<Option<usize>> {
    let mut shown: Vec<bool> = vec![true; columns.len()];
    let mut optional: Vec<(usize, usize)> = columns
        .iter()
        .enumerate()
        .filter_map(|(place, column)| Some((column.dropped_as?, place)))
        .collect();
    optional.sort_unstable();
    let long = |column: &Column| {
        if column.is_long {
            column.title.max(LONG_MIN)
        } else {
            column.width
        }
    };
    let short = |column: &Column| {
        if column.is_number {
            column.width
        } else {
            TEXT_MIN
        }
    };
    for (_, place) in optional {
        if let Some(widths) = cut(columns, &shown, window, long) {
            return widths;
        }
        shown[place] = false;
    }
    let found = cut(columns, &shown, window, long);
    if let Some(widths) = found.or_else(|| cut(columns, &shown, window, short)) {
        return widths;
    }
    // The first column stays: it says what the row is about.
    for place in (1..columns.len()).rev() {
        shown[place] = false;
        if let Some(widths) = cut(columns, &shown, window, short) {
            return widths;
        }
    }
    let first = |place| (place == 0).then_some(window.max(TEXT_MIN));
    (0..columns.len()).map(first).collect()
}

/// Cuts the widest columns first, none of them below its minimum. `None` when they do not fit.
fn cut(
    columns: &[Column],
    shown: &[bool],
    window: usize,
    minimum: impl Fn(&Column) -> usize,
) -> Option<Vec<Option<usize>>> {
    let mut widths: Vec<Option<usize>> = columns
        .iter()
        .zip(shown)
        .map(|(column, shown)| shown.then_some(column.width))
        .collect();
    while total(widths.iter().copied().flatten()) > window {
        let can_shrink = widths
            .iter_mut()
            .zip(columns)
            .filter_map(|(width, column)| {
                let width = width.as_mut()?;
                (*width > minimum(column)).then_some(width)
            });
        *can_shrink.max_by_key(|width| **width)? -= 1;
    }
    Some(widths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(width: usize) -> Column {
        Column {
            title: 4,
            width,
            is_long: false,
            is_number: false,
            dropped_as: None,
        }
    }

    fn widths(columns: &[Column], window: usize) -> Vec<Option<usize>> {
        Layout::fitted(columns, window).widths
    }

    // spec: CLI-34
    #[test]
    fn what_matters_least_goes_first() {
        let mut columns = [column(10), column(8), column(40), column(30)];
        columns[1].dropped_as = Some(0);
        columns[2].is_long = true;
        let all = 10 + 8 + 40 + 30 + 3 * GAP_WIDTH;
        let natural = [Some(10), Some(8), Some(40), Some(30)];
        assert_eq!(widths(&columns, all), natural);
        // The note gets the room that is left, if its title fits.
        assert_eq!(
            widths(&columns, all - 1),
            [Some(10), Some(8), Some(40), Some(29)]
        );
        assert_eq!(widths(&columns, 65), [Some(10), Some(8), Some(40), None]);
        // The long column is cut, down to its minimum.
        assert_eq!(widths(&columns, 50), [Some(10), Some(8), Some(28), None]);
        assert_eq!(widths(&columns, 34), [Some(10), Some(8), Some(12), None]);
        // The optional column is left out.
        assert_eq!(widths(&columns, 33), [Some(10), None, Some(21), None]);
        // Every text is cut, and at last columns are left out.
        assert_eq!(widths(&columns, 20), [Some(9), None, Some(9), None]);
        assert_eq!(widths(&columns, 8), [Some(8), None, None, None]);
    }

    // spec: CLI-34
    #[test]
    fn a_note_that_does_not_fit_stands_below() {
        let columns = [column(10), column(30)];
        let layout = Layout::fitted(&columns, 30);
        assert!(layout.is_below(19) && !layout.is_below(18));
        assert!(!Layout::natural(&columns).is_below(1000));
    }
}
