//! Keys in a file that other tools write.
//!
//! [`parse`] reads the text strictly and reports the first problem with its line. [`KeyFile`] reads
//! the file and follows its changes: a broken file keeps the last good keys.

mod key_limits;
mod limits;
mod parse;
mod watch;

pub use crate::{
    limits::{LIMITS, MAX_KEYS_FILE_BYTES},
    parse::{KeyFileProblem, parse},
    watch::{KeyFile, KeyFileError},
};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
