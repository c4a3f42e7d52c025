//! Checks what an engine needs before it is started, so that an error names what is missing.

use std::{
    fs::File,
    io::{self, Read as _},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use pool_registry_types::PoolId;
use rustix::fs::Access;
use thiserror::Error;

use crate::{
    pool_file::PoolFile,
    spec::{Launch, PoolSpec},
    vram_ledger::{FreeVram, InsufficientVram, VramLedger},
};

/// The first bytes of every GGUF file.
const GGUF_MAGIC: [u8; 4] = *b"GGUF";

/// Arguments by which the operator decides how much of a model goes to the GPU.
const OFFLOAD_ARGUMENTS: [&str; 3] = ["-ngl", "--gpu-layers", "--n-gpu-layers"];

/// Something an engine needs and does not have.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PreflightError {
    /// The program does not exist.
    #[error("there is no program {program}")]
    ProgramMissing {
        /// Its name in the pool file.
        program: String,
    },
    /// The program exists but cannot be executed.
    #[error("{} cannot be executed", .0.display())]
    ProgramNotExecutable(PathBuf),
    /// The model does not exist.
    #[error("there is no model file {}", .0.display())]
    ModelMissing(PathBuf),
    /// The model cannot be read.
    #[error("the model file {} cannot be read: {}", .0.display(), .1)]
    ModelUnreadable(PathBuf, #[source] io::Error),
    /// The model has another format.
    #[error("the model file {} is not a GGUF file", .0.display())]
    ModelNotGguf(PathBuf),
    /// Another process listens on the port.
    #[error("port {port} of 127.0.0.1 is taken: {source}")]
    PortTaken {
        /// The fixed port.
        port: u16,
        /// The error of the system.
        source: io::Error,
    },
    /// The model alone is larger than the free memory of its devices.
    #[error("the model needs {} MiB of VRAM and {} MiB are free", .needed / MIB, .free / MIB)]
    NotEnoughVram {
        /// The size of the model in bytes.
        needed: u64,
        /// The free memory in bytes, without that of engines that are starting.
        free: u64,
    },
}

const MIB: u64 = 1024 * 1024;

impl From<InsufficientVram> for PreflightError {
    fn from(InsufficientVram { needed, free }: InsufficientVram) -> Self {
        Self::NotEnoughVram { needed, free }
    }
}

impl PreflightError {
    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::ProgramMissing { .. } => "install it, or correct `binary` or `command`",
            Self::ProgramNotExecutable(_) => {
                "name a program, or make the file executable with `chmod +x`"
            }
            Self::ModelMissing(_) => "create the file, or correct `model`",
            Self::ModelUnreadable(..) => {
                "allow the user of the agent to read it, or correct `model`"
            }
            Self::ModelNotGguf(_) => "convert it, download it again, or correct `model`",
            Self::PortTaken { .. } => "stop the process that listens there, or omit `port`",
            Self::NotEnoughVram { .. } => {
                "free memory, set `device_mask`, or offload a part by `args = [\"-ngl\", …]`"
            }
        }
    }
}

/// A problem that keeps the engines of a pool from starting.
#[derive(Debug)]
pub struct PreflightFinding {
    /// The pool.
    pub pool_id: PoolId,
    /// The problem.
    pub error: PreflightError,
}

/// Checks everything that the engines of `file` need, including VRAM for all of them together. Does
/// file I/O and reads the VRAM, but starts nothing.
#[must_use]
pub fn check_pool_file(file: &PoolFile, free_vram: Arc<FreeVram>) -> Vec<PreflightFinding> {
    let vram = VramLedger::new(free_vram);
    // Held to the end, so that each engine is counted in addition to those before it.
    let mut reservations = Vec::new();
    let mut findings = Vec::new();
    for spec in &file.pools {
        let mut errors = preflight(spec);
        for _ in 0..spec.replicas {
            match vram.reserve(spec.device_mask.as_deref(), vram_needed(spec)) {
                // Pools that scale to zero need not run at the same time.
                Ok(reservation) if spec.sleep_after.is_some() => drop(reservation),
                Ok(reservation) => reservations.push(reservation),
                Err(error) => {
                    errors.push(error.into());
                    break;
                }
            }
        }
        findings.extend(errors.into_iter().map(|error| PreflightFinding {
            pool_id: spec.pool_id.clone(),
            error,
        }));
    }
    findings
}

/// Checks everything that an engine of `spec` needs except VRAM. Does file I/O.
#[must_use]
pub fn preflight(spec: &PoolSpec) -> Vec<PreflightError> {
    let model = match &spec.launch {
        Launch::LlamaCpp(llama) => check_model(&llama.model).err(),
        Launch::Command(_) => None,
    };
    let program = check_program(spec).err();
    let port = spec.port.and_then(|port| check_port(port).err());
    program.into_iter().chain(model).chain(port).collect()
}

/// An error and its hint.
pub(crate) fn describe(error: &PreflightError) -> String {
    format!("{error}; {}", error.hint())
}

/// The errors as one text; `None` when there are none.
pub(crate) fn summary(errors: &[PreflightError]) -> Option<String> {
    let texts: Vec<String> = errors.iter().map(describe).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn check_program(spec: &PoolSpec) -> Result<(), PreflightError> {
    let program = spec.program();
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![program.into()]
    } else {
        // Search as the system will: in the `PATH` of the engine.
        let own = spec.env.get("PATH").map(std::ffi::OsString::from);
        let path = own.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
        std::env::split_paths(&path)
            .map(|dir| dir.join(program))
            .collect()
    };
    let present: Vec<PathBuf> = candidates
        .into_iter()
        .filter(|path| path.exists())
        .collect();
    if present.iter().any(|path| is_executable(path)) {
        return Ok(());
    }
    Err(match present.into_iter().next() {
        Some(path) => PreflightError::ProgramNotExecutable(path),
        None => PreflightError::ProgramMissing {
            program: program.to_owned(),
        },
    })
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

fn check_model(path: &Path) -> Result<(), PreflightError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => PreflightError::ModelMissing(path.to_owned()),
        _ => PreflightError::ModelUnreadable(path.to_owned(), error),
    };
    let mut magic = [0; GGUF_MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    match read {
        Ok(()) if magic == GGUF_MAGIC => Ok(()),
        Ok(()) => Err(PreflightError::ModelNotGguf(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(PreflightError::ModelNotGguf(path.to_owned()))
        }
        Err(error) => Err(unreadable(error)),
    }
}

fn check_port(port: u16) -> Result<(), PreflightError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map(drop)
        .map_err(|source| PreflightError::PortTaken { port, source })
}

/// A free port of loopback. If another process takes it before the engine does, the engine fails
/// and its next start gets another port.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// The least VRAM that an engine of `spec` takes: the size of its model in bytes; 0 when it is not
/// known.
pub(crate) fn vram_needed(spec: &PoolSpec) -> u64 {
    let Launch::LlamaCpp(llama) = &spec.launch else {
        return 0;
    };
    let devices = gpu_inventory::cuda_visible_devices(spec.device_mask.as_deref());
    let without_gpu = devices.is_ok_and(|devices| devices.is_some_and(|names| names.is_empty()));
    let sets_offload = |argument: &String| {
        let name = argument.split('=').next().unwrap_or(argument);
        OFFLOAD_ARGUMENTS.contains(&name)
    };
    if without_gpu || llama.args.iter().any(sets_offload) {
        return 0;
    }
    model_files(&llama.model)
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .fold(0, |sum, metadata| sum.saturating_add(metadata.len()))
}

/// The files of a model. A model in several files is named by its first,
/// `name-00001-of-00003.gguf`.
fn model_files(first: &Path) -> Vec<PathBuf> {
    let parts = || {
        let name = first.file_name()?.to_str()?;
        let (stem, count) = name.strip_suffix(".gguf")?.rsplit_once("-00001-of-")?;
        let total: u32 = count.parse().ok().filter(|_| count.len() == 5)?;
        let part =
            |number: u32| first.with_file_name(format!("{stem}-{number:05}-of-{count}.gguf"));
        Some((1..=total).map(part).collect())
    };
    parts().unwrap_or_else(|| vec![first.to_owned()])
}

#[cfg(test)]
mod tests;
