//! What is wrong with a pool file, and where.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

/// One thing that is wrong with a pool file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

/// Everything that is wrong with a pool file, in order of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// Where each line begins, in bytes.
    line_starts: Vec<usize>,
    found: Vec<Problem>,
}

impl Problems {
    pub(super) fn of(text: &str) -> Self {
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
        let what = what.into();
        self.found.insert(after, Problem { line, what });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems, in order of the lines.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, what }) in self.found.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}  line {line}: {what}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A pool file that cannot be used.
#[derive(Debug, Error)]
pub enum PoolFileError {
    /// It cannot be read.
    #[error("cannot read the pool file {}", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is too large to be one.
    #[error("{} is too large for a pool file", .0.display())]
    TooLarge(PathBuf),
    /// It says something that makes no sense. Shown in full: nobody should have to try twice.
    #[error("the pool file {} is wrong:\n{}", .0.display(), .1)]
    Wrong(PathBuf, Problems),
}
