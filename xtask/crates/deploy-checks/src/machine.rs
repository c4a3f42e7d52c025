//! A Debian machine of its own: a fresh root directory, entered in namespaces of its own, with
//! systemd or without. `cargo xtask deploy-check` installs the packages in it. Nothing in it sees
//! the host's services, network or mounts, and all of it ends with the process that entered it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result};

use child_process::{Group, Process, succeed};
use test_clock::wait_for_some;
use workspace_build::target;

/// What is in the root beside the essential: what the packages depend on, what a minimal machine
/// has, and `ip` for the loopback.
const INCLUDED: &str = "systemd,dbus,iproute2";

/// How long systemd may take to bring up a machine that has next to nothing.
const BOOT: Duration = Duration::from_secs(60);

/// Enters a root without systemd: arguments are the root and the command.
const ENTER: &str = r#"
set -e
root="$1"
shift
mount -t proc proc "$root/proc"
exec chroot "$root" /bin/sh -c 'ip link set lo up; exec "$@"' sh "$@"
"#;

/// Makes the file system that systemd expects of a container, and becomes its first process.
/// Arguments: the root.
const BOOT_UP: &str = r#"
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs run
pivot_root . mnt
umount -l /mnt
ip link set lo up
exec env -i container=namespaces PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --log-target=console --show-status=no --unit=multi-user.target
"#;

/// What a command in the machine finds in its environment.
const ENVIRONMENT: [&str; 3] = [
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND=noninteractive",
    "LC_ALL=C.UTF-8",
];

/// Namespaces of every machine; `--kill-child` ends all of it with `unshare`.
const NAMESPACES: [&str; 7] = [
    "--mount",
    "--uts",
    "--ipc",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
];

/// Why there can be no such machine here, in words; `None` where there can. Without a root it makes
/// one.
pub fn missing() -> Option<String> {
    cannot_enter()
        .map(str::to_owned)
        .or_else(|| archive().err().map(|error| format!("{error:#}")))
}

fn cannot_enter() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("that needs root");
    }
    if succeed(Command::new("mmdebstrap").arg("--version")).is_err() {
        return Some("that needs mmdebstrap (Debian: apt-get install mmdebstrap)");
    }
    if succeed(Command::new("unshare").args(NAMESPACES).arg("true")).is_err() {
        return Some("namespaces may not be made here");
    }
    None
}

/// A fresh root directory; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    /// Unpacks a root of the Debian that runs here, for which the programs are built as well.
    pub(crate) fn unpack() -> Result<Self> {
        let archive = archive()?;
        let directory = tempfile::Builder::new()
            .prefix("machine-")
            .tempdir_in(target())
            .context("cannot create a directory for a root")?;
        succeed(
            Command::new("tar")
                .arg("-xf")
                .arg(archive)
                .arg("-C")
                .arg(directory.path()),
        )?;
        Ok(Self { directory })
    }

    /// Where a path of the machine is outside of it.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.directory.path().join(inside.trim_start_matches('/'))
    }

    /// A command that runs in it, without systemd.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(NAMESPACES)
            .args(["sh", "-c", ENTER, "sh"])
            .arg(self.directory.path())
            .args(["env", "-i"])
            .args(ENVIRONMENT)
            .args(words);
        command
    }

    /// Starts systemd in it.
    pub(crate) fn boot(&self, log: &Path) -> Result<Booted> {
        let group = ControlGroup::new()?;
        // However this process ends, the machine ends with it.
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                r#"set -e; echo $$ > "$1/cgroup.procs"; shift; exec setpriv --pdeathsig KILL unshare "$@""#,
                "sh",
            ])
            .arg(&group.path)
            .args(NAMESPACES)
            .args(["--cgroup", "sh", "-c", BOOT_UP, "sh"])
            .arg(self.directory.path());
        let mut process = Process::spawn("systemd", &mut command, log, Group::Own)?;
        let outside = process.pid();
        let children = format!("/proc/{outside}/task/{outside}/children");
        let up = wait_for_some("systemd to be up", BOOT, || {
            if let Some(status) = process.ended() {
                return Some(Err(status));
            }
            let init = fs::read_to_string(&children).ok()?.trim().to_owned();
            // What runs in it says so only after the shell has become systemd and has brought all
            // up.
            let state = Booted::enter(&init, &["systemctl", "is-system-running"])
                .output()
                .ok()?;
            (String::from_utf8_lossy(&state.stdout).trim() == "running").then_some(Ok(init))
        });
        let said = process.log().tail(20);
        let init = up
            .and_then(|up| up.map_err(|status: ExitStatus| anyhow::anyhow!("{status}")))
            .with_context(|| format!("the machine does not come up:\n{said}"))?;
        Ok(Booted {
            init,
            process,
            _group: group,
        })
    }
}

/// A machine under systemd; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Booted {
    /// The process id of its first process, outside.
    init: String,
    process: Process,
    /// Removed after the process, which empties it.
    _group: ControlGroup,
}

impl Booted {
    /// A command that runs in it.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        Self::enter(&self.init, words)
    }

    fn enter(init: &str, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target", init, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
            ])
            .args(["--", "env", "-i"])
            .args(ENVIRONMENT)
            .args(words);
        command
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// A control group below the root of the hierarchy, where the machine's systemd makes its own.
#[derive(Debug)]
struct ControlGroup {
    path: PathBuf,
}

impl ControlGroup {
    fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
        let hierarchy =
            hierarchy(&mounts).context("there is no hierarchy of control groups (cgroup2)")?;
        let path = Path::new(hierarchy).join(format!("llorch-machine-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    /// Removes the groups below first.
    fn remove(path: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                Self::remove(&entry.path())?;
            }
        }
        fs::remove_dir(path)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // The last process of the machine may still be ending.
        let gone = wait_for_some("the end of a control group", BOOT, || {
            Self::remove(&self.path).ok()
        });
        if let Err(error) = gone {
            println!("{}: {error:#}", self.path.display());
        }
    }
}

/// Where cgroup2 is mounted, in the text of `/proc/mounts`.
fn hierarchy(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let place = words.nth(1)?;
        (words.next()? == "cgroup2").then_some(place)
    })
}

/// The root as an archive: made once, half a minute and the network; then kept.
fn archive() -> Result<PathBuf> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let suite = codename(&release).context("/etc/os-release names no version of Debian")?;
    let directory = target().join("machines");
    fs::create_dir_all(&directory)?;
    let archive = directory.join(format!("{suite}-{INCLUDED}.tar"));
    if !archive.is_file() {
        println!("making a root of Debian {suite}");
        let unfinished = directory.join(format!("unfinished-{}.tar", std::process::id()));
        succeed(
            Command::new("mmdebstrap")
                .args(["--quiet", "--variant=minbase", "--include", INCLUDED, suite])
                .arg(&unfinished),
        )?;
        fs::rename(&unfinished, &archive)?;
    }
    Ok(archive)
}

/// The name of the release in the text of `/etc/os-release`.
fn codename(release: &str) -> Option<&str> {
    release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_the_system_says_of_itself() {
        assert_eq!(
            codename("ID=debian\nVERSION_CODENAME=bookworm\n"),
            Some("bookworm")
        );
        assert_eq!(codename("ID=arch\n"), None);
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified \
                      cgroup2 rw 0 0\n";
        assert_eq!(hierarchy(mounts), Some("/sys/fs/cgroup/unified"));
        assert_eq!(hierarchy("tmpfs /run tmpfs rw 0 0\n"), None);
    }
}
