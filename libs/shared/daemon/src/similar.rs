//! The name of a setting that is nearest to an unknown one.

use crate::setting::SettingDescription;

/// A name is similar to an unknown one if at most one letter of this many differs.
pub(crate) const LETTERS_PER_EDIT: usize = 3;

/// The known name that needs the fewest edits, and their number.
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<(&'k str, usize)> {
    let distance = |known: &&'k str| (*known, strsim::damerau_levenshtein(name, known));
    known.iter().map(distance).min_by_key(|(_, edits)| *edits)
}

/// The key that is similar to `name`, or whose variable is.
pub(crate) fn nearest_key<'s>(name: &str, settings: &'s [SettingDescription]) -> Option<&'s str> {
    let name: String = name.replace('-', "_").to_ascii_lowercase();
    let of_variable = settings
        .iter()
        .find(|row| row.name.eq_ignore_ascii_case(&name));
    if let Some(row) = of_variable {
        return row.key();
    }
    let keys: Vec<&str> = settings
        .iter()
        .filter_map(SettingDescription::key)
        .collect();
    let (key, edits) = nearest(&name, &keys)?;
    (edits * LETTERS_PER_EDIT <= name.len()).then_some(key)
}
