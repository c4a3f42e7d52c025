//! Settings from the environment: read once, checked together, all problems reported at once.
//!
//! A binary declares a plain struct of `Option<String>`s, which [`Environment::into_raw`] fills
//! through envy (field `demo_addr` is variable `DEMO_ADDR`). The parsers of [`Problems`] turn each
//! field into a type that cannot be invalid. A parser records a bad value and returns the default,
//! so that the other variables are checked too. [`Problems::finish`] returns all recorded problems.
//!
//! An empty or blank variable counts as unset. Values of secrets are never repeated.
//!
//! ```
//! use std::net::SocketAddr;
//! use service_runtime::env::{Environment, Problems};
//!
//! #[derive(Default, serde::Deserialize)]
//! struct Raw {
//!     demo_addr: Option<String>,
//!     demo_workers: Option<String>,
//! }
//!
//! let mut problems = Problems::default();
//! let raw: Raw = Environment::from_pairs([("DEMO_ADDR", "nonsense"), ("DEMO_WORKERS", "0")])
//!     .into_raw(&mut problems);
//! let default = SocketAddr::from(([127, 0, 0, 1], 1));
//! let addr = problems.socket_addr("DEMO_ADDR", raw.demo_addr, default);
//! let workers = problems.integer("DEMO_WORKERS", raw.demo_workers, 4, 1..=64);
//! # let _ = (addr, workers);
//! assert_eq!(
//!     problems.finish().unwrap_err().to_string(),
//!     "DEMO_ADDR: must be an IP address and a port such as 127.0.0.1:1, not \"nonsense\"\n\
//!      DEMO_WORKERS: must be a whole number from 1 to 64, not \"0\"",
//! );
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt,
    net::SocketAddr,
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use pool_registry_types::{millis, quoted};
use serde::de::DeserializeOwned;

/// The exit code of a binary with a bad setting: `EX_USAGE` of sysexits.h.
pub const EXIT_BAD_CONFIGURATION: u8 = 64;

/// How many characters of a bad value a report repeats.
const MAX_ECHO_CHARS: usize = 60;

/// The relevant variables, as they were at start-up.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
    not_unicode: Vec<String>,
}

impl Environment {
    /// Reads the variables of the process whose name begins with one of `prefixes`. A full name is
    /// a prefix too.
    #[must_use]
    pub fn from_process(prefixes: &[&str]) -> Self {
        let ours = std::env::vars_os().filter(|(name, _)| {
            name.to_str()
                .is_some_and(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        });
        Self::collect(ours)
    }

    /// The same from pairs, for tests.
    pub fn from_pairs<N: Into<OsString>, V: Into<OsString>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        Self::collect(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        )
    }

    fn collect(pairs: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in pairs {
            let Ok(name) = name.into_string() else {
                continue;
            };
            // envy ignores the case of names, and fails if one name occurs in two spellings.
            if name.bytes().any(|b| b.is_ascii_lowercase()) {
                continue;
            }
            match value.into_string() {
                Ok(value) if value.trim().is_empty() => {}
                Ok(value) => {
                    environment.values.insert(name, value);
                }
                Err(_) => environment.not_unicode.push(name),
            }
        }
        environment
    }

    /// Sets `name` to a value that is known already, whatever the settings say.
    ///
    /// # Errors
    /// The configured value, if it differs according to `same`.
    pub fn settle(
        &mut self,
        name: &str,
        value: String,
        same: impl FnOnce(&str) -> bool,
    ) -> Result<(), String> {
        match self.values.insert(name.to_owned(), value) {
            Some(before) if !same(before.trim()) => Err(before),
            _ => Ok(()),
        }
    }

    /// The value of a variable; `None` for one that is unset or blank.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Sets `name` unless it is set.
    pub fn default_to(&mut self, name: &str, value: impl Into<String>) {
        if !self.not_unicode.iter().any(|other| other == name) {
            let value = || value.into();
            self.values.entry(name.to_owned()).or_insert_with(value);
        }
    }

    /// Sets `name`, whatever it was.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.not_unicode.retain(|other| other != name);
        self.values.insert(name.to_owned(), value.into());
    }

    /// Whether a variable of this name is set, also one that is not Unicode.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.not_unicode.iter().any(|other| other == name)
    }

    /// The names of the variables whose values differ in `other`.
    #[must_use]
    pub fn changes(&self, other: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.values.keys().chain(other.values.keys()).collect();
        let differs = |name: &&String| self.values.get(*name) != other.values.get(*name);
        names.into_iter().filter(differs).cloned().collect()
    }

    /// Fills a struct of `Option<String>` fields, each named like its variable in lower case.
    ///
    /// A variable that is not Unicode is recorded in `problems` and left out.
    pub fn into_raw<T: DeserializeOwned + Default>(self, problems: &mut Problems) -> T {
        for name in &self.not_unicode {
            problems.add(name.clone(), "must be valid UTF-8 text");
        }
        self.raw_after("", problems)
    }

    /// Fills a part of the settings like [`into_raw`](Self::into_raw); the names of its fields
    /// follow `prefix`. `into_raw` reports variables that are not Unicode.
    pub fn raw_after<T: DeserializeOwned + Default>(
        &self,
        prefix: &str,
        problems: &mut Problems,
    ) -> T {
        let values = self.values.clone().into_iter();
        envy::prefixed(prefix)
            .from_iter(values)
            .unwrap_or_else(|error| {
                // Only a field that is not an `Option<String>` leads here.
                problems.add("the environment", format!("cannot be read: {error}"));
                T::default()
            })
    }
}

impl fmt::Debug for Environment {
    /// Shows names only: a value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// A variable and its problem.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    name: String,
    text: String,
}

/// All problems of the settings, one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct Problems(Vec<Problem>);

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|Problem { name, text }| format!("{name}: {text}"))
        .collect();
    lines.join("\n")
}

impl Problems {
    /// Records that variable `name` is wrong; `text` says what would be right. It must not hold a
    /// secret.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem {
            name: name.into(),
            text: text.into(),
        });
    }

    /// Shows each problem at the place that `place` gives for its variable, where it gives one.
    #[must_use]
    pub fn at(mut self, place: impl Fn(&str) -> Option<String>) -> Self {
        for problem in &mut self.0 {
            if let Some(place) = place(&problem.name) {
                problem.name = place;
            }
        }
        self
    }

    /// Adds the problems of `others` whose variables `is_wanted` lets through.
    pub fn extend(&mut self, others: Self, is_wanted: impl Fn(&str) -> bool) {
        let wanted = others.0.into_iter().filter(|other| is_wanted(&other.name));
        self.0.extend(wanted);
    }

    /// Whether a problem was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems, in the order in which they were recorded.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|problem| (problem.name.as_str(), problem.text.as_str()))
    }

    /// Ends the collection.
    ///
    /// # Errors
    /// The recorded problems, if there are any.
    pub fn finish(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Any type with `FromStr`, for example an id or a URL. The report contains its error, which
    /// should read like "must be …, not …".
    pub fn optional<T>(&mut self, name: &str, raw: Option<String>) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.optional_with(name, raw, |text| {
            text.parse().map_err(|error: T::Err| error.to_string())
        })
    }

    /// As [`optional`](Self::optional), with the default for an unset variable.
    pub fn parse<T>(&mut self, name: &str, raw: Option<String>, default: T) -> T
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.optional(name, raw).unwrap_or(default)
    }

    /// As [`optional`](Self::optional), for a required variable; `why` continues "NAME must be
    /// set".
    pub fn required<T>(&mut self, name: &str, raw: Option<String>, why: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        if raw.is_none() {
            self.add(name, format!("must be set {why}"));
        }
        self.optional(name, raw)
    }

    /// A secret: the error of `parse` must not repeat the text.
    pub fn secret<T, E: fmt::Display>(
        &mut self,
        name: &str,
        raw: Option<String>,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Option<T> {
        match parse(raw?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(name, error.to_string());
                None
            }
        }
    }

    /// A switch: `true`, `false`, `1` or `0`.
    pub fn flag(&mut self, name: &str, raw: Option<String>, default: bool) -> bool {
        self.optional_with(name, raw, |text| match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!(
                "must be true or false (or 1 or 0), not {}",
                quoted(text, MAX_ECHO_CHARS)
            )),
        })
        .unwrap_or(default)
    }

    /// An IP address and a port.
    pub fn socket_addr(
        &mut self,
        name: &str,
        raw: Option<String>,
        default: SocketAddr,
    ) -> SocketAddr {
        self.optional_socket_addr(name, raw, default)
            .unwrap_or(default)
    }

    /// As [`socket_addr`](Self::socket_addr), without a default; `example` is shown in the error.
    pub fn optional_socket_addr(
        &mut self,
        name: &str,
        raw: Option<String>,
        example: SocketAddr,
    ) -> Option<SocketAddr> {
        self.optional_with(name, raw, |text| {
            text.parse::<SocketAddr>().map_err(|_| {
                format!(
                    "must be an IP address and a port such as {example}, not {}",
                    quoted(text, MAX_ECHO_CHARS)
                )
            })
        })
    }

    /// A whole number within `range`.
    pub fn integer(
        &mut self,
        name: &str,
        raw: Option<String>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        self.optional_with(name, raw, |text| {
            text.parse::<u64>()
                .ok()
                .filter(|value| range.contains(value))
                .ok_or_else(|| {
                    let (low, high) = (range.start(), range.end());
                    format!(
                        "must be a whole number from {low} to {high}, not {}",
                        quoted(text, MAX_ECHO_CHARS)
                    )
                })
        })
        .unwrap_or(default)
    }

    /// A whole number of seconds within `range`.
    pub fn seconds(
        &mut self,
        name: &str,
        raw: Option<String>,
        default: Duration,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_secs(self.integer(name, raw, default.as_secs(), range))
    }

    /// A whole number of milliseconds within `range`.
    pub fn millis(
        &mut self,
        name: &str,
        raw: Option<String>,
        default: Duration,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_millis(self.integer(name, raw, millis(default), range))
    }

    /// Values separated by commas, blanks around them ignored; each bad one is recorded. `None` if
    /// the variable is unset.
    pub fn list<T>(&mut self, name: &str, raw: Option<String>) -> Option<Vec<T>>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let raw = raw?;
        let mut values = Vec::new();
        for entry in raw.split(',').map(str::trim) {
            if entry.is_empty() {
                self.add(
                    name,
                    "must be values separated by commas, without empty ones",
                );
                continue;
            }
            match entry.parse::<T>() {
                Ok(value) => values.push(value),
                Err(error) => self.add(name, error.to_string()),
            }
        }
        Some(values)
    }

    fn optional_with<T>(
        &mut self,
        name: &str,
        raw: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(raw?.trim()) {
            Ok(value) => Some(value),
            Err(text) => {
                self.add(name, text);
                None
            }
        }
    }
}
