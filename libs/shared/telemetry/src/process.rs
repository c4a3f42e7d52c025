//! What the system reports about this process, under the names that all client libraries use.

use std::{
    fmt, fs,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::gauges::gauge;

/// Kernels report CPU time in hundredths of a second, whatever they use internally (`man 5 proc`,
/// `USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads `/proc` when the metrics are rendered. Unreadable values are left out.
#[derive(Debug)]
pub(crate) struct Process {
    started: f64,
}

impl Process {
    /// This process, which has just started.
    pub(crate) fn starting() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started: since.map_or(0.0, |since| since.as_secs_f64()),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&read("stat")) {
            encoder
                .encode_descriptor(
                    "process_cpu_seconds",
                    "CPU time of this process, in user and in system mode, in seconds",
                    None,
                    MetricType::Counter,
                )?
                .encode_counter::<NoLabelSet, f64, f64>(&seconds, None)?;
        }
        let status = read("status");
        let open = fs::read_dir("/proc/self/fd")
            .ok()
            .map(|files| as_f64(files.count()));
        let numbers = [
            (
                "process_resident_memory_bytes",
                "Memory of this process that is in RAM, in bytes",
                field(&status, "VmRSS:").map(|kib| kib * 1024.0),
            ),
            (
                "process_virtual_memory_bytes",
                "Address space of this process, in bytes",
                field(&status, "VmSize:").map(|kib| kib * 1024.0),
            ),
            (
                "process_threads",
                "Threads of this process",
                field(&status, "Threads:"),
            ),
            ("process_open_fds", "Open file descriptors", open),
            (
                "process_max_fds",
                "The most file descriptors that may be open",
                field(&read("limits"), "Max open files"),
            ),
            (
                "process_start_time_seconds",
                "When this process started, in seconds since 1970",
                Some(self.started),
            ),
        ];
        for (name, help, value) in numbers {
            if let Some(value) = value {
                gauge(&mut encoder, name, help, value)?;
            }
        }
        Ok(())
    }
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// The first number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of `stat`. The second field is the program's name in brackets, which may
/// contain any character.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
        let status = "Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t5\n";
        assert_eq!(
            (field(status, "VmRSS:"), field(status, "Threads:")),
            (Some(1234.0), Some(5.0))
        );
        assert_eq!(
            field(
                "Max open files            1024                 4096  files",
                "Max open files"
            ),
            Some(1024.0)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_on_the_page() {
        let page = crate::Metrics::new("test", "0").render();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            assert!(
                page.lines()
                    .any(|line| line.starts_with(&format!("{name} "))),
                "{name} in {page}"
            );
        }
    }
}
