//! The log files of engines: bounded in size, with their last lines for errors.
//!
//! An engine writes to its files itself. A pipe to the agent would break when the agent ends, and
//! the engine with it. A file works without the agent, and the next agent can read its end. The
//! price: a full file is copied and then truncated, so lines written in between are lost.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use pool_registry_types::{PoolId, ReplicaId};

/// The size at which a file is rotated, in bytes. A busy `llama-server` writes a few hundred bytes
/// per request.
pub(crate) const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// How many rotated files are kept.
pub(crate) const KEPT: u32 = 3;
/// How often the sizes are checked.
pub(crate) const ROTATION_INTERVAL: Duration = Duration::from_secs(1);
/// How many lines of the end of stderr an error shows: enough for a stack trace.
const TAIL_LINES: usize = 20;
/// The same in bytes: heartbeats carry it for every engine that does not run.
const TAIL_BYTES: usize = 2048;

/// The two files of one engine.
#[derive(Debug, Clone)]
pub(crate) struct EngineLogs {
    out: PathBuf,
    err: PathBuf,
    /// The size of `err` when the engine started.
    err_start: u64,
}

impl EngineLogs {
    pub(crate) fn new(dir: &Path, pool: &PoolId, replica: &ReplicaId) -> Self {
        Self {
            out: dir.join(format!("{pool}_{replica}.out.log")),
            err: dir.join(format!("{pool}_{replica}.err.log")),
            err_start: 0,
        }
    }

    /// Opens both files for an engine that starts now.
    pub(crate) fn open(&mut self) -> io::Result<(File, File)> {
        // In append mode a writer continues at the start of a truncated file.
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let (out, err) = (open(&self.out)?, open(&self.err)?);
        self.err_start = err.metadata()?.len();
        Ok((out, err))
    }

    /// The last lines of stderr since the start, with the path; `None` when there are none.
    pub(crate) fn stderr_tail(&self) -> Option<String> {
        let mut text = tail(&self.err, self.err_start).unwrap_or_default();
        if fs::metadata(&self.err).is_ok_and(|metadata| metadata.len() < self.err_start) {
            let full = tail(&numbered(&self.err, 1), 0).unwrap_or_default();
            text = full + &text;
        }
        let lines = last_lines(&text);
        (!lines.is_empty()).then(|| format!("the end of {}:\n{lines}", self.err.display()))
    }
}

/// The end of a file, from the offset `from` on; from 0 when the file was truncated since.
fn tail(path: &Path, from: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = if from > length { 0 } else { from };
    file.seek(SeekFrom::Start(
        from.max(length.saturating_sub(TAIL_BYTES as u64)),
    ))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines without control characters and empty lines.
fn last_lines(text: &str) -> String {
    let mut lines: VecDeque<String> = VecDeque::new();
    let mut bytes = 0;
    for line in text.lines().rev() {
        let line: String = line.chars().filter(|letter| !letter.is_control()).collect();
        bytes += line.len() + 1;
        if lines.len() == TAIL_LINES || bytes > TAIL_BYTES {
            break;
        }
        if !line.trim().is_empty() {
            lines.push_front(line);
        }
    }
    Vec::from(lines).join("\n")
}

/// Rotates every full log file in `dir`: copies it, then truncates it.
pub(crate) fn rotate_full(dir: &Path, max_bytes: u64, kept: u32) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        if is_log && fs::metadata(&path).is_ok_and(|metadata| metadata.len() > max_bytes) {
            rotate(&path, kept)?;
        }
    }
    Ok(())
}

fn rotate(path: &Path, kept: u32) -> io::Result<()> {
    for number in (1..kept).rev() {
        let older = numbered(path, number);
        if older.exists() {
            fs::rename(older, numbered(path, number + 1))?;
        }
    }
    fs::copy(path, numbered(path, 1))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

/// `x.err.log.1`
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn logs(dir: &Path) -> EngineLogs {
        EngineLogs::new(
            dir,
            &PoolId::new("p").unwrap(),
            &ReplicaId::new("r0").unwrap(),
        )
    }

    #[test]
    fn the_tail_contains_only_lines_since_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = logs(dir.path());
        let (_, mut err) = logs.open().unwrap();
        assert_eq!(logs.stderr_tail(), None);
        writeln!(err, "earlier").unwrap();
        let (_, mut err) = logs.open().unwrap();
        for number in 0..30 {
            writeln!(err, "line {number}\x1b[0m\r").unwrap();
        }
        err.write_all(b"\n\xff broken").unwrap();
        let words = logs.stderr_tail().unwrap();
        let lines: Vec<&str> = words.lines().collect();
        assert!(lines[0].ends_with("p_r0.err.log:"), "{words}");
        assert_eq!(lines.len(), 1 + 20);
        assert_eq!((lines[1], lines[20]), ("line 11[0m", "\u{fffd} broken"));
    }

    #[test]
    fn a_long_line_does_not_make_a_long_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = logs(dir.path());
        let (_, mut err) = logs.open().unwrap();
        writeln!(err, "{}", "ä".repeat(100_000)).unwrap();
        writeln!(err, "the end").unwrap();
        let words = logs.stderr_tail().unwrap();
        assert!(words.ends_with("the end") && words.len() < 2 * TAIL_BYTES);
    }

    // spec: PROV-13
    #[test]
    fn a_full_file_is_rotated_while_its_writer_has_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = logs(dir.path());
        let (mut out, mut err) = logs.open().unwrap();
        logs.err_start = 3;
        writeln!(out, "short").unwrap();
        for round in 0..5 {
            writeln!(err, "{round}: a line that is too long").unwrap();
            rotate_full(dir.path(), 10, 3).unwrap();
            assert_eq!(fs::metadata(&logs.err).unwrap().len(), 0);
        }
        assert!(
            logs.stderr_tail()
                .unwrap()
                .ends_with("4: a line that is too long")
        );
        writeln!(err, "5").unwrap();
        assert_eq!(fs::read_to_string(&logs.err).unwrap(), "5\n");
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "p_r0.err.log",
                "p_r0.err.log.1",
                "p_r0.err.log.2",
                "p_r0.err.log.3",
                "p_r0.out.log"
            ]
        );
        let oldest = fs::read_to_string(dir.path().join("p_r0.err.log.3")).unwrap();
        assert!(oldest.starts_with("2:"), "{oldest}");
    }
}
