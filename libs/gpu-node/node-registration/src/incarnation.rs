//! The incarnation: a number that rises with each start, so that messages of an earlier start can
//! be recognised.

use std::{
    fs, io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use state_file::ReadError;

/// The last incarnation of this process, so that two starts within one millisecond differ.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The consequence of a damaged file. It continues a sentence after "so ".
const CONSEQUENCE: &str = "only the clock counts: if it was set back since the last start, the \
                           control plane refuses this node until the clock has caught up";

/// The incarnation of this start: milliseconds since 1970, or more if the clock was set back since
/// the last one in this process or in `file`.
///
/// A file that cannot be read or written is logged and does not prevent the start.
pub(crate) fn next(file: Option<&Path>) -> u64 {
    let incarnation = after(file.map_or(0, last), unix_ms());
    if let Some(file) = file
        && let Err(error) = write(file, incarnation)
    {
        tracing::warn!(
            file = %file.display(), %error,
            "cannot store the incarnation, so the next start uses the clock alone; make the file \
             writable"
        );
    }
    incarnation
}

/// The last incarnation in `file`, or an estimate.
fn last(file: &Path) -> u64 {
    // The modification time of a damaged file is close to the number that it contained.
    let written = modified_ms(file);
    match state_file::read(file, parse) {
        Ok(saved) => saved.unwrap_or(0),
        Err(ReadError::Damaged(reason)) => {
            if let Err(error) = state_file::set_aside(file, &reason, CONSEQUENCE) {
                tracing::warn!(
                    file = %file.display(), %error, reason,
                    "cannot set aside a damaged file, so {CONSEQUENCE}; remove it"
                );
            }
            written
        }
        Err(ReadError::Failed(error)) => {
            tracing::warn!(
                file = %file.display(), %error,
                "cannot read the last incarnation, so {CONSEQUENCE}; correct or remove the file"
            );
            written
        }
    }
}

fn parse(bytes: &[u8]) -> Result<u64, &'static str> {
    let number = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    number.ok_or("it does not hold a number")
}

/// When `file` was last written, in milliseconds since 1970; 0 when that is not known.
fn modified_ms(file: &Path) -> u64 {
    let modified = fs::symlink_metadata(file).and_then(|found| found.modified());
    modified.map_or(0, since_1970_ms)
}

fn after(saved: u64, now_ms: u64) -> u64 {
    let risen = |last: u64| now_ms.max(last.max(saved).saturating_add(1));
    // The closure always returns a value, so both arms carry the previous one.
    let (Ok(last) | Err(last)) = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
        Some(risen(last))
    });
    risen(last)
}

fn unix_ms() -> u64 {
    since_1970_ms(SystemTime::now())
}

fn since_1970_ms(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

fn write(file: &Path, incarnation: u64) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        state_file::create_directory(folder)?;
    }
    state_file::write(file, format!("{incarnation}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, time::Duration};

    use captured_log::Log;

    use super::*;

    #[test]
    fn rises_within_one_millisecond() {
        let all: Vec<_> = (0..100).map(|_| next(None)).collect();
        assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
    }

    // spec: REG-5
    #[test]
    fn rises_after_the_clock_was_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state").join("incarnation");
        let first = next(Some(&file));
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{first}\n"));
        // As written by an earlier start with a clock far ahead.
        let ahead = first + 10_000_000_000;
        fs::write(&file, ahead.to_string()).unwrap();
        assert!(next(Some(&file)) > ahead);
    }

    // spec: KEEP-20, KEEP-23
    #[test]
    fn a_damaged_file_is_set_aside_and_the_number_rises_all_the_same() {
        type Put = fn(&Path);
        let damages: [Put; 4] = [
            |file| fs::write(file, "").unwrap(),
            |file| fs::write(file, "not a number").unwrap(),
            |file| fs::write(file, [0; 512]).unwrap(),
            |file| fs::create_dir(file).unwrap(),
        ];
        for (days, put) in (1..).zip(damages) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("incarnation");
            put(&file);
            // The clock was set back after it was written.
            let ahead = SystemTime::now() + days * Duration::from_secs(86_400);
            fs::File::open(&file).unwrap().set_modified(ahead).unwrap();
            let incarnation = next(Some(&file));
            assert!(incarnation > since_1970_ms(ahead));
            assert_eq!(
                fs::read_to_string(&file).unwrap(),
                format!("{incarnation}\n")
            );
            assert!(folder.path().join("incarnation.unreadable-1").exists());
            assert!(next(Some(&file)) > incarnation);
        }
    }

    // spec: KEEP-21
    #[test]
    fn a_file_that_cannot_be_read_does_not_prevent_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("incarnation");
        symlink(&file, &file).unwrap();
        let log = Log::of(|| assert!(next(Some(&file)) > 0));
        assert!(log.contains("cannot read the last incarnation"), "{log}");
    }
}
