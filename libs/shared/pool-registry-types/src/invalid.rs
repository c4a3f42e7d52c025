//! The error of a field whose value cannot be used, and the checks that several messages share.

use std::{collections::BTreeSet, fmt::Display};

use thiserror::Error;

/// A field whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field} {reason}")]
pub struct InvalidField {
    field: &'static str,
    reason: String,
}

impl InvalidField {
    pub(crate) fn new(field: &'static str, reason: String) -> Self {
        Self { field, reason }
    }

    /// The same of a field with this name.
    pub(crate) fn of(self, field: &'static str) -> Self {
        Self { field, ..self }
    }

    /// The name of the field.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }
}

/// Refuses a list that is longer than its bound.
pub(crate) fn check_count(
    field: &'static str,
    count: usize,
    max: usize,
) -> Result<(), InvalidField> {
    if count > max {
        return Err(InvalidField::new(
            field,
            format!("must have at most {max} entries, not {count}"),
        ));
    }
    Ok(())
}

/// Refuses a list in which two entries have the same id. `what` names an entry.
pub(crate) fn check_unique<Id: Ord + Display>(
    field: &'static str,
    what: &str,
    ids: impl IntoIterator<Item = Id>,
) -> Result<(), InvalidField> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if let Some(twice) = seen.replace(id) {
            return Err(InvalidField::new(
                field,
                format!("must name each {what} once, not {twice} twice"),
            ));
        }
    }
    Ok(())
}

/// The list without spare capacity. serde reserves four entries at once, and a report is kept
/// for as long as its node is known.
pub(crate) fn fitted<T>(mut list: Vec<T>) -> Vec<T> {
    list.shrink_to_fit();
    list
}
