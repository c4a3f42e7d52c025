//! A process that runs, and everything that goes with it.

use std::{net::Ipv4Addr, sync::Arc};

use pool_registry_types::{HttpUrl, ReplicaId};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::{
    PoolSpec,
    core::Event,
    logs::EngineLogs,
    preflight::{free_port, preflight, summary, vram_needed},
    process::{Exit, Identity, Process},
    records::{Record, RecordFile},
    shared::Shared,
    vram::Promise,
};

/// A process, where it listens, what is remembered of it, and what it writes.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) url: HttpUrl,
    pub(crate) since: Instant,
    record: Option<RecordFile>,
    logs: EngineLogs,
    promise: Option<Promise>,
}

impl Running {
    /// Looks whether everything is there that an engine needs, and starts one.
    pub(crate) async fn start(
        shared: &Arc<Shared>,
        spec: &Arc<PoolSpec>,
        replica_id: &ReplicaId,
    ) -> Result<Self, String> {
        let (shared, spec, replica_id) = (shared.clone(), spec.clone(), replica_id.clone());
        // File systems and drivers may keep one waiting, and a process needs the runtime it is
        // started in.
        let runtime = tokio::runtime::Handle::current();
        let span = tracing::Span::current();
        let start = move || {
            let _entered = runtime.enter();
            span.in_scope(|| start(&shared, &spec, &replica_id))
        };
        tokio::task::spawn_blocking(start)
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Takes over a process of an earlier agent.
    pub(crate) fn adopt(
        shared: &Shared,
        file: RecordFile,
        record: Record,
        process: Identity,
    ) -> Self {
        Self {
            process: Process::adopt(process),
            logs: EngineLogs::new(&shared.log_dir, &record.pool_id, &record.replica_id),
            url: record.url,
            since: Instant::now(),
            record: Some(file),
            promise: None,
        }
    }

    /// The model is in its memory, so the driver counts it.
    pub(crate) fn is_loaded(&mut self) {
        self.promise = None;
    }

    /// Returns when it has ended. Safe to drop and call again.
    pub(crate) async fn ended(&mut self) -> Event {
        let Exit { clean, how } = self.process.ended().await;
        let how = match self.logs.last_words() {
            Some(words) => format!("{how}; {words}"),
            None => how,
        };
        Event::Exited { clean, how }
    }

    /// It ended: nothing of it is left behind.
    pub(crate) fn forget(self) {
        self.process.identity().signal_group(Signal::KILL);
        if let Some(record) = self.record {
            record.remove();
        }
    }
}

fn start(shared: &Shared, spec: &PoolSpec, replica_id: &ReplicaId) -> Result<Running, String> {
    if let Some(problems) = summary(&preflight(spec)) {
        return Err(problems);
    }
    let promise = (shared.vram)
        .promise(spec.device_mask.as_deref(), vram_needed(spec))
        .map_err(|error| format!("{error}; {}", error.hint()))?;
    let port = match spec.port {
        Some(port) => port,
        None => free_port().map_err(|error| format!("no port of 127.0.0.1 is free: {error}"))?,
    };
    let url = HttpUrl::new(&format!("http://{}:{port}", Ipv4Addr::LOCALHOST))
        .map_err(|e| e.to_string())?;
    let mut logs = EngineLogs::new(&shared.log_dir, &spec.pool_id, replica_id);
    let (out, err) = logs
        .open()
        .map_err(|error| format!("cannot write to {}: {error}", shared.log_dir.display()))?;
    let process = Process::start(spec, port, shared.cpu.threads(spec), out, err)
        .map_err(|error| format!("cannot start {}: {error}", spec.program()))?;
    let record = remember(shared, spec, replica_id, &process, &url).inspect_err(|_| {
        // One that nobody would find again after a restart must not run.
        process.identity().signal_group(Signal::KILL);
    })?;
    Ok(Running {
        process,
        url,
        since: Instant::now(),
        record,
        logs,
        promise: Some(promise),
    })
}

fn remember(
    shared: &Shared,
    spec: &PoolSpec,
    replica_id: &ReplicaId,
    process: &Process,
    url: &HttpUrl,
) -> Result<Option<RecordFile>, String> {
    let identity = process.identity();
    let Some(record) = Record::new(spec, replica_id.clone(), identity, url.clone()) else {
        return Ok(None);
    };
    RecordFile::write(&shared.record_dir, &record)
        .map(Some)
        .map_err(|error| format!("cannot write to {}: {error}", shared.record_dir.display()))
}
