//! Server-sent events (HTML standard, section 9.2.6), read from a stream that is cut anywhere.
//!
//! * [`Parser`] returns the events of a stream one by one.
//! * [`EventSplitter`] passes a stream on at the ends of events, without copying.
//! * [`EventCounter`] counts events without storing them.
//! * [`fields`] and [`split_last_event`] look at complete events.
//!
//! However a stream is cut into reads, the events are the same.

mod counter;
mod error;
mod field;
mod parser;
mod splitter;

pub use counter::EventCounter;
pub use error::EventTooLong;
pub use field::{Field, fields, without_bom};
pub use parser::{Event, Parser};
pub use splitter::{EventSplitter, split_last_event};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
