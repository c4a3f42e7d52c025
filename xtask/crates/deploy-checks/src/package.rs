//! Debian packages: a tree of files and `dpkg-deb`, which every Debian machine has.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use child_process::succeed;
use reference_docs::settings::{Daemon, daemons};
use workspace_build::{BIN_DIR_VARIABLE, Binaries, root};

use crate::manual;

/// The version of the packages is that of the workspace's binaries.
const MANIFEST: &str = "bin/orchestratord/Cargo.toml";

/// Names of the scripts that dpkg calls.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// How hard dpkg-deb tries. A package that is only looked at need not be small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As small as possible.
    Best,
    /// Without compression.
    Fast,
}

/// What is packed.
#[derive(Debug)]
pub struct Programs {
    daemons: Binaries,
    llorch: PathBuf,
}

impl Programs {
    /// Where the daemons are.
    pub(crate) fn directory(&self) -> &Path {
        self.daemons.directory()
    }

    /// All programs, built as `binaries` are.
    pub fn with(binaries: Binaries, release: bool) -> Result<Self> {
        let beside = binaries.directory().join(TOOL);
        let llorch = if std::env::var_os(BIN_DIR_VARIABLE).is_some() && beside.is_file() {
            beside
        } else {
            let options: &[&str] = if release { &["--release"] } else { &[] };
            workspace_build::executable(&workspace_build::build(&[TOOL], options)?, TOOL)?
        };
        Ok(Self {
            daemons: binaries,
            llorch,
        })
    }
}

/// The command line tool.
const TOOL: &str = "llorch";

/// A package: a program, and with a daemon its units, settings, user and directories.
struct Package<'a> {
    name: &'static str,
    binary: &'a Path,
    daemon: Option<(&'a Daemon, &'static [&'static str])>,
}

/// Builds all packages into `out` and returns their files.
pub fn build(programs: &Programs, out: &Path, compression: Compression) -> Result<Vec<PathBuf>> {
    let binaries = &programs.daemons;
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let daemons = daemons(binaries)?;
    let [orchestratord, pool_managerd] = &daemons;
    let packages = [
        Package {
            name: orchestratord.name,
            binary: &binaries.orchestratord,
            daemon: Some((
                orchestratord,
                &["orchestratord.service", "orchestratord.socket"],
            )),
        },
        Package {
            name: pool_managerd.name,
            binary: &binaries.pool_managerd,
            daemon: Some((pool_managerd, &["pool-managerd.service"])),
        },
        Package {
            name: TOOL,
            binary: &programs.llorch,
            daemon: None,
        },
    ];
    packages
        .iter()
        .map(|package| package.build(out, compression))
        .collect()
}

impl Package<'_> {
    fn build(&self, out: &Path, compression: Compression) -> Result<PathBuf> {
        let name = self.name;
        let version = version()?;
        let architecture = succeed(Command::new("dpkg").arg("--print-architecture"))?;
        let architecture = architecture.trim();
        let staged = tempfile::tempdir().context("cannot create a temporary directory")?;
        let tree = Tree(staged.path());
        self.stage(tree)?;
        let control = fs::read_to_string(deploy(&format!("debian/{name}/control")))?
            .replace("@VERSION@", &version)
            .replace("@ARCH@", architecture)
            .replace("@GLIBC@", &glibc(self.binary)?)
            .replace("@SIZE@", &kibibytes(tree.0)?.to_string());
        tree.write("DEBIAN/control", control.as_bytes(), 0o644)?;
        for script in SCRIPTS.iter().filter(|_| self.daemon.is_some()) {
            tree.copy(
                &deploy(&format!("debian/{name}/{script}")),
                &format!("DEBIAN/{script}"),
                0o755,
            )?;
        }
        if self.daemon.is_some() {
            let conffiles = format!("/etc/default/{name}\n");
            tree.write("DEBIAN/conffiles", conffiles.as_bytes(), 0o644)?;
        }
        let file = out.join(format!("{name}_{version}_{architecture}.deb"));
        succeed(
            Command::new("dpkg-deb")
                .arg(match compression {
                    Compression::Best => "-z9",
                    Compression::Fast => "-z0",
                })
                .args(["--root-owner-group", "--build"])
                .args([tree.0, &file])
                .env("SOURCE_DATE_EPOCH", source_date()?),
        )?;
        Ok(file)
    }

    fn stage(&self, tree: Tree<'_>) -> Result<()> {
        let name = self.name;
        let program = format!("usr/bin/{name}");
        tree.copy(self.binary, &program, 0o755)?;
        // Symbols are half of the file, and a panic names its place without them.
        succeed(
            Command::new("strip")
                .arg("--strip-unneeded")
                .arg(tree.0.join(&program)),
        )?;
        let documents = format!("usr/share/doc/{name}");
        tree.copy(
            &deploy("debian/copyright"),
            &format!("{documents}/copyright"),
            0o644,
        )?;
        let changes = fs::read_to_string(root().join("CHANGELOG.md"))?;
        tree.compressed(&format!("{documents}/changelog.gz"), &changes)?;
        let Some((daemon, units)) = self.daemon else {
            return self.stage_tool(tree);
        };
        for unit in units {
            tree.copy(
                &deploy(&format!("systemd/{unit}")),
                &format!("lib/systemd/system/{unit}"),
                0o644,
            )?;
        }
        let dropin = deploy(&format!("dropins/{name}-engines.conf"));
        if dropin.is_file() {
            tree.copy(&dropin, &format!("usr/share/{name}/engines.conf"), 0o644)?;
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
        let help = succeed(Command::new(self.binary).arg("--help"))?;
        tree.compressed(
            &format!("usr/share/man/man8/{name}.8.gz"),
            &manual::page(daemon, &help),
        )
    }

    /// What the tool writes about itself.
    fn stage_tool(&self, tree: Tree<'_>) -> Result<()> {
        let ask = |arguments: &[&str]| succeed(Command::new(self.binary).args(arguments));
        tree.compressed("usr/share/man/man1/llorch.1.gz", &ask(&["man"])?)?;
        for (shell, to) in [
            ("bash", "usr/share/bash-completion/completions/llorch"),
            ("zsh", "usr/share/zsh/vendor-completions/_llorch"),
            ("fish", "usr/share/fish/vendor_completions.d/llorch.fish"),
        ] {
            tree.write(to, ask(&["completions", shell])?.as_bytes(), 0o644)?;
        }
        Ok(())
    }
}

/// Builds the packages twice, which must give the same, and looks at what is in them.
pub fn check(programs: &Programs) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let (once, again) = (directory.path().join("1"), directory.path().join("2"));
    let packages = build(programs, &once, Compression::Fast)?;
    for (first, second) in packages
        .iter()
        .zip(build(programs, &again, Compression::Fast)?)
    {
        ensure!(
            fs::read(first)? == fs::read(&second)?,
            "{} comes out differently each time",
            second.display()
        );
        let name = succeed(
            Command::new("dpkg-deb")
                .arg("--field")
                .arg(first)
                .arg("Package"),
        )?;
        let name = name.trim();
        let root = directory.path().join(name);
        succeed(
            Command::new("dpkg-deb")
                .arg("--raw-extract")
                .args([first, &root]),
        )?;
        let said = succeed(Command::new(root.join("usr/bin").join(name)).arg("--version"))?;
        ensure!(
            said.starts_with(&format!("{name} {}", version()?)),
            "{name} of the package says {said:?}"
        );
        if name == TOOL {
            continue;
        }
        for script in SCRIPTS {
            succeed(
                Command::new("sh")
                    .arg("-n")
                    .arg(root.join("DEBIAN").join(script)),
            )?;
        }
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
        // The directories of a package are readable for all, whatever the umask of the build is.
        for directory in parent
            .ancestors()
            .take_while(|directory| *directory != self.0)
        {
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
        succeed(Command::new("gzip").args(["-9n"]).arg(self.0.join(plain))).map(drop)
    }
}

fn deploy(path: &str) -> PathBuf {
    root().join("ci/deploy").join(path)
}

/// The version in the manifest. Before 1.0 a package of a working copy is told from a release by
/// its revision only.
pub(crate) fn version() -> Result<String> {
    let manifest = fs::read_to_string(root().join(MANIFEST))?;
    manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .with_context(|| format!("{MANIFEST} has no version"))
}

/// When the last commit was made: the time of every file in the package. Without git, the beginning
/// of time.
fn source_date() -> Result<String> {
    if let Ok(date) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(date);
    }
    let mut command = Command::new("git");
    command
        .current_dir(root())
        .args(["log", "-1", "--format=%ct"]);
    Ok(succeed(&mut command).map_or_else(|_| "0".to_owned(), |date| date.trim().to_owned()))
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
fn glibc(binary: &Path) -> Result<String> {
    let versions = succeed(
        Command::new("grep")
            .args([
                "--text",
                "--only-matching",
                "--extended-regexp",
                r"GLIBC_2\.[0-9]+",
            ])
            .arg(binary),
    )?;
    newest(&versions)
        .with_context(|| format!("{} asks for no glibc: is it a program?", binary.display()))
}

fn newest(versions: &str) -> Option<String> {
    let minors = versions
        .lines()
        .filter_map(|version| version.strip_prefix("GLIBC_2.")?.parse::<u32>().ok());
    minors.max().map(|minor| format!("2.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PACK-9
    #[test]
    fn each_program_has_what_a_package_needs() {
        for daemon in ["orchestratord", "pool-managerd", TOOL] {
            let control = fs::read_to_string(deploy(&format!("debian/{daemon}/control"))).unwrap();
            for mark in ["@VERSION@", "@ARCH@", "@GLIBC@", "@SIZE@"] {
                assert!(control.contains(mark), "{daemon}: {mark}");
            }
        }
    }

    // spec: PACK-31
    #[test]
    fn an_upgrade_leaves_a_control_plane_alone_that_starts_engines() {
        let script = fs::read_to_string(deploy("debian/orchestratord/postinst")).unwrap();
        let begin = script.find("starts_engines() {").unwrap();
        let function = &script[begin..begin + script[begin..].find("\n}\n").unwrap() + 3];
        assert!(script.contains("[ -n \"$2\" ] && starts_engines; then"));
        // The service manager names a process with this environment, or none.
        let starts_engines = |environment: &[(&str, &str)], pid: &str| {
            let service_manager = format!("systemctl() {{ echo {pid}; }}");
            let status = Command::new("sh")
                .args([
                    "-c",
                    &format!("{service_manager}\n{function}starts_engines"),
                ])
                .env_remove("ORCHESTRATORD_POOLS_FILE")
                .envs(environment.iter().copied())
                .status();
            status.unwrap().success()
        };
        let with_pools = [("ORCHESTRATORD_POOLS_FILE", "/etc/llorch/pools.toml")];
        assert!(starts_engines(&with_pools, "$$"));
        assert!(!starts_engines(&[("ORCHESTRATORD_POOLS_FILE", "")], "$$"));
        assert!(!starts_engines(&[], "$$"));
        assert!(!starts_engines(&with_pools, "0"), "it does not run");
        assert!(!starts_engines(&with_pools, ""), "it is not known");
    }

    #[test]
    fn the_newest_glibc_counts() {
        assert_eq!(
            newest("GLIBC_2.2\nGLIBC_2.34\nGLIBC_2.17\n").as_deref(),
            Some("2.34")
        );
        assert_eq!(newest(""), None);
    }

    #[test]
    fn the_version_is_found() {
        assert!(version().unwrap().split('.').count() >= 3);
    }
}
