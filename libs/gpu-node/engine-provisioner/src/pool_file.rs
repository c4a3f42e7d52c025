//! The pool file: TOML in which every problem is reported with its line.

mod fields;
pub(crate) mod pool;
mod problems;

use std::{collections::BTreeMap, path::Path};

use pool_registry_types::MAX_POOLS;
use toml::de::{DeTable, DeValue};

pub use problems::{PoolFileError, PoolFileProblem, PoolFileProblems};

use crate::spec::PoolSpec;

/// The largest pool file in bytes: thousands of times what a node needs.
pub(crate) const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The content of a pool file. Pool ids and fixed ports are unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolFile {
    /// Its pools, in order.
    pub pools: Vec<PoolSpec>,
}

impl PoolFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or is not a pool file.
    pub fn read(path: &Path) -> Result<Self, PoolFileError> {
        let unreadable = |error| PoolFileError::Unreadable(path.to_owned(), error);
        let text = state_file::read_plain_text(path, MAX_FILE_BYTES).map_err(unreadable)?;
        let text = text.ok_or_else(|| PoolFileError::TooLarge(path.to_owned()))?;
        Self::parse(&text).map_err(|problems| PoolFileError::Wrong(path.to_owned(), problems))
    }

    /// Reads a pool file's text.
    ///
    /// # Errors
    /// All problems with it.
    pub fn parse(text: &str) -> Result<Self, PoolFileProblems> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut problems = PoolFileProblems::new(text);
        for error in errors {
            problems.add(
                error.span().map_or(0, |span| span.start),
                error.message().trim(),
            );
        }
        if !problems.is_empty() {
            // With broken lines, further problems would be guesses.
            return Err(problems);
        }
        let pools = read_pools(table.get_ref(), &mut problems);
        if problems.is_empty() {
            Ok(Self { pools })
        } else {
            Err(problems)
        }
    }
}

fn read_pools(file: &DeTable<'_>, problems: &mut PoolFileProblems) -> Vec<PoolSpec> {
    for (key, _) in file.iter().filter(|(key, _)| key.get_ref() != "pool") {
        problems.add(
            key.span().start,
            format!(
                "unknown key `{}`: a pool file holds [[pool]] tables",
                key.get_ref()
            ),
        );
    }
    let Some(value) = file.get("pool") else {
        problems.add(0, "no [[pool]] in it");
        return Vec::new();
    };
    let Some(entries) = value.get_ref().as_array() else {
        problems.add(value.span().start, "`pool` must be tables: write [[pool]]");
        return Vec::new();
    };
    if entries.len() > MAX_POOLS {
        problems.add(value.span().start, format!("more than {MAX_POOLS} pools"));
        return Vec::new();
    }
    let mut unique = UniqueValues::default();
    let mut pools = Vec::new();
    for entry in entries.iter() {
        let DeValue::Table(table) = entry.get_ref() else {
            problems.add(entry.span().start, "`pool` must be tables: write [[pool]]");
            continue;
        };
        if let Some(pool) = pool::read(table, entry.span().start, problems) {
            unique.check(&pool, entry.span().start, problems);
            pools.push(pool);
        }
    }
    pools
}

/// Ids and fixed ports that are in use.
#[derive(Default)]
struct UniqueValues {
    ids: BTreeMap<String, usize>,
    ports: BTreeMap<u16, String>,
}

impl UniqueValues {
    fn check(&mut self, pool: &PoolSpec, at: usize, problems: &mut PoolFileProblems) {
        let id = pool.pool_id.to_string();
        if let Some(first) = self.ids.insert(id.clone(), at) {
            let line = problems.line(first);
            problems.add(at, format!("{id}: the pool of line {line} has the same id"));
        }
        if let Some(port) = pool.port
            && let Some(other) = self.ports.insert(port, id.clone())
        {
            problems.add(
                at,
                format!("{id}: port {port} is also that of pool {other}"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
