//! A number that rises with each start, so that messages of an earlier life are told apart.

use std::{
    fs, io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// The last incarnation of this process: two starts within one millisecond differ, too.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The incarnation of a life that begins now: milliseconds since 1970, or more where the clock was set back
/// since the last one that this process or `file` remembers.
///
/// A file that cannot be read or written is not worth refusing to start for.
pub(crate) fn next(file: Option<&Path>) -> u64 {
    let saved = file.map_or(0, |file| {
        read(file).unwrap_or_else(|error| {
            tracing::warn!(file = %file.display(), %error, "cannot read the last incarnation, so the clock alone counts; mend or remove the file");
            0
        })
    });
    let incarnation = after(saved, unix_ms());
    if let Some(file) = file
        && let Err(error) = write(file, incarnation)
    {
        tracing::warn!(file = %file.display(), %error, "cannot remember the incarnation, so the next start uses the clock alone; mend the state directory");
    }
    incarnation
}

fn after(saved: u64, now_ms: u64) -> u64 {
    let risen = |last: u64| now_ms.max(last.max(saved).saturating_add(1));
    // The closure always returns a value, so both arms carry the previous one.
    let (Ok(last) | Err(last)) =
        LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(risen(last)));
    risen(last)
}

fn unix_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

fn read(file: &Path) -> io::Result<u64> {
    match fs::read_to_string(file) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it does not hold a number")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Written to a temporary name and renamed: a crash leaves the old number or the new one, never half of one.
fn write(file: &Path, incarnation: u64) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = file.with_extension("tmp");
    fs::write(&temporary, format!("{incarnation}\n"))?;
    fs::rename(temporary, file)
}

#[cfg(test)]
mod tests {
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
        // As an earlier start with a clock far ahead would have left it.
        let ahead = first + 10_000_000_000;
        fs::write(&file, ahead.to_string()).unwrap();
        assert!(next(Some(&file)) > ahead);
    }

    #[test]
    fn a_damaged_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("incarnation");
        fs::write(&file, "not a number").unwrap();
        let incarnation = next(Some(&file));
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{incarnation}\n"));
    }
}
