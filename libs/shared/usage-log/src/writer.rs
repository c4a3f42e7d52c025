//! The files: one a day, with a line for each total that has changed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use service_runtime::Shutdown;
use state_file::LineLog;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    day::Day,
    log::UsageLog,
    totals::{Usage, UsageQuery, UsageRow},
};

/// How often changes are written. With the time to write them, a killed process loses less than a
/// second.
const PERIOD: Duration = Duration::from_millis(500);

/// How long the clock must show a day before usage is removed that is too old on that day. A clock
/// that is wrong, as after a start without its time server, is mostly right again by then.
const SETTLING: Duration = Duration::from_secs(60 * 60);

/// The longest line: names of keys and models have less than half of it.
const LINE_BYTES: usize = 4096;

/// A file below this size is never rewritten.
const MIN_REWRITE_BYTES: u64 = 1024 * 1024;

/// A file is rewritten when it has grown to so many times what it would have then.
const REWRITE_AT: u64 = 4;

const ENDING: &str = ".log";

/// Keeps a [`UsageLog`] on disk.
#[derive(Debug)]
pub struct UsageWriter {
    log: UsageLog,
    dir: PathBuf,
    retention_days: u32,
    /// The files of the last days.
    files: BTreeMap<Day, DayFile>,
    today: Day,
    /// When the clock first showed that day without a break, since the start.
    today_since: Duration,
    /// Whether what is too old on that day was removed.
    is_settled: bool,
    /// Whether the log has said that nothing can be written.
    is_reported: bool,
}

#[derive(Debug)]
struct DayFile {
    lines: LineLog,
    /// Its length when it held each total once.
    compact_bytes: u64,
}

/// A total, as it is kept. Unknown fields are ignored, so that an earlier version can run again.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: Arc<str>,
    name: Arc<str>,
    model: Arc<str>,
    #[serde(flatten)]
    usage: Usage,
}

impl UsageLog {
    /// A log that is kept in `dir` for so many days, today included. The directory is one process's
    /// at a time. Run the writer as a task.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(dir: &Path, retention_days: u32) -> io::Result<(Self, UsageWriter)> {
        let log = Self::in_memory();
        let writer = UsageWriter::open(log.clone(), dir, retention_days, SystemTime::now())?;
        Ok((log, writer))
    }
}

/// Writes the files of `dir`, which must be empty, with these rows.
///
/// # Errors
/// The system's error.
pub fn write_files(dir: &Path, rows: &[UsageRow]) -> io::Result<()> {
    state_file::create_directory(dir)?;
    let mut by_day: BTreeMap<Day, Vec<u8>> = BTreeMap::new();
    for row in rows {
        write_line(row, by_day.entry(row.day).or_default());
    }
    for (day, lines) in by_day {
        LineLog::rewrite(&path(dir, day), &lines)?;
    }
    Ok(())
}

impl UsageWriter {
    fn open(log: UsageLog, dir: &Path, retention_days: u32, now: SystemTime) -> io::Result<Self> {
        state_file::create_directory(dir)?;
        let mut writer = Self {
            log,
            dir: dir.to_owned(),
            retention_days: retention_days.max(1),
            files: BTreeMap::new(),
            today: Day::of(now),
            today_since: Duration::ZERO,
            is_settled: false,
            is_reported: false,
        };
        // All of them: the clock may be wrong, and nothing is removed before it has settled.
        for day in writer.days_on_disk()? {
            writer.read(day)?;
        }
        Ok(writer)
    }

    /// Writes changes until `stop` is requested, and then a last time.
    pub async fn run(mut self, stop: Shutdown) {
        let started = Instant::now();
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                () = stop.requested() => true,
                _ = ticks.tick() => false,
            };
            let uptime = started.elapsed();
            let work = tokio::task::spawn_blocking(move || {
                self.flush(SystemTime::now(), uptime);
                self
            });
            match work.await {
                Ok(writer) if !is_last => self = writer,
                Ok(_) => return,
                Err(error) => {
                    tracing::error!(%error, "usage is not kept any more");
                    return;
                }
            }
        }
    }

    /// Writes what has changed. What cannot be written is tried again the next time. `uptime` is
    /// the time since the start by a clock that never jumps.
    pub fn flush(&mut self, now: SystemTime, uptime: Duration) {
        self.follow_clock(Day::of(now), uptime);
        let changed = self.log.0.lock().take_changed();
        if changed.is_empty() {
            return;
        }
        match self.append(&changed) {
            Ok(()) => self.is_reported = false,
            Err(error) => {
                self.log.0.lock().not_kept(&changed);
                // Opened again the next time.
                self.files.clear();
                if !std::mem::replace(&mut self.is_reported, true) {
                    tracing::warn!(
                        dir = %self.dir.display(), %error,
                        "usage cannot be written and is in memory only; check the disk"
                    );
                }
            }
        }
    }

    fn append(&mut self, changed: &[UsageRow]) -> io::Result<()> {
        let mut by_day: BTreeMap<Day, Vec<u8>> = BTreeMap::new();
        for row in changed {
            write_line(row, by_day.entry(row.day).or_default());
        }
        for (day, lines) in by_day {
            let file = self.file(day)?;
            file.lines.append(&lines)?;
            let most = (file.compact_bytes.saturating_mul(REWRITE_AT)).max(MIN_REWRITE_BYTES);
            if file.lines.bytes() > most {
                self.rewrite(day)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, day: Day) -> io::Result<&mut DayFile> {
        match self.files.entry(day) {
            std::collections::btree_map::Entry::Occupied(file) => Ok(file.into_mut()),
            std::collections::btree_map::Entry::Vacant(place) => {
                let lines = LineLog::open(&path(&self.dir, day))?;
                Ok(place.insert(DayFile {
                    compact_bytes: 0,
                    lines,
                }))
            }
        }
    }

    /// Writes each total of a day once.
    fn rewrite(&mut self, day: Day) -> io::Result<()> {
        let of_day = UsageQuery {
            from: Some(day),
            to: Some(day),
            ..UsageQuery::default()
        };
        let mut lines = Vec::new();
        for row in self.log.page(&of_day, None, usize::MAX).rows {
            write_line(&row, &mut lines);
        }
        self.files.remove(&day);
        let lines = LineLog::rewrite(&path(&self.dir, day), &lines)?;
        let compact_bytes = lines.bytes();
        let file = DayFile {
            lines,
            compact_bytes,
        };
        self.files.insert(day, file);
        Ok(())
    }

    /// Reads the totals of a day. Lines that a power failure has damaged are left out: the total
    /// before each of them counts.
    fn read(&mut self, day: Day) -> io::Result<()> {
        let (mut count, mut damaged) = (0_u64, 0_u64);
        let mut totals = self.log.0.lock();
        state_file::read_lines(&path(&self.dir, day), LINE_BYTES, |line| {
            count += 1;
            match serde_json::from_slice::<Line>(line) {
                Ok(line) => totals.restore(&UsageRow {
                    day,
                    key_id: line.key,
                    key_name: line.name,
                    model: line.model,
                    usage: line.usage,
                }),
                Err(_) => damaged += 1,
            }
        })?;
        drop(totals);
        if damaged > 0 {
            tracing::warn!(
                file = %path(&self.dir, day).display(), damaged,
                "lines of usage are damaged and left out"
            );
        }
        Ok(())
    }

    fn first_day(&self) -> Day {
        self.today.earlier(self.retention_days.saturating_sub(1))
    }

    /// Closes the files of earlier days, and forgets those beyond the retention once the clock has
    /// settled.
    fn follow_clock(&mut self, day: Day, uptime: Duration) {
        if day != self.today {
            self.today = day;
            self.today_since = uptime;
            self.is_settled = false;
            self.files.retain(|open, _| *open >= day.earlier(1));
        }
        if self.is_settled || uptime.saturating_sub(self.today_since) < SETTLING {
            return;
        }
        self.is_settled = true;
        let first = self.first_day();
        self.log.0.lock().forget_before(first);
        for day in self.days_on_disk().unwrap_or_default() {
            if day < first {
                self.remove(day);
            }
        }
    }

    fn remove(&self, day: Day) {
        let path = path(&self.dir, day);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(file = %path.display(), %error, "old usage cannot be removed");
        }
    }

    fn days_on_disk(&self) -> io::Result<Vec<Day>> {
        let mut days = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let day = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            days.extend(day.and_then(|day| day.parse::<Day>().ok()));
        }
        days.sort_unstable();
        Ok(days)
    }
}

fn path(dir: &Path, day: Day) -> PathBuf {
    dir.join(format!("{day}{ENDING}"))
}

fn write_line(row: &UsageRow, lines: &mut Vec<u8>) {
    let line = Line {
        key: Arc::clone(&row.key_id),
        name: Arc::clone(&row.key_name),
        model: Arc::clone(&row.model),
        usage: row.usage,
    };
    // Texts and numbers can always be written.
    if serde_json::to_writer(&mut *lines, &line).is_ok() {
        lines.push(b'\n');
    }
}
