//! A directory of handoff files turned into appeared, changed and gone events.
//!
//! Whoever starts an engine writes `{pool_id}_{replica_id}.json` into the runtime directory. A
//! [`HandoffWatcher`] says what those files say, as [`Event`]s to a callback, on one thread of its
//! own and without an async runtime:
//!
//! * A file that is written, renamed or deleted is seen within milliseconds by inotify, and in any
//!   case by the next poll, which looks at every file but reads only those that changed.
//! * The directory may be missing, come later, go and come back.
//! * A half-written file keeps its last good state and is retried; only when [`POLLS_TO_REFUSE`]
//!   polls in a row find it unfinished is it [refused](Event::Refused).
//! * What is not a plain, small file of our own user or root is never read. What does not fit is
//!   refused once, with the field and the reason, and disturbs no other file.
//! * The first look at the directory [ends](Event::Scanned) with everything that was there told.
//! * Of two files that claim the same replica or the same engine the first one known stays; the
//!   other is refused, and taken up when the first goes.
//!
//! The parts: `core` decides, without I/O and clock; `read` and `scan` look at files; `arm` and
//! `inbox` turn inotify into hints; `watcher` is the thread that joins them. A hint is never acted
//! on but by looking at the file itself, so that a lost, late or doubled one does no harm.

mod arm;
mod core;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod inbox;
mod limits;
mod read;
mod scan;
#[cfg(test)]
mod tests;
mod watcher;

pub use core::POLLS_TO_REFUSE;
pub use event::{Event, Refusal};
pub use limits::LIMITS;
pub use read::MAX_FILE_BYTES;
pub use scan::Rule;
pub use watcher::{Config, DEFAULT_POLL_INTERVAL, HandoffWatcher};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
