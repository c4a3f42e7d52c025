//! CPU cores, memory and name of this machine.

use std::{fs, io, num::NonZeroUsize, path::Path, thread};

/// The resources of the process apart from GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostResources {
    /// CPU cores that this process may use, by its affinity and the CPU quota of its cgroup.
    pub cpu_cores: u32,
    /// Memory in bytes: of the machine, or the limit of the process's cgroup if that is lower; 0
    /// when it is not known.
    pub ram_total_bytes: u64,
}

impl HostResources {
    /// Reads them from the system.
    #[must_use]
    pub fn detect() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            cpu_cores: u32::try_from(cores).unwrap_or(u32::MAX),
            ram_total_bytes: ram(Path::new("/")),
        }
    }
}

/// The name of this machine.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub fn hostname() -> io::Result<String> {
    hostname::get()?
        .into_string()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the hostname is not UTF-8"))
}

/// The id that the kernel gives each start of the machine; `None` where it gives none.
#[must_use]
pub fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// Memory in bytes, from the files of a system with the given root.
fn ram(root: &Path) -> u64 {
    let installed = fs::read_to_string(root.join("proc/meminfo"))
        .ok()
        .and_then(|text| mem_total(&text));
    installed
        .into_iter()
        .chain(cgroup_limit(root))
        .min()
        .unwrap_or(0)
}

/// `MemTotal` of `/proc/meminfo` in bytes.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    // The kernel writes "kB" and means 1024 bytes.
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The lowest memory limit of the process's cgroup and those above it.
fn cgroup_limit(root: &Path) -> Option<u64> {
    let membership = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let (version, group) = memory_group(&membership)?;
    let (mount, file) = match version {
        Version::Two => ("sys/fs/cgroup", "memory.max"),
        Version::One => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    };
    let mount = root.join(mount);
    let own = Path::new(group.trim_start_matches('/'));
    // In a container its own group may be the root of the mount, so skip missing groups.
    let limits = own.ancestors().filter_map(|above| {
        let text = fs::read_to_string(mount.join(above).join(file)).ok()?;
        limit(&text)
    });
    limits.min()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The group that limits memory, from `/proc/self/cgroup` (`hierarchy:controllers:path` per line).
/// If both versions are in use, version 1 has the memory controller if it lists it.
fn memory_group(membership: &str) -> Option<(Version, &str)> {
    let mut found = None;
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers
            .split(',')
            .any(|controller| controller == "memory")
        {
            return Some((Version::One, path));
        }
        if controllers.is_empty() {
            found = Some((Version::Two, path));
        }
    }
    found
}

/// A limit in bytes; `max` means none. Version 1 writes a number above the installed memory
/// instead.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The root of a system with these files.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:       16318000 kB\nMemFree:         1000000 kB\n",
    );
    const INSTALLED: u64 = 16_318_000 * 1024;

    #[test]
    fn the_lower_of_memory_and_limit() {
        let two = ("proc/self/cgroup", "0::/system.slice/agent.service\n");
        let one = (
            "proc/self/cgroup",
            "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/y\n",
        );
        for (files, expected) in [
            (&[] as &[_], 0),
            (&[MEMINFO], INSTALLED),
            (&[("proc/meminfo", "MemTotal: many kB")], 0),
            (&[MEMINFO, two], INSTALLED),
            (
                &[
                    MEMINFO,
                    two,
                    (
                        "sys/fs/cgroup/system.slice/agent.service/memory.max",
                        "max\n",
                    ),
                ],
                INSTALLED,
            ),
            (
                &[
                    MEMINFO,
                    two,
                    (
                        "sys/fs/cgroup/system.slice/agent.service/memory.max",
                        "4096\n",
                    ),
                ],
                4096,
            ),
            // A group above may allow less.
            (
                &[
                    MEMINFO,
                    two,
                    (
                        "sys/fs/cgroup/system.slice/agent.service/memory.max",
                        "4096\n",
                    ),
                    ("sys/fs/cgroup/system.slice/memory.max", "2048\n"),
                ],
                2048,
            ),
            // In a container the root of the mount is the group.
            (
                &[MEMINFO, two, ("sys/fs/cgroup/memory.max", "8192\n")],
                8192,
            ),
            (
                &[
                    MEMINFO,
                    one,
                    (
                        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes",
                        "1024\n",
                    ),
                ],
                1024,
            ),
            (
                &[
                    MEMINFO,
                    one,
                    (
                        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes",
                        "9223372036854771712\n",
                    ),
                ],
                INSTALLED,
            ),
        ] {
            assert_eq!(ram(system(files).path()), expected, "{files:?}");
        }
    }

    #[test]
    fn this_machine_has_resources() {
        let host = HostResources::detect();
        assert!(host.cpu_cores >= 1);
        assert!(host.ram_total_bytes > 16 * 1024 * 1024, "{host:?}");
        assert!(!hostname().unwrap().is_empty());
    }
}
