//! The inventory: a GPU source, the host's resources, and the log of problems.

use std::{collections::BTreeMap, error::Error, fmt, time::Duration};

use parking_lot::Mutex;
use pool_registry_types::{Capabilities, MAX_GPUS};
use tracing::{info, warn};

use crate::{
    amd::AmdSource,
    host::HostResources,
    nvml::NvmlSource,
    problem::GpuError,
    problem_log::{ProblemChanges, ProblemLog},
    reader::Reader,
    reading::GpuReading,
    snapshot::Snapshot,
    source::{GpuSource, NoGpus},
};

/// How long a reading may take. A healthy driver needs a few milliseconds, and up to a second the
/// first time. A heartbeat waits no longer than this for a driver that hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The hardware of this machine, read on each call.
///
/// Problems are logged once when they begin and once when they are over.
pub struct Inventory {
    reader: Reader,
    host: HostResources,
    timeout: Duration,
    problems: Mutex<ProblemLog>,
}

impl Inventory {
    /// Detects the GPUs of this machine: NVIDIA's if their library is installed, even when the
    /// driver does not work yet; otherwise AMD's if there are some; otherwise none.
    #[must_use]
    pub fn detect() -> Self {
        Self::new(
            detect_source(NvmlSource::new(), AmdSource::new()),
            HostResources::detect(),
        )
    }

    /// An inventory of what `source` reads.
    #[must_use]
    pub fn new(source: Box<dyn GpuSource>, host: HostResources) -> Self {
        Self::with_timeout(source, host, READ_TIMEOUT)
    }

    /// An inventory that waits no longer than `timeout` for a reading.
    #[must_use]
    pub fn with_timeout(
        source: Box<dyn GpuSource>,
        host: HostResources,
        timeout: Duration,
    ) -> Self {
        Self {
            reader: Reader::start(source),
            host,
            timeout,
            problems: Mutex::default(),
        }
    }

    /// Reads the GPUs.
    #[must_use]
    pub fn read(&self) -> Snapshot {
        let snapshot = self.reader.read(self.timeout);
        let ProblemChanges { begun, over } = self.problems.lock().update(problems(&snapshot));
        for (subject, problem) in begun {
            warn!(subject, problem, "a GPU problem");
        }
        for (subject, problem) in over {
            info!(subject, problem, "a GPU problem is over");
        }
        snapshot
    }

    /// CPU cores and memory.
    #[must_use]
    pub fn host(&self) -> &HostResources {
        &self.host
    }

    /// The capabilities for a registration: the GPUs that answer, CPU cores and memory.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let snapshot = self.read();
        let usable = snapshot.gpus.iter().filter(|gpu| gpu.is_usable());
        Capabilities {
            gpus: usable.take(MAX_GPUS).map(GpuReading::to_wire).collect(),
            cpu_cores: self.host.cpu_cores,
            ram_total_bytes: self.host.ram_total_bytes,
        }
    }

    /// Free memory in bytes of the devices that `mask` names; see [`Snapshot::vram_free_for`] for
    /// masks. A name that matches no device counts as 0 and is logged once. For several masks, call
    /// [`read`](Self::read) once and [`vram_free_in`](Self::vram_free_in) for each.
    #[must_use]
    pub fn vram_free_for(&self, mask: Option<&str>) -> u64 {
        self.vram_free_in(&self.read(), mask)
    }

    /// The same for an earlier reading.
    #[must_use]
    pub fn vram_free_in(&self, snapshot: &Snapshot, mask: Option<&str>) -> u64 {
        let (free, unknown) = snapshot.vram_free_for(mask);
        if snapshot.problem.is_some() {
            // The devices are not known, and the reason was logged.
            return free;
        }
        let mut problems = self.problems.lock();
        for name in unknown {
            if problems.is_new_name(name) {
                warn!(
                    device = ?name,
                    gpus = snapshot.gpus.len(),
                    "a device mask names no working device of this machine; correct the mask of \
                     the pool, or fix the GPU"
                );
            }
        }
        free
    }
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inventory")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

fn detect_source(mut nvml: NvmlSource, mut amd: AmdSource) -> Box<dyn GpuSource> {
    match nvml.read() {
        Err(GpuError::NoLibrary(_)) => {}
        Ok(gpus) if gpus.is_empty() => {}
        Ok(gpus) => {
            info!(gpus = gpus.len(), "NVIDIA GPUs found");
            return Box::new(nvml);
        }
        // The library is installed, so these GPUs should work. The first reading logs what is
        // wrong.
        Err(_) => return Box::new(nvml),
    }
    match amd.read() {
        Ok(gpus) if !gpus.is_empty() => {
            info!(gpus = gpus.len(), "AMD GPUs found");
            Box::new(amd)
        }
        _ => {
            info!("no GPU found");
            Box::new(NoGpus)
        }
    }
}

/// Every problem by its subject.
fn problems(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let whole = snapshot
        .problem
        .iter()
        .map(|error| ("all GPUs".to_owned(), chain(error)));
    let troubled = snapshot.gpus.iter().filter(|gpu| !gpu.problems.is_empty());
    let single = troubled.map(|gpu| {
        let texts: Vec<_> = gpu.problems.iter().map(ToString::to_string).collect();
        (format!("GPU{} {}", gpu.index, gpu.name), texts.join("; "))
    });
    whole.chain(single).collect()
}

/// An error and its causes.
fn chain(error: &GpuError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
