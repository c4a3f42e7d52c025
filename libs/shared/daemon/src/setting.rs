//! One setting: its variable, its parser, its default, and its texts, in one row.

use std::{
    fmt::{self, Display},
    net::SocketAddr,
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use service_runtime::env::Problems;

use crate::secrets::SECRET_VARIABLES;

/// The prefix of the variables that both daemons and the command line share.
const COMMON_PREFIX: &str = "LLORCH_";

/// Turns the text of a variable into a value. A bad text is noted, and the default is returned.
type Parse<T> = fn(&Setting<T>, &str, Option<String>, &mut Problems) -> T;

/// What a configuration file may hold for a setting, beside a string for its parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Nothing else.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Switch,
    /// An array of strings.
    List,
}

impl ValueKind {
    /// It continues "must be ".
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Switch => "true or false, or a string",
            Self::List => "an array of strings",
        }
    }
}

/// A setting. `--help`, the documents and the program all use this one row.
///
/// ```
/// use daemon::Setting;
/// use std::time::Duration;
///
/// static PAUSE: Setting<Duration> =
///     Setting::millis("DEMO_PAUSE_MS", || Duration::from_secs(1), 1..=60_000)
///         .help("pause between two rounds");
/// ```
pub struct Setting<T> {
    name: &'static str,
    is_full_name: bool,
    default: fn() -> T,
    range: (u64, u64),
    parse: Parse<T>,
    show: fn(&T) -> String,
    kind: ValueKind,
    /// Another library reads the variable itself.
    is_only_variable: bool,
    /// Words for the default, where it is no fixed value.
    unset: Option<&'static str>,
    help: &'static str,
    document: &'static str,
}

impl<T> fmt::Debug for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Setting").field(&self.name).finish()
    }
}

impl<T> Clone for Setting<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Setting<T> {}

impl<T> Setting<T> {
    const fn new(
        name: &'static str,
        default: fn() -> T,
        parse: Parse<T>,
        show: fn(&T) -> String,
    ) -> Self {
        Self {
            name,
            is_full_name: true,
            default,
            range: (0, u64::MAX),
            parse,
            show,
            kind: ValueKind::Text,
            is_only_variable: false,
            unset: None,
            help: "",
            document: "",
        }
    }

    const fn within(mut self, range: &RangeInclusive<u64>) -> Self {
        self.range = (*range.start(), *range.end());
        self.kind = ValueKind::Number;
        self
    }

    /// What a configuration file may hold for it.
    pub(crate) const fn of_kind(mut self, kind: ValueKind) -> Self {
        self.kind = kind;
        self
    }

    /// Another library reads the variable itself, so that nothing else can set it.
    pub(crate) const fn only_variable(mut self) -> Self {
        self.is_only_variable = true;
        self
    }

    /// The prefix of each daemon stands before the name.
    pub(crate) const fn after_prefix(mut self) -> Self {
        self.is_full_name = false;
        self
    }

    /// Describes the default in words, where it is no fixed value.
    #[must_use]
    pub const fn unset_means(mut self, words: &'static str) -> Self {
        self.unset = Some(words);
        self
    }

    /// Its meaning in a few words, for `--help`.
    #[must_use]
    pub const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// Its meaning in Markdown, for documents. Without it they repeat the help.
    #[must_use]
    pub const fn document(mut self, document: &'static str) -> Self {
        self.document = document;
        self
    }

    /// The value that holds when the variable is not set.
    #[must_use]
    pub fn default_value(&self) -> T {
        (self.default)()
    }

    /// The full name of its variable, for a program whose own variables begin with `prefix`.
    #[must_use]
    pub fn variable(&self, prefix: &str) -> String {
        if self.is_full_name {
            self.name.to_owned()
        } else {
            format!("{prefix}{}", self.name)
        }
    }

    pub(crate) fn parse(&self, name: &str, text: Option<String>, problems: &mut Problems) -> T {
        (self.parse)(self, name, text, problems)
    }

    fn range(&self) -> RangeInclusive<u64> {
        self.range.0..=self.range.1
    }
}

impl Setting<Duration> {
    /// A whole number of milliseconds within `range`.
    pub const fn millis(
        name: &'static str,
        default: fn() -> Duration,
        range: RangeInclusive<u64>,
    ) -> Self {
        Self::new(
            name,
            default,
            |setting, name, text, problems| {
                problems.millis(name, text, setting.default_value(), setting.range())
            },
            |value| value.as_millis().to_string(),
        )
        .within(&range)
    }

    /// A whole number of seconds within `range`.
    pub const fn seconds(
        name: &'static str,
        default: fn() -> Duration,
        range: RangeInclusive<u64>,
    ) -> Self {
        Self::new(
            name,
            default,
            |setting, name, text, problems| {
                problems.seconds(name, text, setting.default_value(), setting.range())
            },
            |value| value.as_secs().to_string(),
        )
        .within(&range)
    }
}

impl Setting<usize> {
    /// A whole number within `range`.
    pub const fn integer(
        name: &'static str,
        default: fn() -> usize,
        range: RangeInclusive<u64>,
    ) -> Self {
        Self::new(
            name,
            default,
            |setting, name, text, problems| {
                let default = u64::try_from(setting.default_value()).unwrap_or(u64::MAX);
                let number = problems.integer(name, text, default, setting.range());
                usize::try_from(number).unwrap_or(usize::MAX)
            },
            ToString::to_string,
        )
        .within(&range)
    }
}

impl Setting<NonZeroUsize> {
    /// A number of threads, up to `max`.
    pub(crate) const fn threads(
        name: &'static str,
        default: fn() -> NonZeroUsize,
        max: u64,
    ) -> Self {
        Self::new(
            name,
            default,
            |setting, name, text, problems| {
                let default = setting.default_value();
                let shown = u64::try_from(default.get()).unwrap_or(u64::MAX);
                let number = problems.integer(name, text, shown, setting.range());
                let number = usize::try_from(number).ok().and_then(NonZeroUsize::new);
                number.unwrap_or(default)
            },
            ToString::to_string,
        )
        .within(&(1..=max))
    }
}

impl Setting<bool> {
    /// `true` or `false`.
    pub const fn flag(name: &'static str, default: fn() -> bool) -> Self {
        Self::new(
            name,
            default,
            |setting, name, text, problems| problems.flag(name, text, setting.default_value()),
            ToString::to_string,
        )
        .of_kind(ValueKind::Switch)
    }
}

impl Setting<SocketAddr> {
    /// The address that a daemon listens on.
    pub const fn listen_address(name: &'static str, default: fn() -> SocketAddr) -> Self {
        Self::new(
            name,
            default,
            |setting, name, text, problems| {
                problems.socket_addr(name, text, setting.default_value())
            },
            ToString::to_string,
        )
        .help("listen address")
        .document(
            "listen address; leave it unset under socket activation, where the socket unit decides",
        )
    }
}

impl Setting<PathBuf> {
    /// A path.
    pub const fn path(name: &'static str, default: fn() -> PathBuf) -> Self {
        Self::new(
            name,
            default,
            |setting, _, text, _| text.map_or_else(setting.default, PathBuf::from),
            |path| path.display().to_string(),
        )
    }
}

impl Setting<Option<PathBuf>> {
    /// A path, or nothing.
    pub const fn optional_path(name: &'static str) -> Self {
        Self::new(
            name,
            || None,
            |_, _, text, _| text.map(PathBuf::from),
            |_| String::new(),
        )
        .unset_means("none")
    }
}

impl<T: FromStr<Err: Display> + Display> Setting<T> {
    /// A value that parses itself. Its error should read like "must be …, not …".
    pub const fn value(name: &'static str, default: fn() -> T) -> Self {
        Self::new(
            name,
            default,
            |setting, name, text, problems| problems.parse(name, text, setting.default_value()),
            ToString::to_string,
        )
    }
}

impl<T: FromStr<Err: Display>> Setting<Option<T>> {
    /// A value that parses itself, or nothing.
    pub const fn optional(name: &'static str) -> Self {
        Self::new(
            name,
            || None,
            |_, name, text, problems| problems.optional(name, text),
            |_| String::new(),
        )
        .unset_means("none")
    }
}

impl<T: FromStr<Err: Display>> Setting<Option<Vec<T>>> {
    /// Values separated by commas.
    pub const fn list(name: &'static str) -> Self {
        Self::new(
            name,
            || None,
            |_, name, text, problems| problems.list(name, text),
            |_| String::new(),
        )
        .of_kind(ValueKind::List)
        .unset_means("none")
    }
}

impl<T> Setting<Option<T>> {
    /// A value with a parser of its own, which notes what is wrong.
    pub(crate) const fn parsed_by(name: &'static str, parse: Parse<Option<T>>) -> Self {
        Self::new(name, || None, parse, |_| String::new()).unset_means("none")
    }
}

/// A setting of any type, as `--help` and documents describe it.
pub trait DescribeSetting: fmt::Debug + Sync {
    /// Its full name and texts, for a daemon whose variables begin with `prefix`.
    fn describe(&self, prefix: &str) -> SettingDescription;
}

/// What people and programs read about a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingDescription {
    /// The variable.
    pub name: String,
    /// What holds when it is not set.
    pub unset: Unset,
    /// Its meaning in a few words.
    pub help: &'static str,
    /// Its meaning in Markdown; empty where the help says all.
    pub document: &'static str,
    /// What a configuration file may hold for it, beside a string.
    pub kind: ValueKind,
    /// The way to set it beside its variable.
    pub other_ways: OtherWays,
}

/// The ways to set a setting beside its variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherWays {
    /// A key of the configuration file, and a flag with the same words.
    FileAndFlag(String),
    /// A key of the configuration file. It is a secret, and other users can see flags.
    File(String),
    /// None: another library reads the variable.
    None,
}

impl OtherWays {
    /// The ways of the variable `name` of a daemon whose variables begin with `prefix`. The key is
    /// the name without that, in lower case.
    fn of(name: &str, prefix: &str, is_only_variable: bool) -> Self {
        if is_only_variable {
            return Self::None;
        }
        let own = name.strip_prefix(prefix);
        let common = || name.strip_prefix(COMMON_PREFIX);
        let key = own.or_else(common).unwrap_or(name).to_ascii_lowercase();
        if SECRET_VARIABLES.contains(&name) {
            Self::File(key)
        } else {
            Self::FileAndFlag(key)
        }
    }
}

impl SettingDescription {
    /// Its key in the configuration file.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match &self.other_ways {
            OtherWays::FileAndFlag(key) | OtherWays::File(key) => Some(key),
            OtherWays::None => None,
        }
    }

    /// Its flag, with the two dashes.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        match &self.other_ways {
            OtherWays::FileAndFlag(key) => Some(flag_of(key)),
            OtherWays::File(_) | OtherWays::None => None,
        }
    }

    /// Whether its value must not be shown.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        SECRET_VARIABLES.contains(&self.name.as_str())
    }
}

/// The flag with the words of a key.
pub(crate) fn flag_of(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// What holds when a variable is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unset {
    /// A value.
    Value(String),
    /// A description in words.
    Words(&'static str),
}

impl<T> DescribeSetting for Setting<T> {
    fn describe(&self, prefix: &str) -> SettingDescription {
        let name = self.variable(prefix);
        SettingDescription {
            kind: self.kind,
            other_ways: OtherWays::of(&name, prefix, self.is_only_variable),
            name,
            unset: match self.unset {
                Some(words) => Unset::Words(words),
                None => Unset::Value((self.show)(&self.default_value())),
            },
            help: self.help,
            document: self.document,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CONF-7
    #[test]
    fn the_described_default_is_the_one_that_is_read() {
        static PAUSE: Setting<Duration> =
            Setting::seconds("DEMO_PAUSE_SECS", || Duration::from_secs(7), 1..=9).help("pause");
        let described = PAUSE.describe("DEMO_");
        assert_eq!(described.unset, Unset::Value("7".to_owned()));
        let mut problems = Problems::default();
        let read = PAUSE.parse("DEMO_PAUSE_SECS", None, &mut problems);
        assert_eq!((read, problems.is_empty()), (Duration::from_secs(7), true));
        PAUSE.parse("DEMO_PAUSE_SECS", Some("10".to_owned()), &mut problems);
        assert_eq!(
            problems.finish().unwrap_err().to_string(),
            "DEMO_PAUSE_SECS: must be a whole number from 1 to 9, not \"10\""
        );
    }
}
