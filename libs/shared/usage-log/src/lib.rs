//! Requests, tokens and the time on slots by key, model and day.
//!
//! [`UsageLog::record`] counts in memory, under a short lock; a [`UsageWriter`] appends what has
//! changed to a file of the day twice a second. The counts are a pure core (`totals`).

mod day;
mod limits;
mod log;
mod metrics;
mod totals;
mod writer;

pub use crate::{
    day::{Day, NotADay},
    limits::{LIMITS, MAX_MODELS_A_DAY},
    log::UsageLog,
    metrics::UsageMetrics,
    totals::{Usage, UsageCursor, UsagePage, UsageQuery, UsageRow},
    writer::{UsageWriter, write_files},
};

/// The README's examples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
