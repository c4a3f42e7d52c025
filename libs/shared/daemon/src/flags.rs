//! The arguments of a daemon: what to do, the configuration file, and a flag for each setting.

use std::{collections::BTreeSet, path::PathBuf, slice::Iter};

use pool_registry_types::quoted;
use service_runtime::env::Problems;

use crate::{
    setting::{OtherWays, SettingDescription, ValueKind, flag_of},
    similar::nearest_key,
};

/// The flag that names the configuration file.
pub(crate) const CONFIG_FLAG: &str = "--config";

/// How many characters of an unknown argument a report repeats.
const MAX_ECHO_CHARS: usize = 60;

/// What the arguments ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Run,
    Help,
    Settings,
    Limits,
    OpenApi,
    Version,
    Check { as_json: bool },
}

/// A setting that a flag sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlagValue {
    /// Its variable.
    pub(crate) variable: String,
    /// The flag, for reports.
    pub(crate) flag: String,
    /// The text for the setting's parser.
    pub(crate) text: String,
}

/// The arguments, read.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) mode: Mode,
    /// The file that `--config` names.
    pub(crate) config: Option<PathBuf>,
    pub(crate) flags: Vec<FlagValue>,
    /// Everything that is wrong.
    pub(crate) problems: Problems,
}

/// Reads `arguments`, without the name of the program. The value of a flag of a secret, or of an
/// unknown flag, is not repeated.
pub(crate) fn parse(arguments: &[String], settings: &[SettingDescription]) -> Arguments {
    let (mode, rest) = match arguments {
        [first, rest @ ..] => match first.as_str() {
            "--help" | "-h" => (Mode::Help, &[][..]),
            "--settings" => (Mode::Settings, &[][..]),
            "--limits" => (Mode::Limits, &[][..]),
            "--openapi" => (Mode::OpenApi, &[][..]),
            "--version" | "-V" => (Mode::Version, &[][..]),
            "check" => (Mode::Check { as_json: false }, rest),
            _ => (Mode::Run, arguments),
        },
        [] => (Mode::Run, arguments),
    };
    let mut read = Arguments {
        mode,
        config: None,
        flags: Vec::new(),
        problems: Problems::default(),
    };
    let mut given = BTreeSet::new();
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        if !name.starts_with("--") {
            let shown = quoted(argument, MAX_ECHO_CHARS).to_string();
            read.problems
                .add(shown, "is an unknown argument; see --help");
            continue;
        }
        if name == "--json"
            && value.is_none()
            && let Mode::Check { as_json } = &mut read.mode
        {
            *as_json = true;
            continue;
        }
        if name == "--help" && value.is_none() {
            read.mode = Mode::Help;
            return read;
        }
        let row = settings
            .iter()
            .find(|row| row.flag().is_some_and(|flag| flag == name));
        let is_switch = row.is_some_and(|row| row.kind == ValueKind::Switch);
        let value = value.or_else(|| next_value(&mut rest));
        let text = match (value, is_switch) {
            (None, true) => Some("true".to_owned()),
            (value, _) => value.filter(|text| !text.trim().is_empty()),
        };
        if row.is_none() && name != CONFIG_FLAG {
            let shown = if name.len() > MAX_ECHO_CHARS || name.chars().any(char::is_control) {
                quoted(name, MAX_ECHO_CHARS).to_string()
            } else {
                name.to_owned()
            };
            read.problems.add(shown, unknown(name, settings));
            continue;
        }
        if !given.insert(name) {
            read.problems.add(name, "must be given only once");
            continue;
        }
        let Some(text) = text else {
            read.problems.add(name, "must have a value");
            continue;
        };
        match row {
            Some(row) => read.flags.push(FlagValue {
                variable: row.name.clone(),
                flag: name.to_owned(),
                text,
            }),
            None => read.config = Some(text.into()),
        }
    }
    read
}

/// The next argument, if it is no flag.
fn next_value(rest: &mut Iter<'_, String>) -> Option<String> {
    let next = rest.as_slice().first()?;
    if next.starts_with("--") {
        return None;
    }
    rest.next().cloned()
}

fn unknown(name: &str, settings: &[SettingDescription]) -> String {
    let key = name.trim_start_matches('-').replace('-', "_");
    let of_key =
        |row: &&SettingDescription| row.key() == Some(&key) || row.name.eq_ignore_ascii_case(&key);
    match settings
        .iter()
        .find(of_key)
        .map(|row| (row, &row.other_ways))
    {
        Some((row, OtherWays::File(key))) => format!(
            "is no flag, because every user of this machine can see arguments: set {}, or {key} in \
             the configuration file",
            row.name
        ),
        Some((row, OtherWays::None)) => format!("works only as the variable {}", row.name),
        _ => match nearest_key(&key, settings) {
            Some(similar) => format!(
                "is an unknown argument; did you mean {}? see --help",
                flag_of(similar)
            ),
            None => "is an unknown argument; see --help".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests;
