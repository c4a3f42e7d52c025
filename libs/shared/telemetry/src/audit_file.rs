//! A file for the events of one target, such as an audit log: one JSON object per line, appended.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::fs::OFlags;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::lossy::LINES_DROPPED;

/// How often the file is looked for under its name, so that a rotated one is left behind.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The most refused requests that are written in a second. Anyone who can connect can cause any
/// number of them, and 200 lines of at most 500 bytes fill a gigabyte in three hours.
const REFUSALS_PER_SECOND: u32 = 200;

/// Only its owner may read who did what.
const MODE: u32 = 0o600;

/// An open file. Clones share it.
#[derive(Debug, Clone)]
pub struct AuditFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    target: &'static str,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    looked: Instant,
    refusals: u32,
}

impl AuditFile {
    /// Opens the file for the events of `target`. It is created if it does not exist, and a
    /// rotated one is left behind within a second.
    ///
    /// # Errors
    /// When it cannot be created or written.
    pub fn open(target: &'static str, path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let state = State {
            file: open(&path)?,
            looked: now(),
            refusals: 0,
        };
        Ok(Self(Arc::new(Inner {
            target,
            path,
            state: Mutex::new(state),
        })))
    }

    pub(crate) fn target(&self) -> &'static str {
        self.0.target
    }
}

impl Inner {
    fn write(&self, line: &[u8], is_refusal: bool, now: Instant) -> io::Result<()> {
        let mut state = self.state.lock();
        if now.saturating_duration_since(state.looked) >= LOOK_INTERVAL {
            state.looked = now;
            state.refusals = 0;
            // If the new file cannot be opened, the old one still takes lines.
            if !is_under_its_name(&state.file, &self.path)
                && let Ok(file) = open(&self.path)
            {
                state.file = file;
            }
        }
        if is_refusal {
            state.refusals = state.refusals.saturating_add(1);
            if state.refusals > REFUSALS_PER_SECOND {
                LINES_DROPPED.inc();
                return Ok(());
            }
        }
        state.file.write_all(line)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        // Nor does it wait for the reader of a named pipe, here and when a line is written.
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}

fn is_under_its_name(file: &File, path: &Path) -> bool {
    let identity = |metadata: io::Result<std::fs::Metadata>| {
        metadata
            .map(|metadata| (metadata.dev(), metadata.ino()))
            .ok()
    };
    identity(file.metadata()) == identity(path.metadata())
}

#[expect(
    clippy::disallowed_methods,
    reason = "events come from any thread, also without an async runtime"
)]
fn now() -> Instant {
    Instant::now()
}

/// Writes one line.
#[derive(Debug)]
pub struct AuditWriter<'f> {
    file: &'f Inner,
    is_refusal: bool,
}

impl Write for AuditWriter<'_> {
    /// Accepts all bytes as one line, because the formatter writes a line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.file
            .write(line, self.is_refusal, now())
            .map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for AuditFile {
    type Writer = AuditWriter<'w>;

    fn make_writer(&'w self) -> AuditWriter<'w> {
        AuditWriter {
            file: &self.0,
            is_refusal: false,
        }
    }

    /// Refused requests are the events below INFO.
    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> AuditWriter<'w> {
        AuditWriter {
            file: &self.0,
            is_refusal: *metadata.level() > Level::INFO,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    // spec: AUTH-50
    #[test]
    fn a_rotated_file_is_left_and_only_its_owner_reads_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let (path, rotated) = (
            directory.path().join("audit"),
            directory.path().join("audit.1"),
        );
        let file = AuditFile::open("audit", &path).unwrap();
        let start = now();
        file.0.write(b"1\n", false, start).unwrap();
        std::fs::rename(&path, &rotated).unwrap();
        file.0.write(b"2\n", false, start).unwrap();
        file.0
            .write(b"3\n", false, start + 2 * LOOK_INTERVAL)
            .unwrap();
        assert_eq!(std::fs::read(&rotated).unwrap(), b"1\n2\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"3\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, MODE);
    }

    // spec: AUTH-50
    #[test]
    fn a_flood_of_refusals_is_cut_and_changes_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let file = AuditFile::open("audit", &path).unwrap();
        let start = now();
        for _ in 0..2 * REFUSALS_PER_SECOND {
            file.0.write(b"refused\n", true, start).unwrap();
        }
        file.0.write(b"change\n", false, start).unwrap();
        file.0
            .write(b"refused\n", true, start + 2 * LOOK_INTERVAL)
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let limit = REFUSALS_PER_SECOND as usize;
        assert_eq!(text.matches("refused").count(), limit + 1);
        assert_eq!(text.matches("change").count(), 1);
    }

    // spec: AUTH-66
    #[test]
    fn a_pipe_whose_reader_stops_loses_lines_and_holds_no_one_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        // Without a reader there is no file to open.
        assert!(AuditFile::open("audit", &path).is_err());
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&path)
            .unwrap();
        let file = AuditFile::open("audit", &path).unwrap();
        let start = now();
        // More than a pipe holds.
        let mut writes = (0..2000).map(|_| file.0.write(&[b'x'; 1000], false, start));
        let failed = writes.find_map(Result::err).unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::WouldBlock);
        drop(reader);
        assert!(file.0.write(b"x", false, start).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        assert!(AuditFile::open("audit", "/proc/no/such/directory").is_err());
    }
}
