//! What is counted, and what is left of it after a crash.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use proptest::prelude::*;
use service_runtime::Shutdown;
use usage_log::{Day, MAX_MODELS_A_DAY, Usage, UsageLog, UsageQuery, UsageRow, UsageWriter};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const MILLI: Duration = Duration::from_millis(1);

fn one(tokens: u64) -> Usage {
    Usage {
        requests: 1,
        input_tokens: tokens,
        output_tokens: 2 * tokens,
        slot_ms: 3 * tokens,
    }
}

fn text(text: &str) -> Arc<str> {
    text.into()
}

fn record(log: &UsageLog, at: SystemTime, key: &str, model: &str, tokens: u64) {
    let (key, name) = (text(key), text(&format!("name of {key}")));
    log.record(at, (&key, &name), &text(model), one(tokens));
}

fn rows(log: &UsageLog, query: &UsageQuery) -> Vec<UsageRow> {
    log.page(query, None, usize::MAX).rows
}

fn all(log: &UsageLog) -> Vec<UsageRow> {
    rows(log, &UsageQuery::default())
}

fn open(dir: &Path, days: u32) -> (UsageLog, UsageWriter) {
    UsageLog::open(dir, days).unwrap()
}

// spec: KEY-22, KEY-24
#[test]
fn usage_is_counted_by_day_key_and_model_and_shown_in_pages() {
    let log = UsageLog::in_memory();
    let now = UNIX_EPOCH + 20_000 * DAY;
    for day in 0..3 {
        for key in ["a", "b"] {
            for model in ["m", "n"] {
                record(&log, now + day * DAY, key, model, 1);
                record(&log, now + day * DAY, key, model, 4);
            }
        }
    }
    let found = all(&log);
    assert_eq!(found.len(), 12);
    let expected = Usage {
        requests: 2,
        input_tokens: 5,
        output_tokens: 10,
        slot_ms: 15,
    };
    assert!(found.iter().all(|row| row.usage == expected));
    for limit in 1..14 {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = log.page(&UsageQuery::default(), after.as_ref(), limit);
            assert!(page.rows.len() <= limit);
            paged.extend(page.rows);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(paged, found);
    }
    let day = Day::of(now + DAY);
    for (query, count) in [
        (
            UsageQuery {
                key: Some("a".to_owned()),
                ..UsageQuery::default()
            },
            6,
        ),
        (
            UsageQuery {
                key: Some("name of b".to_owned()),
                model: Some("m".to_owned()),
                ..UsageQuery::default()
            },
            3,
        ),
        (
            UsageQuery {
                from: Some(day),
                ..UsageQuery::default()
            },
            8,
        ),
        (
            UsageQuery {
                to: Some(day),
                ..UsageQuery::default()
            },
            8,
        ),
        (
            UsageQuery {
                from: Some(day),
                to: Some(day),
                key: Some("none".to_owned()),
                ..UsageQuery::default()
            },
            0,
        ),
    ] {
        assert_eq!(rows(&log, &query).len(), count, "{query:?}");
    }
    let today = log.tokens_on(day);
    assert_eq!(today, [(text("a"), 30), (text("b"), 30)]);
}

// spec: KEY-22
#[test]
fn the_models_of_a_key_and_day_are_bounded() {
    let log = UsageLog::in_memory();
    for number in 0..MAX_MODELS_A_DAY + 5 {
        record(&log, UNIX_EPOCH, "a", &format!("m{number}"), 1);
    }
    let found = all(&log);
    assert_eq!(found.len(), MAX_MODELS_A_DAY + 1);
    let other = found.iter().find(|row| &*row.model == "other").unwrap();
    assert_eq!(other.usage.requests, 5);
}

// spec: KEY-23, KEY-25
#[test]
fn days_beyond_the_retention_are_removed_and_the_rest_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let (log, mut writer) = open(dir.path(), 2);
    record(&log, now - DAY, "a", "m", 1);
    record(&log, now, "a", "m", 2);
    writer.flush(now, Duration::ZERO);
    let kept = all(&log);
    assert_eq!(kept.len(), 2);
    fs::write(dir.path().join("2001-01-01.log"), "").unwrap();
    fs::write(dir.path().join("notes.txt"), "").unwrap();
    let (again, mut writer) = open(dir.path(), 2);
    assert_eq!(all(&again), kept);
    let files = || fs::read_dir(dir.path()).unwrap().count();
    writer.flush(now, HOUR - MILLI);
    assert_eq!(files(), 4);
    writer.flush(now, HOUR);
    assert_eq!((files(), all(&again).len()), (3, 2));
    writer.flush(now + DAY, 24 * HOUR);
    assert_eq!(files(), 3);
    writer.flush(now + DAY, 25 * HOUR);
    assert_eq!((files(), all(&again).len()), (2, 1));
}

// spec: KEY-26
#[test]
fn a_clock_that_is_wrong_for_a_while_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let (log, mut writer) = open(dir.path(), 2);
    for day in 0..2 {
        record(&log, now - day * DAY, "a", "m", 1);
    }
    writer.flush(now, Duration::ZERO);
    let wrong = now + 100 * DAY;
    for (time, uptime) in [
        (wrong, HOUR),
        (wrong, 2 * HOUR - MILLI),
        (now, 2 * HOUR),
        (wrong, 2 * HOUR + MILLI),
        // So does one that is set back.
        (UNIX_EPOCH, 3 * HOUR),
        (UNIX_EPOCH, 9 * HOUR),
        (now, 9 * HOUR),
        (now, 10 * HOUR),
    ] {
        writer.flush(time, uptime);
        assert_eq!(all(&log).len(), 2, "{time:?}");
    }
    // Neither does a start with such a clock, and the counts go on afterwards.
    drop(writer);
    let (log, mut writer) = open(dir.path(), 2);
    writer.flush(wrong, Duration::ZERO);
    record(&log, now, "a", "m", 1);
    writer.flush(now, MILLI);
    let (log, _) = open(dir.path(), 2);
    let requests: Vec<_> = all(&log).iter().map(|row| row.usage.requests).collect();
    assert_eq!(requests, [1, 2]);
}

// spec: KEY-23
#[test]
fn what_cannot_be_written_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let (log, mut writer) = open(dir.path(), 9);
    let now = SystemTime::now();
    let path = dir.path().join(format!("{}.log", Day::of(now)));
    // A directory in its place stands for a disk that fails.
    fs::create_dir(&path).unwrap();
    let said = captured_log::Log::of(|| {
        for _ in 0..3 {
            record(&log, now, "a", "m", 1);
            writer.flush(now, Duration::ZERO);
        }
    });
    assert_eq!(said.matches("usage cannot be written").count(), 1, "{said}");
    fs::remove_dir(&path).unwrap();
    writer.flush(now, Duration::ZERO);
    let (again, _) = open(dir.path(), 9);
    assert_eq!(all(&again), all(&log));
    assert_eq!(all(&again)[0].usage.requests, 3);
}

// spec: KEY-23
#[test]
fn a_file_that_has_grown_is_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let (log, mut writer) = open(dir.path(), 9);
    let now = SystemTime::now();
    let model = "x".repeat(3500);
    let mut largest = 0;
    let mut is_smaller = false;
    for _ in 0..310 {
        record(&log, now, "a", &model, 1);
        writer.flush(now, Duration::ZERO);
        let file = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
        let length = file.metadata().unwrap().len();
        is_smaller |= length < largest;
        largest = largest.max(length);
    }
    assert!(is_smaller && largest <= 1024 * 1024, "{largest}");
    let (again, _) = open(dir.path(), 9);
    assert_eq!(all(&again), all(&log));
}

// spec: KEY-23
#[tokio::test(start_paused = true)]
async fn the_writer_writes_in_time_and_at_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (log, writer) = open(dir.path(), 9);
    let stop = Shutdown::new();
    let on_disk = || all(&open(dir.path(), 9).0);
    let changes = async {
        record(&log, SystemTime::now(), "a", "m", 1);
        let began = tokio::time::Instant::now();
        while on_disk().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(began.elapsed() < Duration::from_secs(1));
        record(&log, SystemTime::now(), "a", "m", 1);
        stop.request();
    };
    tokio::join!(writer.run(stop.clone()), changes);
    assert_eq!(on_disk(), all(&log));
}

#[derive(Debug, Clone)]
enum Step {
    Record(u8, u8, u64),
    Flush,
    /// The process is killed and starts again.
    Kill,
    /// The same, and the last line was not written whole.
    PowerFailure(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..3_u8, 0..2_u8, 0..9_u64).prop_map(|(key, model, tokens)| {
            Step::Record(key, model, tokens)
        }),
        3 => Just(Step::Flush),
        1 => Just(Step::Kill),
        1 => (1..60_usize).prop_map(Step::PowerFailure),
    ];
    prop::collection::vec(step, 1..60)
}

/// The counts as a map.
fn counts(log: &UsageLog) -> BTreeMap<(Arc<str>, Arc<str>), Usage> {
    let rows = all(log).into_iter();
    rows.map(|row| ((row.key_id, row.model), row.usage))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After a kill the counts are those of the last flush: nothing is counted twice, and nothing
    /// is lost that was flushed. After a power failure in the middle of a line, no count is higher.
    // spec: KEY-23
    #[test]
    fn no_history_counts_twice(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let (mut log, mut writer) = open(dir.path(), 9);
        let mut flushed = BTreeMap::new();
        for step in steps {
            match step {
                Step::Record(key, model, tokens) => {
                    record(&log, now, &format!("k{key}"), &format!("m{model}"), tokens);
                }
                Step::Flush => {
                    writer.flush(now, Duration::ZERO);
                    flushed = counts(&log);
                }
                Step::Kill => {
                    (log, writer) = open(dir.path(), 9);
                    prop_assert_eq!(&counts(&log), &flushed);
                }
                Step::PowerFailure(cut) => {
                    let path = dir.path().join(format!("{}.log", Day::of(now)));
                    if let Ok(bytes) = fs::read(&path) {
                        let last = bytes.iter().rev().skip(1).position(|byte| *byte == b'\n');
                        // A failure may have left nothing of the file already.
                        let line = last.map_or(bytes.len(), |last| last + 1);
                        fs::write(&path, &bytes[..bytes.len() - cut.min(line)]).unwrap();
                    }
                    (log, writer) = open(dir.path(), 9);
                    let left = counts(&log);
                    for (row, usage) in &left {
                        prop_assert!(usage.requests <= flushed[row].requests);
                    }
                    let lost = flushed.iter().filter(|(row, usage)| left.get(row) != Some(usage));
                    prop_assert!(lost.count() <= 1);
                    flushed = left;
                }
            }
        }
    }
}
