//! Checks what a node needs to start, without starting it.

use std::sync::Arc;

use daemon::{DirectoryUse, ENGINES_DIR, Program, RUNTIME_DIR, Report, STATE_DIR, check_directory};
use engine_provisioner::PoolFile;
use gpu_inventory::{GpuReading, Inventory, Snapshot};

use crate::{
    check_handoffs,
    handoff_filter::HandoffFilter,
    node::{NodeConfig, StateDir},
};

/// Checks the directories, GPUs and engines of a node. Changes nothing.
pub fn check(report: &mut Report, program: &Program, config: &NodeConfig) {
    let starts_engines = config.engines.is_some();
    let access = if starts_engines {
        DirectoryUse::Write
    } else {
        DirectoryUse::Read
    };
    check_directory(
        report,
        program,
        &RUNTIME_DIR,
        &config.watch.runtime_dir,
        access,
    );
    let filter = HandoffFilter {
        only_pools: config.watch.only_pools.clone(),
        hostname: gpu_inventory::hostname().ok(),
        own_addresses: config.watch.own_addresses.clone(),
    };
    check_handoffs::handoffs(report, &config.watch.runtime_dir, &filter);
    if let Some(dir) = &config.watch.engines_dir {
        check_directory(report, program, &ENGINES_DIR, dir, DirectoryUse::Read);
        check_handoffs::handoffs(report, dir, &filter);
    }
    state_dir(report, program, &config.state_dir, starts_engines);
    let snapshot = Inventory::detect().read();
    gpus(report, &snapshot);
    if let Some(at) = &config.engines {
        engines(report, &at.file, snapshot);
    }
}

fn state_dir(report: &mut Report, program: &Program, dir: &StateDir, starts_engines: bool) {
    let path = dir.path();
    let mut found = Report::default();
    check_directory(&mut found, program, &STATE_DIR, path, DirectoryUse::Write);
    if found.has_errors() && !starts_engines && matches!(dir, StateDir::Optional(_)) {
        let variable = format!("{}STATE_DIR", program.prefix);
        report.warning(
            &variable,
            format!(
                "{} cannot be written, so drains are forgotten at each restart",
                path.display()
            ),
            format!("let this user write it, or set {variable} to another directory"),
        );
    } else {
        check_directory(report, program, &STATE_DIR, path, DirectoryUse::Write);
    }
}

fn gpus(report: &mut Report, snapshot: &Snapshot) {
    if let Some(problem) = &snapshot.problem {
        report.error(
            "GPUs",
            problem.to_string(),
            "see `nvidia-smi` and `dmesg`; until then engines can use the CPU only",
        );
    } else if snapshot.gpus.is_empty() {
        report.ok("GPUs", "none");
    }
    for gpu in &snapshot.gpus {
        let subject = format!("GPU{}", gpu.index);
        match gpu.to_status().problem {
            None => report.ok(subject, described(gpu)),
            Some(problem) => report.warning(
                subject,
                format!("{}; {problem}", described(gpu)),
                "follow the advice; engines on other GPUs are not affected",
            ),
        }
    }
}

/// `RTX 3090 (GPU-…), 18.0 of 24.0 GB free, driver 580.99.01`.
fn described(gpu: &GpuReading) -> String {
    let gigabytes = |bytes: u64| format!("{}.{}", bytes / 1_000_000_000, bytes / 100_000_000 % 10);
    let uuid = gpu
        .uuid
        .as_ref()
        .map(|uuid| format!(" ({uuid})"))
        .unwrap_or_default();
    let memory = gpu
        .vram_free_bytes
        .zip(gpu.vram_total_bytes)
        .map(|(free, total)| format!(", {} of {} GB free", gigabytes(free), gigabytes(total)));
    let driver = gpu
        .driver_version
        .as_ref()
        .map(|version| format!(", driver {version}"));
    format!(
        "{}{uuid}{}{}",
        gpu.name,
        memory.unwrap_or_default(),
        driver.unwrap_or_default()
    )
}

fn engines(report: &mut Report, file: &PoolFile, snapshot: Snapshot) {
    let masks: Vec<Vec<&str>> = (file.pools.iter())
        // When no GPU can be read, that has been reported already.
        .map(|pool| match snapshot.problem {
            None => snapshot.vram_free_for(pool.device_mask.as_deref()).1,
            Some(_) => Vec::new(),
        })
        .collect();
    let free = Arc::new(move |mask: Option<&str>| snapshot.known_vram_free_for(mask));
    let findings = engine_provisioner::check_pool_file(file, free);
    for (pool, unknown) in file.pools.iter().zip(masks) {
        let subject = format!("pool {}", pool.pool_id);
        let of_pool = || {
            findings
                .iter()
                .filter(|finding| finding.pool_id == pool.pool_id)
        };
        for name in &unknown {
            report.error(
                &subject,
                format!("its device_mask names {name:?}, but no working GPU has this name"),
                "name GPUs by index (`GPU0`) or UUID as above, or write `none` for the CPU",
            );
        }
        for finding in of_pool() {
            report.error(&subject, finding.error.to_string(), finding.error.hint());
        }
        if unknown.is_empty() && of_pool().next().is_none() {
            let found = format!(
                "engines: {}, each with {} slots; they can be started",
                pool.replicas, pool.slots
            );
            report.ok(subject, found);
        }
    }
}
