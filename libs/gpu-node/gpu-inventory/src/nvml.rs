//! NVIDIA's GPUs, through NVML.

use std::{path::PathBuf, sync::Arc};

use nvml_wrapper::{
    Device, Nvml, enum_wrappers::device::TemperatureSensor, error::NvmlError,
    struct_wrappers::device::MemoryInfo,
};

use crate::{
    nvml_faults::{FaultCollector, LatestFaults},
    problem::{ErrorText, GpuError, GpuProblem},
    reading::{GpuReading, MigReading},
    source::GpuSource,
};

/// The value of `nvmlDeviceGetMigMode` for a divided GPU.
const MIG_ENABLED: u32 = 1;

/// NVIDIA's GPUs. The driver's library is opened by the first reading, and again after a failed
/// one, so that a driver that is loaded later is found.
#[derive(Debug, Default)]
pub struct NvmlSource {
    library: Option<PathBuf>,
    session: Option<Session>,
    faults: LatestFaults,
}

/// An open library.
#[derive(Debug)]
struct Session {
    nvml: Arc<Nvml>,
    // Its thread has a share of the library, and ends with the session.
    _collector: FaultCollector,
}

impl NvmlSource {
    /// With the library `libnvidia-ml.so.1` that the system's loader finds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the library at `path`.
    #[must_use]
    pub fn with_library(path: impl Into<PathBuf>) -> Self {
        Self {
            library: Some(path.into()),
            ..Self::default()
        }
    }

    fn open(&self) -> Result<Session, GpuError> {
        let nvml = match &self.library {
            None => Nvml::init(),
            Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        };
        let nvml = Arc::new(nvml.map_err(whole_error)?);
        let gpus = nvml.device_count().map_err(whole_error)?;
        Ok(Session {
            _collector: FaultCollector::start(&nvml, gpus, &self.faults),
            nvml,
        })
    }
}

impl GpuSource for NvmlSource {
    fn read(&mut self) -> Result<Vec<GpuReading>, GpuError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.open()?,
        };
        let count = session.nvml.device_count().map_err(whole_error)?;
        let driver = session.nvml.sys_driver_version().ok();
        let gpus: Vec<_> = (0..count)
            .map(|index| {
                let mut gpu = read_gpu(&session.nvml, index, driver.clone());
                let fault = self.faults.of(index).map(GpuProblem::Fault);
                gpu.problems.extend(fault);
                gpu
            })
            .collect();
        // A GPU that was reset is visible only in a new session.
        if gpus.iter().all(GpuReading::is_usable) {
            self.session = Some(session);
        }
        Ok(gpus)
    }
}

fn read_gpu(nvml: &Nvml, index: u32, driver_version: Option<String>) -> GpuReading {
    let mut gpu = GpuReading {
        index,
        driver_version,
        ..GpuReading::default()
    };
    match nvml.device_by_index(index) {
        Ok(device) => read_device(&device, &mut gpu),
        Err(error) => gpu.problems.push(gpu_problem("handle", &error)),
    }
    if !gpu.is_usable() {
        // What else was wrong has the same reason.
        gpu.problems = vec![GpuProblem::Lost];
    }
    if gpu.name.is_empty() {
        gpu.name = "NVIDIA GPU".to_owned();
    }
    gpu
}

fn read_device(device: &Device<'_>, gpu: &mut GpuReading) {
    match device.name() {
        Ok(name) => gpu.name = name,
        Err(error) => gpu.problems.push(gpu_problem("name", &error)),
    }
    match device.memory_info() {
        Ok(memory) => take_memory(&memory, gpu),
        Err(error) => gpu.problems.push(memory_problem(&error)),
    }
    // Not every GPU reports these values.
    gpu.uuid = device.uuid().ok();
    gpu.compute_capability = device
        .cuda_compute_capability()
        .ok()
        .map(|version| format!("{}.{}", version.major, version.minor));
    gpu.utilization_percent = device.utilization_rates().ok().map(|rates| rates.gpu);
    gpu.temperature_celsius = device.temperature(TemperatureSensor::Gpu).ok();
    gpu.power_milliwatts = device.power_usage().ok();
    if device
        .mig_mode()
        .is_ok_and(|mode| mode.current == MIG_ENABLED)
    {
        gpu.problems.push(GpuProblem::Divided);
        gpu.mig = read_instances(device);
    }
    // Several calls may have failed for the same reason.
    gpu.problems.sort();
    gpu.problems.dedup();
}

fn take_memory(memory: &MemoryInfo, gpu: &mut GpuReading) {
    gpu.vram_total_bytes = Some(memory.total);
    gpu.vram_used_bytes = Some(memory.used);
    gpu.vram_free_bytes = Some(memory.free);
}

/// The MIG instances; their numbers may have gaps.
fn read_instances(device: &Device<'_>) -> Vec<MigReading> {
    let most = device.mig_device_count().unwrap_or(0);
    let instances = (0..most).filter_map(|index| device.mig_device_by_index(index).ok());
    instances
        .filter_map(|instance| {
            let memory = instance.memory_info().ok();
            Some(MigReading {
                uuid: instance.uuid().ok()?,
                vram_total_bytes: memory.as_ref().map(|memory| memory.total),
                vram_free_bytes: memory.as_ref().map(|memory| memory.free),
            })
        })
        .collect()
}

fn whole_error(error: NvmlError) -> GpuError {
    match error {
        NvmlError::LibloadingError(error) => GpuError::NoLibrary(ErrorText::of(&error)),
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            GpuError::WrongLibrary(ErrorText::of(&error))
        }
        NvmlError::DriverNotLoaded => GpuError::NoDriver,
        NvmlError::LibRmVersionMismatch => GpuError::VersionMismatch,
        NvmlError::NoPermission => GpuError::NoPermission,
        other => GpuError::Driver(ErrorText::of(&other)),
    }
}

fn gpu_problem(what: &'static str, error: &NvmlError) -> GpuProblem {
    match error {
        NvmlError::GpuLost | NvmlError::ResetRequired => GpuProblem::Lost,
        other => GpuProblem::Unreadable {
            what,
            why: other.to_string(),
        },
    }
}

fn memory_problem(error: &NvmlError) -> GpuProblem {
    match error {
        // The older call has no safe wrapper, so an old driver gives no memory figures.
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => GpuProblem::OldDriver,
        other => gpu_problem("memory", other),
    }
}
