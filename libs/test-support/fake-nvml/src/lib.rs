//! A stand-in for NVIDIA's `libnvidia-ml.so.1`, for tests on machines without GPUs.
//!
//! It is a real shared library, compiled by the test. What it says is in a file beside it, read at
//! each call, so a test changes what a running process sees.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// What the loader looks for.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// `NVML_ERROR_DRIVER_NOT_LOADED`.
pub const DRIVER_NOT_LOADED: u32 = 9;
/// `NVML_ERROR_GPU_IS_LOST`.
pub const GPU_IS_LOST: u32 = 15;

/// The library in a directory of its own.
#[derive(Debug)]
pub struct FakeNvml {
    directory: TempDir,
}

/// A GPU of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// What every call about it returns; 0 is success.
    pub code: u32,
    /// Its UUID.
    pub uuid: String,
    /// Its memory.
    pub total_bytes: u64,
    /// Memory in use.
    pub used_bytes: u64,
    /// It is divided by MIG.
    pub is_divided: bool,
}

impl Gpu {
    /// An RTX 3090 with 24 GB, all of it free.
    #[must_use]
    pub fn numbered(index: usize) -> Self {
        Self {
            code: 0,
            uuid: format!("GPU-{index}000"),
            total_bytes: 24_000_000_000,
            used_bytes: 0,
            is_divided: false,
        }
    }
}

impl FakeNvml {
    /// With two GPUs that are [numbered](Gpu::numbered).
    ///
    /// # Errors
    /// When there is no C compiler, or no directory.
    pub fn new() -> io::Result<Self> {
        Self::compiled_with(&[])
    }

    /// With further arguments for the compiler; `fake_nvml.c` says which it knows.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn compiled_with(arguments: &[&str]) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fake_nvml.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
            .arg(directory.path().join(LIBRARY))
            .args(arguments)
            .arg(source)
            .arg("-ldl")
            .output()?;
        if !compiled.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&compiled.stderr)));
        }
        let driver = Self { directory };
        driver.set(&[Gpu::numbered(0), Gpu::numbered(1)])?;
        Ok(driver)
    }

    /// Where the loader must look.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The library itself.
    #[must_use]
    pub fn library(&self) -> PathBuf {
        self.directory().join(LIBRARY)
    }

    /// Replaces the GPUs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, gpus: &[Gpu]) -> io::Result<()> {
        let mut lines = "init 0\n".to_owned();
        for gpu in gpus {
            let (code, uuid, mig) = (gpu.code, &gpu.uuid, u8::from(gpu.is_divided));
            let (total, used) = (gpu.total_bytes, gpu.used_bytes);
            let _ = writeln!(
                lines,
                "gpu {code} {uuid} {total} {used} 8 6 42 55 250000 {mig} NVIDIA GeForce RTX 3090"
            );
        }
        self.set_state(&lines)
    }

    /// Replaces the answers by these lines, atomically; `fake_nvml.c` describes them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_state(&self, lines: &str) -> io::Result<()> {
        let temporary = self.directory().join("new");
        fs::write(&temporary, lines)?;
        fs::rename(temporary, self.directory().join("state"))
    }
}

/// The Rust of the README is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_library_with_a_state_beside_it() {
        let driver = FakeNvml::new().unwrap();
        assert!(driver.library().metadata().unwrap().len() > 1000);
        let state = || fs::read_to_string(driver.directory().join("state")).unwrap();
        assert_eq!(state().matches("GPU-").count(), 2);
        driver.set_state("init 9\n").unwrap();
        assert_eq!(state(), "init 9\n");
        assert!(FakeNvml::compiled_with(&["-DNOT_NVML"]).is_ok());
        assert!(FakeNvml::compiled_with(&["--no-such-argument"]).is_err());
    }
}
