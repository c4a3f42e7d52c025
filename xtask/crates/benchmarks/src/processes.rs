//! What processes and their descendants have used, as `/proc` tells.

use std::{fs, time::Duration};

use rustix::param::clock_ticks_per_second;

/// `pids` and all their descendants.
pub(super) fn families(pids: &[u32]) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = all_pids()
        .filter_map(|pid| Some((pid, stat(pid)?.parent)))
        .collect();
    let mut members = pids.to_vec();
    let mut next = 0;
    while let Some(&parent) = members.get(next) {
        let children = parents.iter().filter(|(_, of)| *of == parent);
        members.extend(children.map(|(pid, _)| pid));
        next += 1;
    }
    members
}

/// The CPU time they have used since they started; those that have ended count nothing.
pub(super) fn cpu_time(pids: &[u32]) -> Duration {
    let ticks: u64 = pids.iter().filter_map(|&pid| Some(stat(pid)?.ticks)).sum();
    Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64)
}

/// The most memory that processes have ever had in RAM (`VmHWM`), in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PeakMemory {
    /// Of all, added up; pages that they share count for each.
    pub(super) sum: f64,
    /// Of the one that had the most.
    pub(super) largest: f64,
}

/// The peaks of these processes.
pub(super) fn peak_memory(pids: &[u32]) -> PeakMemory {
    let peaks = pids
        .iter()
        .filter_map(|pid| peak_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?));
    let none = PeakMemory {
        sum: 0.0,
        largest: 0.0,
    };
    peaks.fold(none, |so_far, bytes| PeakMemory {
        sum: so_far.sum + bytes as f64,
        largest: so_far.largest.max(bytes as f64),
    })
}

/// The memory that a process has in RAM (`VmRSS`), in bytes.
pub(super) fn memory(pid: u32) -> Option<u64> {
    bytes_in(
        &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        "VmRSS:",
    )
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// In user and in system mode.
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name in parentheses may contain anything, parentheses included.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let parent = fields.nth(1)?.parse().ok()?;
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Stat {
        parent,
        ticks: user + system,
    })
}

fn peak_in(status: &str) -> Option<u64> {
    bytes_in(status, "VmHWM:")
}

fn bytes_in(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 150 25 9 9 20 0 4 0 100 1 2";
        assert_eq!(
            parse_stat(text),
            Some(Stat {
                parent: 7,
                ticks: 175
            })
        );
        assert_eq!(
            peak_in("Name:\tx\nVmHWM:\t    5124 kB\nVmRSS:\t 1 kB\n"),
            Some(5124 * 1024)
        );
    }

    #[test]
    fn finds_itself_and_its_children() {
        const MIB: f64 = 1024.0 * 1024.0;
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let own = std::process::id();
        let family = families(&[own]);
        assert!(family.contains(&own) && family.contains(&child.id()));
        let (one, two) = (peak_memory(&[own]), peak_memory(&[own, child.id()]));
        assert!(one.sum > MIB && one.largest == one.sum, "{one:?}");
        assert!(
            two.sum > two.largest && two.largest >= one.largest,
            "{two:?}"
        );
        assert!(families(&[child.id()]) == [child.id()]);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
