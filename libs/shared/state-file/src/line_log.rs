//! Files of lines that only grow: what was appended survives a power failure once it is flushed.
//! Only this user can read them.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::write::{PRIVATE_MODE, directory_of, replace, sync_directory};

/// A file of lines.
#[derive(Debug)]
pub struct LineLog {
    file: File,
    bytes: u64,
}

impl LineLog {
    /// Opens the file for appending, and makes it if there is none. The rest of a line that a power
    /// failure has cut off is removed, so that it does not become the beginning of another.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(PRIVATE_MODE)
            .open(path)?;
        let whole = end_of_last_line(&file)?;
        let length = file.metadata()?.len();
        if length == 0 {
            sync_directory(directory_of(path))?;
        }
        if whole < length {
            file.set_len(whole)?;
        }
        Ok(Self { file, bytes: whole })
    }

    /// The length of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends whole lines, and flushes them to the disk.
    ///
    /// # Errors
    /// The system's error. Nothing is appended then, or a part that the next reader ignores.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(lines);
        if written.is_err() {
            // A part of a line must not become the beginning of another.
            self.file.set_len(self.bytes)?;
        }
        written?;
        self.bytes = self.bytes.saturating_add(lines.len() as u64);
        self.file.sync_data()
    }

    /// Replaces all lines, and opens the file again. After a power failure the file has the old
    /// lines or the new ones. Drop the log that is open first: it is the old file.
    ///
    /// # Errors
    /// The system's error.
    pub fn rewrite(path: &Path, lines: &[u8]) -> io::Result<Self> {
        replace(path, lines, PRIVATE_MODE)?;
        Self::open(path)
    }
}

/// Calls `read` with each whole line of a file, without its end; without a file, with none. No line
/// may have more than `max_bytes`; the rest of a longer one is passed on as a line of its own.
///
/// # Errors
/// The system's error.
pub fn read_lines(path: &Path, max_bytes: usize, mut read: impl FnMut(&[u8])) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        let piece = file.fill_buf()?;
        if piece.is_empty() {
            // A line without an end is cut off.
            return Ok(());
        }
        let end = piece.iter().position(|byte| *byte == b'\n');
        let room = max_bytes.saturating_sub(line.len());
        let taken = end.unwrap_or(piece.len()).min(room);
        line.extend_from_slice(piece.get(..taken).unwrap_or_default());
        let is_whole = end == Some(taken);
        file.consume(taken.saturating_add(usize::from(is_whole)));
        if is_whole || line.len() >= max_bytes {
            read(&line);
            line.clear();
        }
    }
}

/// How many bytes the whole lines of a file have.
fn end_of_last_line(file: &File) -> io::Result<u64> {
    const BLOCK: u64 = 4096;
    let mut end = file.metadata()?.len();
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        block.resize(usize::try_from(end - start).unwrap_or_default(), 0);
        file.read_exact_at(&mut block, start)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
