//! What an engine needs, looked at before it is started: an error that names it beats a crash that
//! does not.

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

use crate::{FreeVram, Launch, PoolFile, PoolSpec, vram::Vram};

/// What every GGUF file begins with.
const GGUF_MAGIC: [u8; 4] = *b"GGUF";

/// Arguments by which an operator decides alone what goes to the GPU.
const OFFLOAD_ARGUMENTS: [&str; 3] = ["-ngl", "--gpu-layers", "--n-gpu-layers"];

/// Something an engine needs and does not have.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PreflightError {
    /// The program is not there.
    #[error("there is no program {program}")]
    ProgramMissing {
        /// As the pool file names it.
        program: String,
    },
    /// The program is there and cannot be run.
    #[error("{} cannot be executed", .0.display())]
    ProgramNotExecutable(PathBuf),
    /// The model is not there.
    #[error("there is no model file {}", .0.display())]
    ModelMissing(PathBuf),
    /// The model cannot be read.
    #[error("the model file {} cannot be read: {}", .0.display(), .1)]
    ModelUnreadable(PathBuf, #[source] io::Error),
    /// The model is of another format.
    #[error("the model file {} is not a GGUF file", .0.display())]
    ModelNotGguf(PathBuf),
    /// Somebody listens there already.
    #[error("port {port} of 127.0.0.1 is taken: {source}")]
    PortTaken {
        /// The fixed port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The model alone is larger than what is free on its devices.
    #[error("the model needs {} MiB of VRAM and {} MiB are free", .needed / MIB, .free / MIB)]
    NotEnoughVram {
        /// The size of the model in bytes.
        needed: u64,
        /// What is free in bytes, less what engines that start now will take.
        free: u64,
    },
}

const MIB: u64 = 1024 * 1024;

impl PreflightError {
    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::ProgramMissing { .. } => "install it, or correct `binary` or `command`",
            Self::ProgramNotExecutable(_) => "name a program, or make it one by `chmod +x`",
            Self::ModelMissing(_) => "put it there, or correct `model`",
            Self::ModelUnreadable(..) => "let the user of the agent read it, or correct `model`",
            Self::ModelNotGguf(_) => "convert it, fetch it again, or correct `model`",
            Self::PortTaken { .. } => "end what listens there, or leave `port` out",
            Self::NotEnoughVram { .. } => {
                "free some, or set `device_mask`, or offload in part by `args = [\"-ngl\", …]`"
            }
        }
    }
}

/// Something that would keep the engines of a pool from starting.
#[derive(Debug)]
pub struct Finding {
    /// Whose engines.
    pub pool_id: PoolId,
    /// What it is, and how to hint it.
    pub error: PreflightError,
}

/// Looks at everything the engines of `file` need, VRAM for all of them together included, and
/// starts nothing. Does file I/O, and asks for the VRAM.
#[must_use]
pub fn check(file: &PoolFile, free_vram: Arc<FreeVram>) -> Vec<Finding> {
    let vram = Vram::new(free_vram);
    // Held to the end, so that each engine is counted beside those before it.
    let mut promises = Vec::new();
    let mut findings = Vec::new();
    for spec in &file.pools {
        let mut errors = preflight(spec);
        for _ in 0..spec.replicas {
            match vram.promise(spec.device_mask.as_deref(), vram_needed(spec)) {
                // Pools that sleep need not be awake together.
                Ok(promise) if spec.sleep_after.is_some() => drop(promise),
                Ok(promise) => promises.push(promise),
                Err(error) => {
                    errors.push(error);
                    break;
                }
            }
        }
        findings.extend(errors.into_iter().map(|error| Finding {
            pool_id: spec.pool_id.clone(),
            error,
        }));
    }
    findings
}

/// Looks at everything an engine of `spec` needs but VRAM. Does file I/O.
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

/// The errors as one text; `None` when there are none.
pub(crate) fn summary(errors: &[PreflightError]) -> Option<String> {
    let texts: Vec<String> = (errors.iter())
        .map(|error| format!("{error}; {}", error.hint()))
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn check_program(spec: &PoolSpec) -> Result<(), PreflightError> {
    let program = spec.program();
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![program.into()]
    } else {
        // As the system looks for it: in the path that the engine will have.
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

/// A port of loopback that is free now. Should somebody else take it before the engine does, the
/// engine fails and the next start has another one.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// How much VRAM an engine of `spec` takes at least: the size of its model in bytes. 0 when nobody
/// knows.
pub(crate) fn vram_needed(spec: &PoolSpec) -> u64 {
    let Launch::LlamaCpp(llama) = &spec.launch else {
        return 0;
    };
    let devices = gpu_inventory::cuda_visible_devices(spec.device_mask.as_deref());
    let without_gpu = devices.is_ok_and(|devices| devices.is_some_and(|names| names.is_empty()));
    let decides_alone = |argument: &String| {
        let name = argument.split('=').next().unwrap_or(argument);
        OFFLOAD_ARGUMENTS.contains(&name)
    };
    if without_gpu || llama.args.iter().any(decides_alone) {
        return 0;
    }
    model_files(&llama.model)
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .fold(0, |sum, metadata| sum.saturating_add(metadata.len()))
}

/// A model in several files is named by its first, `name-00001-of-00003.gguf`.
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
