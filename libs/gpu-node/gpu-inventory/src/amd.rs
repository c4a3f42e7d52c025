//! AMD's GPUs, from the files of the `amdgpu` driver in sysfs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{
    problem::{ErrorText, GpuError, GpuProblem},
    reading::GpuReading,
    source::GpuSource,
};

/// The kernel's list of graphics cards.
const DRM: &str = "/sys/class/drm";

/// AMD's GPUs. Their index is their position among AMD's cards in the order of the kernel's card
/// numbers, as in ROCm.
#[derive(Debug, Clone)]
pub struct AmdSource {
    root: PathBuf,
}

impl AmdSource {
    /// The cards in `/sys/class/drm`.
    #[must_use]
    pub fn new() -> Self {
        Self::with_root(DRM)
    }

    /// The cards in another folder of the same structure.
    #[must_use]
    pub fn with_root(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The devices of AMD's cards, in the order of the card numbers.
    fn devices(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            // A kernel without graphics has no such folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut cards = Vec::new();
        for entry in entries {
            let entry = entry?;
            let device = entry.path().join("device");
            // `card0` is a card, `card0-DP-1` one of its connectors. Only amdgpu has the file.
            if let Some(number) = card_number(&entry.file_name().to_string_lossy())
                && device.join("mem_info_vram_total").exists()
            {
                cards.push((number, device));
            }
        }
        cards.sort();
        Ok(cards.into_iter().map(|(_, device)| device).collect())
    }
}

impl Default for AmdSource {
    fn default() -> Self {
        Self::new()
    }
}

impl GpuSource for AmdSource {
    fn read(&mut self) -> Result<Vec<GpuReading>, GpuError> {
        let devices = self.devices().map_err(|error| GpuError::File {
            file: self.root.display().to_string(),
            source: ErrorText::of(&error),
        })?;
        Ok((0..)
            .zip(devices)
            .map(|(index, device)| read_gpu(index, &device))
            .collect())
    }
}

fn card_number(name: &str) -> Option<u32> {
    name.strip_prefix("card")?.parse().ok()
}

fn read_gpu(index: u32, device: &Path) -> GpuReading {
    let mut problems = Vec::new();
    let total = number(device, "mem_info_vram_total");
    let used = number(device, "mem_info_vram_used");
    if let Some(error) = total.as_ref().err().or(used.as_ref().err()) {
        problems.push(GpuProblem::Unreadable {
            what: "memory",
            why: error.to_string(),
        });
    }
    let (total, used) = (total.ok(), used.ok());
    let sensors = first_sensor(device);
    let sensor = |name: &str| number::<u64>(sensors.as_deref()?, name).ok();
    GpuReading {
        index,
        name: name(device),
        uuid: text(device, "unique_id").ok().map(|id| format!("GPU-{id}")),
        vram_total_bytes: total,
        vram_used_bytes: used,
        vram_free_bytes: total
            .zip(used)
            .map(|(total, used): (u64, u64)| total.saturating_sub(used)),
        utilization_percent: number(device, "gpu_busy_percent").ok(),
        // Thousandths of a degree and millionths of a watt.
        temperature_celsius: sensor("temp1_input")
            .and_then(|value| u32::try_from(value / 1000).ok()),
        power_milliwatts: sensor("power1_average")
            .and_then(|value| u32::try_from(value / 1000).ok()),
        problems,
        ..GpuReading::default()
    }
}

/// The product name, which only server cards have; otherwise the number of the model.
fn name(device: &Path) -> String {
    let carried = text(device, "product_name")
        .ok()
        .filter(|name| !name.is_empty());
    carried.unwrap_or_else(|| {
        let model = text(device, "device").unwrap_or_default();
        format!("AMD GPU {model}").trim_end().to_owned()
    })
}

fn first_sensor(device: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(device.join("hwmon")).ok()?;
    entries.filter_map(|entry| Some(entry.ok()?.path())).min()
}

fn text(folder: &Path, file: &str) -> io::Result<String> {
    Ok(fs::read_to_string(folder.join(file))?.trim().to_owned())
}

fn number<T: FromStr>(folder: &Path, file: &str) -> io::Result<T> {
    let text = text(folder, file)?;
    text.parse().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{file} is not a number"),
        )
    })
}
