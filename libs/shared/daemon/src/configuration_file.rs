//! The configuration file: TOML, one key for each setting, read against the rows of the settings.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use pool_registry_types::quoted;
use service_runtime::env::Problems;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    setting::{OtherWays, SettingDescription, ValueKind},
    similar::nearest_key,
};

/// The largest configuration file in bytes: every setting with long comments is a tenth of it.
pub(crate) const MAX_CONFIGURATION_FILE_BYTES: u64 = 256 * 1024;

/// How many characters of an unknown key a report repeats.
const MAX_ECHO_CHARS: usize = 60;

/// The mode bit that lets every user of the machine read a file.
const READABLE_BY_OTHERS: u32 = 0o004;

/// Where the configuration file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileAt {
    /// At its usual place, where it may be missing.
    Usual(PathBuf),
    /// Where an argument says.
    Named(PathBuf),
}

impl FileAt {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Usual(path) | Self::Named(path) => path,
        }
    }
}

/// A value of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileValue {
    /// The variable of its setting.
    pub(crate) variable: String,
    /// The file, its line and its key, for reports.
    pub(crate) place: String,
    /// The text for the setting's parser.
    pub(crate) text: String,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct FileContent {
    /// The values, in the order of their lines. Those with a problem are left out.
    pub(crate) values: Vec<FileValue>,
    /// Everything that is wrong.
    pub(crate) problems: Problems,
    /// A secret that every user of the machine can read, as a problem that is no error.
    pub(crate) exposed: Option<String>,
}

/// Reads the file; `None` when there is none at its usual place.
pub(crate) fn read(at: &FileAt, settings: &[SettingDescription]) -> Option<FileContent> {
    let path = at.path();
    let shown = path.display().to_string();
    let failed = |text: String| {
        let mut content = FileContent::default();
        content.problems.add(shown.clone(), text);
        Some(content)
    };
    match state_file::read_plain_text(path, MAX_CONFIGURATION_FILE_BYTES) {
        Ok(Some(text)) => {
            let mut content = parse(&shown, &text, settings);
            content.exposed = exposed(path, &shown, &content.values, settings);
            Some(content)
        }
        Ok(None) => failed(format!(
            "must have at most {MAX_CONFIGURATION_FILE_BYTES} bytes"
        )),
        Err(error)
            if matches!(at, FileAt::Usual(_))
                && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
        {
            None
        }
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            failed("must be a regular file".to_owned())
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            failed("must be UTF-8 text".to_owned())
        }
        Err(error) => failed(format!("cannot be read: {error}")),
    }
}

/// Warns of a secret that every user of the machine can read.
fn exposed(
    path: &Path,
    shown: &str,
    values: &[FileValue],
    settings: &[SettingDescription],
) -> Option<String> {
    let secret = values.iter().find_map(|value| {
        let row = settings.iter().find(|row| row.name == value.variable)?;
        row.key().filter(|_| row.is_secret())
    })?;
    let metadata = std::fs::metadata(path).ok()?;
    (metadata.mode() & READABLE_BY_OTHERS != 0)
        .then(|| format!("holds {secret}, and every user of this machine can read {shown}"))
}

/// Reads the text of the file that is shown as `shown`.
pub(crate) fn parse(shown: &str, text: &str, settings: &[SettingDescription]) -> FileContent {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut broken_lines = BTreeSet::new();
    // Each with its position, because the parser has an order of its own.
    let mut problems: Vec<((usize, usize), String, String)> = Vec::new();
    for error in &errors {
        let position = position(text, error.span().map_or(text.len(), |span| span.start));
        let (line, column) = position;
        broken_lines.insert(line);
        problems.push((
            position,
            format!("{shown}:{line}:{column}"),
            error.message().trim().replace('\n', ", "),
        ));
    }
    let mut values = Vec::new();
    for (key, value) in table.get_ref() {
        let at = position(text, key.span().start);
        if broken_lines.contains(&at.0) {
            continue;
        }
        match read_entry(key.get_ref(), value, settings) {
            Ok(None) => {}
            Ok(Some((row, text))) => values.push((
                at,
                FileValue {
                    variable: row.name.clone(),
                    place: format!("{shown}:{}: {}", at.0, key.get_ref()),
                    text,
                },
            )),
            Err(problem) => {
                let key = key.get_ref();
                let is_known = settings.iter().any(|row| row.key() == Some(key));
                let key = if is_known {
                    key.to_string()
                } else {
                    quoted(key, MAX_ECHO_CHARS).to_string()
                };
                problems.push((at, format!("{shown}:{}: {key}", at.0), problem));
            }
        }
    }
    problems.sort();
    values.sort_by_key(|(at, _)| *at);
    let mut content = FileContent {
        values: values.into_iter().map(|(_, value)| value).collect(),
        ..FileContent::default()
    };
    for (_, place, problem) in problems {
        content.problems.add(place, problem);
    }
    content
}

/// The setting of `key` and the text for its parser; `None` when the value counts as not set.
fn read_entry<'s>(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    settings: &'s [SettingDescription],
) -> Result<Option<(&'s SettingDescription, String)>, String> {
    let Some(row) = settings.iter().find(|row| row.key() == Some(key)) else {
        return Err(unknown(key, value.get_ref(), settings));
    };
    let text = text_of(value.get_ref(), row.kind)?;
    Ok((!text.trim().is_empty()).then_some((row, text)))
}

fn unknown(key: &str, value: &DeValue<'_>, settings: &[SettingDescription]) -> String {
    let only_variable = settings
        .iter()
        .find(|row| row.other_ways == OtherWays::None && row.name.eq_ignore_ascii_case(key));
    if let Some(row) = only_variable {
        return format!("works only as the variable {}", row.name);
    }
    let hint = match nearest_key(key, settings) {
        Some(similar) => format!("; did you mean {similar}?"),
        None if matches!(value, DeValue::Table(_)) => "; settings are in no table".to_owned(),
        None => String::new(),
    };
    format!("is no setting{hint}")
}

/// The text for the parser of a setting of `kind`.
fn text_of(value: &DeValue<'_>, kind: ValueKind) -> Result<String, String> {
    let text = match (value, kind) {
        (DeValue::String(text), _) => text.to_string(),
        (DeValue::Integer(number), ValueKind::Number) => {
            let digits = number.as_str();
            match i128::from_str_radix(digits, number.radix()) {
                Ok(number) => number.to_string(),
                Err(_) => digits.to_owned(),
            }
        }
        // No setting has a fraction; its own parser says what is right.
        (DeValue::Float(number), ValueKind::Number) => number.as_str().to_owned(),
        (DeValue::Boolean(is_on), ValueKind::Switch) => is_on.to_string(),
        (DeValue::Array(entries), ValueKind::List) => {
            let texts = entries.iter().map(|entry| match entry.get_ref() {
                DeValue::String(text) if text.contains(',') => {
                    Err("must have no comma within an entry".to_owned())
                }
                DeValue::String(text) => Ok(text.as_ref()),
                other => Err(format!(
                    "must be an array of strings, and one entry is {}",
                    type_of(other)
                )),
            });
            texts.collect::<Result<Vec<_>, _>>()?.join(",")
        }
        (other, kind) => {
            return Err(format!(
                "must be {}, not {}",
                kind.in_words(),
                type_of(other)
            ));
        }
    };
    if text.contains('\0') {
        return Err("must not contain a NUL character".to_owned());
    }
    Ok(text)
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The line and the column of a byte, both from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests;
