//! What it costs to record a request.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use divan::Bencher;
use usage_log::{Usage, UsageLog};

fn main() {
    divan::main();
}

/// One request of one of so many keys.
#[divan::bench(args = [1, 100, 10_000])]
fn record(bencher: Bencher<'_, '_>, keys: usize) {
    let log = UsageLog::in_memory();
    let keys: Vec<Arc<str>> = (0..keys)
        .map(|number| format!("{number:012}").into())
        .collect();
    let (name, model): (Arc<str>, Arc<str>) = ("shop".into(), "tiny".into());
    let usage = Usage {
        requests: 1,
        input_tokens: 10,
        output_tokens: 20,
        slot_ms: 30,
    };
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for key in &keys {
        log.record(at, (key, &name), &model, usage);
    }
    let mut next = keys.iter().cycle();
    bencher.bench_local(|| {
        if let Some(key) = next.next() {
            log.record(SystemTime::now(), (key, &name), &model, usage);
        }
    });
}
