//! A running engine: its process, URL, record, logs and memory reservation.

use std::{net::Ipv4Addr, sync::Arc};

use pool_registry_types::{HttpUrl, ReplicaId};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::{
    context::Context,
    core::EngineEvent,
    logs::EngineLogs,
    preflight::{describe, free_port, preflight, summary, vram_needed},
    process::{Process, ProcessExit, ProcessIdentity},
    process_record::{ProcessRecord, ProcessRecordFile},
    spec::PoolSpec,
    vram_ledger::VramReservation,
};

/// A running engine. Dropping it does not stop the process.
#[derive(Debug)]
pub(crate) struct RunningEngine {
    pub(crate) process: Process,
    pub(crate) url: HttpUrl,
    pub(crate) since: Instant,
    record: Option<ProcessRecordFile>,
    logs: EngineLogs,
    vram: Option<VramReservation>,
}

impl RunningEngine {
    /// Checks what an engine needs, and starts one.
    pub(crate) async fn start(
        context: &Arc<Context>,
        spec: &Arc<PoolSpec>,
        replica_id: &ReplicaId,
    ) -> Result<Self, String> {
        let (context, spec, replica_id) = (context.clone(), spec.clone(), replica_id.clone());
        // File systems and drivers may block; starting a process needs the runtime.
        let runtime = tokio::runtime::Handle::current();
        let span = tracing::Span::current();
        let start = move || {
            let _entered = runtime.enter();
            span.in_scope(|| start(&context, &spec, &replica_id))
        };
        tokio::task::spawn_blocking(start)
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Adopts a process of an earlier agent.
    pub(crate) fn adopt(
        context: &Context,
        file: ProcessRecordFile,
        record: ProcessRecord,
        process: ProcessIdentity,
    ) -> Self {
        Self {
            process: Process::adopt(process),
            logs: EngineLogs::new(&context.log_dir, &record.pool_id, &record.replica_id),
            url: record.url,
            since: Instant::now(),
            record: Some(file),
            vram: None,
        }
    }

    /// Releases the reservation: the model is loaded, so the driver counts its memory.
    pub(crate) fn release_vram(&mut self) {
        self.vram = None;
    }

    /// Returns when the process has ended. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> EngineEvent {
        let ProcessExit { clean, how } = self.process.ended().await;
        let how = match self.logs.stderr_tail() {
            Some(tail) => format!("{how}; {tail}"),
            None => how,
        };
        EngineEvent::Exited { clean, how }
    }

    /// Kills the rest of the process group and removes the record.
    pub(crate) fn clean_up(self) {
        self.process.identity().signal_group(Signal::KILL);
        if let Some(record) = self.record {
            record.remove();
        }
    }
}

fn start(
    context: &Context,
    spec: &PoolSpec,
    replica_id: &ReplicaId,
) -> Result<RunningEngine, String> {
    if let Some(problems) = summary(&preflight(spec)) {
        return Err(problems);
    }
    let vram = (context.vram)
        .reserve(spec.device_mask.as_deref(), vram_needed(spec))
        .map_err(|error| describe(&error.into()))?;
    let port = match spec.port {
        Some(port) => port,
        None => free_port().map_err(|error| format!("no port of 127.0.0.1 is free: {error}"))?,
    };
    let url = HttpUrl::new(&format!("http://{}:{port}", Ipv4Addr::LOCALHOST))
        .map_err(|e| e.to_string())?;
    let mut logs = EngineLogs::new(&context.log_dir, &spec.pool_id, replica_id);
    let output = logs
        .open()
        .map_err(|error| format!("cannot write to {}: {error}", context.log_dir.display()))?;
    let threads = context.cpu.threads(spec);
    let process = Process::start(spec, port, threads, &context.withheld_variables, output)
        .map_err(|error| format!("cannot start {}: {error}", spec.program()))?;
    let record = write_record(context, spec, replica_id, &process, &url).inspect_err(|_| {
        // Without a record the next agent could not find the process.
        process.identity().signal_group(Signal::KILL);
    })?;
    Ok(RunningEngine {
        process,
        url,
        since: Instant::now(),
        record,
        logs,
        vram: Some(vram),
    })
}

fn write_record(
    context: &Context,
    spec: &PoolSpec,
    replica_id: &ReplicaId,
    process: &Process,
    url: &HttpUrl,
) -> Result<Option<ProcessRecordFile>, String> {
    let identity = process.identity();
    let Some(record) = ProcessRecord::new(spec, replica_id.clone(), identity, url.clone()) else {
        return Ok(None);
    };
    ProcessRecordFile::write(&context.record_dir, &record)
        .map(Some)
        .map_err(|error| format!("cannot write to {}: {error}", context.record_dir.display()))
}
