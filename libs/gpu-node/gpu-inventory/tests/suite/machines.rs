//! Simulated machines with GPUs: a fake NVML, a fake sysfs, and a file.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the helpers of a test fail like the test"
)]

use std::fs;

use fake_nvml::{FakeNvml, Gpu};
use gpu_inventory::{AmdSource, FileSource, NvmlSource};
use tempfile::TempDir;

/// Memory of each GPU in bytes.
pub(crate) const TOTAL: u64 = 24_000_000_000;

/// A machine with two NVIDIA GPUs and a driver that answers as the test sets it.
pub(crate) struct Nvidia(FakeNvml);

impl Nvidia {
    pub(crate) fn new() -> Self {
        Self::compiled_with(&[])
    }

    /// With the fake library compiled with these arguments.
    pub(crate) fn compiled_with(arguments: &[&str]) -> Self {
        let driver = FakeNvml::compiled_with(arguments);
        Self(driver.expect("a C compiler, which Rust needs for linking, too"))
    }

    pub(crate) fn source(&self) -> NvmlSource {
        NvmlSource::with_library(self.0.library())
    }

    /// Writes the state file; the file appears whole.
    pub(crate) fn state(&self, lines: &str) {
        self.0.set_state(lines).unwrap();
    }

    pub(crate) fn set_used(&self, used: [u64; 2]) {
        let gpus = [0, 1].map(|index| Gpu {
            used_bytes: used[index],
            ..Gpu::numbered(index)
        });
        self.0.set(&gpus).unwrap();
    }
}

/// A line of the state file.
pub(crate) fn gpu_line(index: usize, rc: u32, used: u64, mig: u8) -> String {
    format!(
        "gpu {rc} GPU-{index}000 {TOTAL} {used} 8 6 42 55 250000 {mig} NVIDIA GeForce RTX 3090\n"
    )
}

/// A machine with two AMD GPUs, another adapter, and connectors of the first GPU.
pub(crate) struct Amd {
    root: TempDir,
}

impl Amd {
    pub(crate) fn new() -> Self {
        let machine = Self {
            root: tempfile::tempdir().unwrap(),
        };
        machine.write("card0/device/vendor", "0x1a03\n");
        machine.write("card1-DP-1/status", "connected\n");
        machine.write("renderD128/dev", "226:128\n");
        for card in [1, 10] {
            machine.write(&format!("card{card}/device/vendor"), "0x1002\n");
            machine.write(&format!("card{card}/device/device"), "0x744c\n");
            machine.write(
                &format!("card{card}/device/unique_id"),
                &format!("ab{card}\n"),
            );
            machine.write(
                &format!("card{card}/device/mem_info_vram_total"),
                &format!("{TOTAL}\n"),
            );
            machine.write(&format!("card{card}/device/gpu_busy_percent"), "42\n");
            machine.write(
                &format!("card{card}/device/hwmon/hwmon3/temp1_input"),
                "55000\n",
            );
            machine.write(
                &format!("card{card}/device/hwmon/hwmon3/power1_average"),
                "250000000\n",
            );
        }
        machine.set_used([0, 0]);
        machine
    }

    pub(crate) fn source(&self) -> AmdSource {
        AmdSource::with_root(self.root.path())
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn set_used(&self, used: [u64; 2]) {
        for (card, used) in ["card1", "card10"].iter().zip(used) {
            self.write(
                &format!("{card}/device/mem_info_vram_used"),
                &format!("{used}\n"),
            );
        }
    }
}

/// A machine with two GPUs, described by a file.
pub(crate) struct Described {
    folder: TempDir,
}

impl Described {
    pub(crate) fn new() -> Self {
        let machine = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        machine.set_used([0, 0]);
        machine
    }

    pub(crate) fn source(&self) -> FileSource {
        FileSource::new(self.folder.path().join("gpus.json"))
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(self.folder.path().join("gpus.json"), text).unwrap();
    }

    pub(crate) fn set_used(&self, used: [u64; 2]) {
        let gpu = |index: usize| {
            serde_json::json!({
                "index": index, "name": "RTX 3090", "uuid": format!("GPU-{index}000"),
                "vram_total_bytes": TOTAL, "vram_used_bytes": used[index],
                "utilization_percent": 42,
                "temperature_celsius": 55, "power_milliwatts": 250_000,
            })
        };
        self.write(&serde_json::json!({"gpus": [gpu(0), gpu(1)]}).to_string());
    }
}
