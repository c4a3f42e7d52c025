//! The log lines of a test.
//!
//! A [`Log`] keeps the lines that one thread logs. A test on a runtime of one thread sees
//! everything that it does; lines of other threads are not its own, so tests beside one another do
//! not meet.

use std::{
    io,
    sync::{Arc, LazyLock},
};

use parking_lot::Mutex;
use serde_json::Value;
use tracing::{
    Dispatch, Level, Subscriber,
    subscriber::{DefaultGuard, set_default, with_default},
};
use tracing_subscriber::fmt::format::FmtSpan;

/// A second subscriber, of no thread. While there is only one, `tracing` asks none but that of the
/// thread which reaches an event first. A thread without one then silences the event for every
/// thread, for ever. Tests of one process are such threads.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

/// Lines that were logged. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Captures the log of this thread until the guard is dropped, as text without time and colour.
    #[must_use]
    pub fn of_this_thread(level: Level) -> (Self, DefaultGuard) {
        let log = Self::new();
        let guard = set_default(log.subscriber(level));
        (log, guard)
    }

    /// The same in lines of JSON, for [`json_lines`](Self::json_lines). Spans have lines as well
    /// when they begin.
    #[must_use]
    pub fn json_of_this_thread(level: Level) -> (Self, DefaultGuard) {
        let log = Self::new();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_span_events(FmtSpan::NEW)
            .with_max_level(level)
            .with_writer(move || Writer(writer.clone()))
            .finish();
        (log, set_default(subscriber))
    }

    /// The lines that `work` logs at `INFO` and above, as text.
    pub fn of(work: impl FnOnce()) -> String {
        let log = Self::new();
        with_default(log.subscriber(Level::INFO), work);
        log.text()
    }

    fn new() -> Self {
        LazyLock::force(&SECOND);
        Self::default()
    }

    fn subscriber(&self, level: Level) -> impl Subscriber + Send + Sync + 'static {
        let writer = self.clone();
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(move || Writer(writer.clone()))
            .finish()
    }

    /// All lines so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }

    /// The lines since the last call.
    pub fn take(&self) -> String {
        let taken = std::mem::take(&mut *self.0.lock());
        String::from_utf8_lossy(&taken).into_owned()
    }

    /// How often `part` is in it.
    #[must_use]
    pub fn count(&self, part: &str) -> usize {
        self.text().matches(part).count()
    }

    /// The lines whose target begins with one of `targets`.
    ///
    /// # Panics
    /// When a line is no JSON, or says no target.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a test that meets what it does not expect has failed"
    )]
    pub fn json_lines(&self, targets: &[&str]) -> Vec<Value> {
        let text = self.text();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        let is_wanted = |line: &Value| {
            let target = line["target"].as_str().expect("a target");
            targets.iter().any(|wanted| target.starts_with(wanted))
        };
        lines.filter(is_wanted).collect()
    }
}

/// Where the lines go.
struct Writer(Log);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The Rust of the README is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_this_thread_at_this_level_are_kept() {
        let (log, guard) = Log::of_this_thread(Level::INFO);
        tracing::info!("one");
        tracing::debug!("too quiet");
        std::thread::spawn(|| tracing::info!("of another thread"))
            .join()
            .unwrap();
        assert_eq!(log.count("INFO"), 1);
        assert!(log.take().ends_with(" captured_log::tests: one\n"));
        tracing::info!("two");
        drop(guard);
        tracing::info!("too late");
        assert!(log.text().ends_with(" two\n") && log.count("INFO") == 1);
        assert!(Log::of(|| tracing::warn!("three")).contains("WARN"));
    }

    #[test]
    fn a_thread_without_a_log_silences_no_event() {
        let event = || tracing::info!("reached by two threads");
        let (log, _guard) = Log::of_this_thread(Level::INFO);
        std::thread::spawn(event).join().unwrap();
        event();
        assert_eq!(log.count("reached by two threads"), 1);
    }

    #[test]
    fn lines_of_json_are_found_by_their_target() {
        let (log, _guard) = Log::json_of_this_thread(Level::DEBUG);
        tracing::debug_span!(target: "request", "request", id = 7).in_scope(|| {
            tracing::info!(target: "access", status = 200, "request");
            tracing::info!(target: "other", "nothing");
        });
        let lines = log.json_lines(&["acc", "request"]);
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["message"], &lines[0]["span"]["id"]),
            (&"new".into(), &7.into())
        );
        assert_eq!(
            (&lines[1]["status"], &lines[1]["span"]["id"]),
            (&200.into(), &7.into())
        );
    }
}
