//! Debian packages: a tree of files and `dpkg-deb`, which every Debian machine has.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{
    manual,
    settings::{Daemon, daemons},
};
use crate::workspace::{Binaries, root};

/// The version of the packages is that of the workspace's binaries.
const MANIFEST: &str = "bin/orchestratord/Cargo.toml";

/// A package: a daemon with its units, settings and manual page.
struct Package<'a> {
    daemon: &'a Daemon,
    binary: &'a Path,
    units: &'static [&'static str],
}

/// Builds both packages into `out` and gives back their files.
pub(crate) fn build(binaries: &Binaries, out: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let daemons = daemons(binaries)?;
    let [orchestratord, pool_managerd] = &daemons;
    let packages = [
        Package {
            daemon: orchestratord,
            binary: &binaries.orchestratord,
            units: &["orchestratord.service", "orchestratord.socket"],
        },
        Package {
            daemon: pool_managerd,
            binary: &binaries.pool_managerd,
            units: &["pool-managerd.service"],
        },
    ];
    packages.iter().map(|package| package.build(out)).collect()
}

impl Package<'_> {
    fn build(&self, out: &Path) -> Result<PathBuf> {
        let name = self.daemon.name;
        let version = version()?;
        let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
        let architecture = architecture.trim();
        let staged = tempfile::tempdir().context("cannot create a temporary directory")?;
        let tree = Tree(staged.path());
        self.stage(tree)?;
        let control = fs::read_to_string(deploy(&format!("debian/{name}/control")))?
            .replace("@VERSION@", &version)
            .replace("@ARCH@", architecture)
            .replace("@GLIBC@", &glibc(&fs::read(self.binary)?)?)
            .replace("@SIZE@", &kibibytes(tree.0)?.to_string());
        tree.write("DEBIAN/control", control.as_bytes(), 0o644)?;
        for script in ["postinst", "prerm", "postrm"] {
            tree.copy(
                &deploy(&format!("debian/{name}/{script}")),
                &format!("DEBIAN/{script}"),
                0o755,
            )?;
        }
        tree.copy(
            &deploy(&format!("debian/{name}/conffiles")),
            "DEBIAN/conffiles",
            0o644,
        )?;
        let file = out.join(format!("{name}_{version}_{architecture}.deb"));
        output(
            Command::new("dpkg-deb")
                .args(["--root-owner-group", "--build"])
                .args([tree.0, &file])
                .env("SOURCE_DATE_EPOCH", source_date()?),
        )?;
        Ok(file)
    }

    fn stage(&self, tree: Tree<'_>) -> Result<()> {
        let name = self.daemon.name;
        let program = format!("usr/bin/{name}");
        tree.copy(self.binary, &program, 0o755)?;
        // Symbols are half of the file, and a panic names its place without them.
        output(
            Command::new("strip")
                .arg("--strip-unneeded")
                .arg(tree.0.join(&program)),
        )?;
        for unit in self.units {
            tree.copy(
                &deploy(&format!("systemd/{unit}")),
                &format!("lib/systemd/system/{unit}"),
                0o644,
            )?;
        }
        // It may hold a token.
        tree.copy(
            &deploy(&format!("default/{name}")),
            &format!("etc/default/{name}"),
            0o600,
        )?;
        // Each package alone is enough; together they say the same twice.
        for kind in ["sysusers", "tmpfiles"] {
            let to = format!("usr/lib/{kind}.d/llorch-{name}.conf");
            tree.copy(&deploy(&format!("{kind}/llorch.conf")), &to, 0o644)?;
        }
        let help = output(Command::new(self.binary).arg("--help"))?;
        tree.compressed(
            &format!("usr/share/man/man8/{name}.8.gz"),
            &manual::page(self.daemon, &help),
        )?;
        let documents = format!("usr/share/doc/{name}");
        tree.copy(
            &deploy("debian/copyright"),
            &format!("{documents}/copyright"),
            0o644,
        )?;
        let changes = fs::read_to_string(root().join("CHANGELOG.md"))?;
        tree.compressed(&format!("{documents}/changelog.gz"), &changes)
    }
}

/// Builds the packages twice, which must give the same, and looks at what is in them.
pub(crate) fn check(binaries: &Binaries) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let (once, again) = (directory.path().join("1"), directory.path().join("2"));
    let packages = build(binaries, &once)?;
    for (first, second) in packages.iter().zip(build(binaries, &again)?) {
        ensure!(
            fs::read(first)? == fs::read(&second)?,
            "{} comes out differently each time",
            second.display()
        );
        let root = directory.path().join("root");
        output(Command::new("dpkg-deb").arg("--raw-extract").args([first, &root]))?;
        for script in ["postinst", "prerm", "postrm"] {
            output(Command::new("sh").arg("-n").arg(root.join("DEBIAN").join(script)))?;
        }
        let name = output(Command::new("dpkg-deb").arg("--field").arg(first).arg("Package"))?;
        let name = name.trim();
        let said = output(Command::new(root.join("usr/bin").join(name)).arg("--version"))?;
        ensure!(
            said.starts_with(&format!("{name} {}", version()?)),
            "{name} of the package says {said:?}"
        );
        let settings = fs::metadata(root.join("etc/default").join(name))?;
        ensure!(
            settings.permissions().mode() & 0o077 == 0,
            "/etc/default/{name} can be read by everybody, and may hold a token"
        );
    }
    Ok(())
}

/// The directory that becomes the package.
#[derive(Clone, Copy)]
struct Tree<'a>(&'a Path);

impl Tree<'_> {
    fn write(self, to: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.0.join(to);
        let parent = path.parent().context("a file without a directory")?;
        // Whatever the umask of whoever builds is, the directories of a package are open.
        for directory in parent.ancestors().take_while(|directory| *directory != self.0) {
            fs::create_dir_all(directory)?;
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        }
        fs::set_permissions(self.0, fs::Permissions::from_mode(0o755))?;
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    fn copy(self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.write(to, &bytes, mode)
    }

    /// As gzip makes it without name and time, so that the same text gives the same file.
    fn compressed(self, to: &str, text: &str) -> Result<()> {
        let plain = to.strip_suffix(".gz").unwrap_or(to);
        self.write(plain, text.as_bytes(), 0o644)?;
        output(Command::new("gzip").args(["-9n"]).arg(self.0.join(plain))).map(drop)
    }
}

fn deploy(path: &str) -> PathBuf {
    root().join("ci/deploy").join(path)
}

/// The version in the manifest. Before 1.0 a package of a working copy is told from a release by its revision only.
pub(crate) fn version() -> Result<String> {
    let manifest = fs::read_to_string(root().join(MANIFEST))?;
    manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .with_context(|| format!("{MANIFEST} has no version"))
}

/// When the last commit was made: the time of every file in the package. Without git, the beginning of time.
fn source_date() -> Result<String> {
    if let Ok(date) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(date);
    }
    let mut command = Command::new("git");
    command.current_dir(root()).args(["log", "-1", "--format=%ct"]);
    Ok(output(&mut command).map_or_else(|_| "0".to_owned(), |date| date.trim().to_owned()))
}

fn kibibytes(directory: &Path) -> Result<u64> {
    let bytes: u64 = super::names::files(directory)?
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|metadata| metadata.len())
        .sum();
    Ok(bytes.div_ceil(1024))
}

/// The newest version of glibc that a binary asks for, by the names of the symbol versions in it.
fn glibc(binary: &[u8]) -> Result<String> {
    const MARK: &[u8] = b"GLIBC_2.";
    let minor = binary
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK)
        .filter_map(|(at, _)| {
            let digits: String = binary[at + MARK.len()..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .map(|&byte| char::from(byte))
                .collect();
            digits.parse::<u32>().ok()
        })
        .max();
    let minor = minor.context("the binary asks for no glibc: is it one?")?;
    Ok(format!("2.{minor}"))
}

/// What a command prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PACK-9
    #[test]
    fn each_daemon_has_what_a_package_needs() {
        for daemon in ["orchestratord", "pool-managerd"] {
            let control = fs::read_to_string(deploy(&format!("debian/{daemon}/control"))).unwrap();
            for mark in ["@VERSION@", "@ARCH@", "@GLIBC@", "@SIZE@"] {
                assert!(control.contains(mark), "{daemon}: {mark}");
            }
            let conffiles = fs::read_to_string(deploy(&format!("debian/{daemon}/conffiles"))).unwrap();
            assert_eq!(conffiles, format!("/etc/default/{daemon}\n"));
        }
    }

    #[test]
    fn the_newest_glibc_counts() {
        assert_eq!(
            glibc(b"x GLIBC_2.2.5 y GLIBC_2.34\0GLIBC_2.17\0").unwrap(),
            "2.34"
        );
        assert!(glibc(b"static").is_err());
    }

    #[test]
    fn the_version_is_found() {
        assert!(version().unwrap().split('.').count() >= 3);
    }
}
