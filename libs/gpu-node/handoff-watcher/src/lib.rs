//! Watches a directory of handoff files and reports appeared, changed and gone handoffs.
//!
//! The starter of an engine writes `{pool_id}_{replica_id}.json` into the runtime directory. A
//! [`HandoffWatcher`] reports the contents of those files as [`HandoffEvent`]s to a callback, on a
//! thread of its own and without an async runtime:
//!
//! * inotify reports a written, renamed or deleted file within milliseconds. Polls find what
//!   inotify missed: they look at every file, but read only those that changed.
//! * The directory may be missing, appear later, be removed and come back.
//! * A half-written file keeps its last valid handoff and is read again. It is
//!   [refused](HandoffEvent::Refused) after [`POLLS_TO_REFUSE`] incomplete polls in a row.
//! * Only plain, small files of this user or of root are read. An invalid file is refused once,
//!   with the field and the reason, and does not affect other files.
//! * The first scan [ends](HandoffEvent::Scanned) after every existing file has been reported.
//! * Of two files that claim the same replica or URL, the first one counts. The other is refused,
//!   and accepted when the first is gone.
//!
//! `index` decides, without I/O and clock. `read` and `scan` read files; `directory_watch` and
//! `hint_queue` turn inotify events into hints; `watcher` is the thread. A hint only causes a file
//! to be read, so lost, late or duplicate events do no harm.

mod directory_watch;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hint_queue;
mod index;
mod limits;
mod read;
mod scan;
#[cfg(test)]
mod tests;
mod watcher;

pub use event::{HandoffEvent, Refusal};
pub use index::POLLS_TO_REFUSE;
pub use limits::{LIMITS, MAX_FILE_BYTES};
pub use watcher::{DEFAULT_POLL_INTERVAL, HandoffWatcher, HandoffWatcherBuilder};

/// Compiles the examples of the README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
