//! One table of the pool file, read key by key. Keys that were not read are unknown.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::RangeInclusive,
    str::FromStr,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::problems::PoolFileProblems;

/// A table and the keys that were read.
pub(super) struct Fields<'a, 'i> {
    table: &'a DeTable<'i>,
    /// Where the table begins.
    at: usize,
    read: BTreeSet<&'static str>,
    problems: &'a mut PoolFileProblems,
}

impl<'a, 'i> Fields<'a, 'i> {
    pub(super) fn new(
        table: &'a DeTable<'i>,
        at: usize,
        problems: &'a mut PoolFileProblems,
    ) -> Self {
        Self {
            table,
            at,
            read: BTreeSet::new(),
            problems,
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.read.insert(key);
        self.table.get(key)
    }

    /// Whether the key exists. Does not count as reading it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Adds a problem at `key`, or at the table when the key is missing.
    pub(super) fn problem(&mut self, key: &str, what: impl Into<String>) {
        let at = self
            .table
            .get(key)
            .map_or(self.at, |value| value.span().start);
        self.problems.add(at, what);
    }

    /// Adds a problem when `key` is missing.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        value: Option<T>,
        why: &str,
    ) -> Option<T> {
        // A wrong value has been reported already.
        if value.is_none() && !self.has(key) {
            self.problem(key, format!("`{key}` is missing: {why}"));
        }
        value
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        let text = value.get_ref().as_str();
        match text {
            Some(text) if !text.contains('\0') => Some(text.to_owned()),
            _ => self.type_error(key, "must be a string in quotes", value),
        }
    }

    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let text = self.string(key)?;
        text.parse()
            .map_err(|error| self.problem(key, format!("`{key}`: {error}")))
            .ok()
    }

    /// One of several values.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<String> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            self.problem(key, format!("`{key}` must be one of {}", known.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    pub(super) fn number(&mut self, key: &'static str, range: &RangeInclusive<u32>) -> Option<u32> {
        let value = self.value(key)?;
        let number = value.get_ref().as_integer().and_then(|integer| {
            let digits = integer.as_str().replace('_', "");
            u32::from_str_radix(&digits, integer.radix()).ok()
        });
        match number {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let what = format!("must be a number from {} to {}", range.start(), range.end());
                self.type_error(key, &what, value)
            }
        }
    }

    pub(super) fn strings(&mut self, key: &'static str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        let texts = value.get_ref().as_array().and_then(|array| {
            let texts = array.iter().map(|entry| entry.get_ref().as_str());
            texts
                .map(|text| text.filter(|text| !text.contains('\0')).map(str::to_owned))
                .collect()
        });
        texts.or_else(|| self.type_error(key, "must be a list of strings: [\"a\", \"b\"]", value))
    }

    /// A table of strings.
    pub(super) fn map(&mut self, key: &'static str) -> Option<BTreeMap<String, String>> {
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            return self.type_error(
                key,
                "must be a table of strings: { NAME = \"value\" }",
                value,
            );
        };
        let mut map = BTreeMap::new();
        for (name, value) in table.iter() {
            let usable = !name.get_ref().is_empty() && !name.get_ref().contains(['=', '\0']);
            match value.get_ref().as_str() {
                Some(text) if usable && !text.contains('\0') => {
                    map.insert(name.get_ref().to_string(), text.to_owned());
                }
                // Do not repeat the value: it may be a secret.
                _ => self.problems.add(
                    name.span().start,
                    format!("`{key}`: {:?} must be a name with a string", name.get_ref()),
                ),
            }
        }
        Some(map)
    }

    fn type_error<T>(&mut self, key: &str, what: &str, value: &Spanned<DeValue<'_>>) -> Option<T> {
        let found = match value.get_ref() {
            DeValue::Integer(integer) => integer.as_str(),
            other => other.type_str(),
        };
        self.problems
            .add(value.span().start, format!("`{key}` {what}, not {found}"));
        None
    }

    /// Adds a problem for every unknown key.
    pub(super) fn finish(self) {
        for (key, _) in self.table.iter() {
            if !self.read.contains(key.get_ref().as_ref()) {
                let known: Vec<&str> = self.read.iter().copied().collect();
                self.problems.add(
                    key.span().start,
                    format!(
                        "unknown key `{}`; there are {}",
                        key.get_ref(),
                        known.join(", ")
                    ),
                );
            }
        }
    }
}
