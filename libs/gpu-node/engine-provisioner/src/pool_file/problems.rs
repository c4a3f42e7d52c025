//! Problems of a pool file, with their lines.

use std::{fmt, io, path::PathBuf};

use pool_registry_types::one_line;
use thiserror::Error;

/// The longest text of a problem. It may repeat a name of the file.
const PROBLEM_BYTES: usize = 1024;

/// One problem of a pool file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFileProblem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// All problems of a pool file, in order of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFileProblems {
    /// Where each line begins, in bytes.
    line_starts: Vec<usize>,
    found: Vec<PoolFileProblem>,
}

impl PoolFileProblems {
    pub(super) fn new(text: &str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            line_starts: std::iter::once(0).chain(after_breaks).collect(),
            found: Vec::new(),
        }
    }

    /// The line, from 1, of the byte at `offset`.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset)
    }

    pub(super) fn add(&mut self, offset: usize, what: impl Into<String>) {
        let line = self.line(offset);
        let after = self.found.partition_point(|problem| problem.line <= line);
        let what = one_line(&what.into(), PROBLEM_BYTES);
        self.found.insert(after, PoolFileProblem { line, what });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems, in order of lines.
    pub fn iter(&self) -> impl Iterator<Item = &PoolFileProblem> {
        self.found.iter()
    }
}

impl fmt::Display for PoolFileProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, PoolFileProblem { line, what }) in self.found.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}  line {line}: {what}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PoolFileProblems {}

/// A pool file that cannot be used.
#[derive(Debug, Error)]
pub enum PoolFileError {
    /// It cannot be read.
    #[error("cannot read the pool file {}", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is too large.
    #[error("{} is too large for a pool file", .0.display())]
    TooLarge(PathBuf),
    /// Its content has problems. All of them are shown.
    #[error("the pool file {} is wrong:\n{}", .0.display(), .1)]
    Wrong(PathBuf, PoolFileProblems),
}
