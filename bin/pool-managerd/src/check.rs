//! `pool-managerd check`: what a start needs beside the settings that every daemon has.

use std::sync::Arc;

use daemon::{
    Report,
    check::{Use, directory},
};
use engine_provisioner::PoolFile;
use gpu_inventory::{GpuReading, Inventory, Snapshot};

use crate::config::{Cloud, Config, PROGRAM};

/// Looks at directories, GPUs, engines and the control plane, and changes nothing.
pub(crate) fn look(config: &Config, report: &mut Report) {
    let Some(cloud) = &config.cloud else {
        report.ok("profile", "HOME: nothing is watched, started or registered");
        return;
    };
    let (runtime_dir, state_dir) = (&config.settings.runtime_dir, &config.settings.state_dir);
    let announces = if cloud.pools_file.is_some() {
        Use::Write
    } else {
        Use::Read
    };
    directory(report, &PROGRAM, "RUNTIME_DIR", runtime_dir, announces);
    directory(report, &PROGRAM, "STATE_DIR", state_dir, Use::Write);
    let snapshot = Inventory::detect().read();
    gpus(report, &snapshot);
    if let Some(file) = &cloud.pools_file {
        engines(report, file, snapshot);
    }
    control_plane(report, config, cloud);
}

fn gpus(report: &mut Report, snapshot: &Snapshot) {
    if let Some(problem) = &snapshot.problem {
        report.error(
            "GPUs",
            problem.to_string(),
            "see `nvidia-smi` and `dmesg`; engines run on the CPU until then, if at all",
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
                "as it says; what runs on other GPUs is not disturbed",
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
        // Where no GPU can be read, that has been said.
        .map(|pool| match snapshot.problem {
            None => snapshot.vram_free_for(pool.device_mask.as_deref()).1,
            Some(_) => Vec::new(),
        })
        .collect();
    let free = Arc::new(move |mask: Option<&str>| snapshot.vram_surely_free_for(mask));
    let findings = engine_provisioner::check(file, free);
    for (pool, unknown) in file.pools.iter().zip(masks) {
        let subject = format!("pool {}", pool.pool_id);
        let of_pool = || findings.iter().filter(|finding| finding.pool_id == pool.pool_id);
        for name in &unknown {
            report.error(
                &subject,
                format!("its device_mask names {name:?}, and no GPU that works is called so"),
                "name GPUs by index (`GPU0`) or UUID as above, or write `none` for the CPU",
            );
        }
        for finding in of_pool() {
            report.error(&subject, finding.error.to_string(), finding.error.mend());
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

fn control_plane(report: &mut Report, config: &Config, cloud: &Cloud) {
    let Some(registration) = &cloud.registration else {
        report.ok(
            "control plane",
            "not joined, as ORCHESTRATORD_REGISTER_ON_STARTUP says",
        );
        return;
    };
    let host = registration.address.host();
    let is_here =
        |host: &str| host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if !is_here(host) && config.settings.addr.ip().is_loopback() {
        report.warning(
            "POOL_MANAGERD_ADDRESS",
            format!(
                "orchestratord is told {}, but this node listens on {}",
                registration.address, config.settings.addr
            ),
            "set POOL_MANAGERD_ADDR to 0.0.0.0 and the port, unless a proxy of this machine stands before it",
        );
    }
    for (url, looked) in node_registration::look(registration) {
        let subject = format!("orchestratord {url}");
        if is_here(host) && !is_here(url.host()) {
            report.warning(
                "POOL_MANAGERD_ADDRESS",
                format!(
                    "is {}, which {url} cannot reach from its machine",
                    registration.address
                ),
                "set it to an address of this machine in the network that both share",
            );
        }
        match looked {
            Ok(welcome) => {
                let version = welcome.version.map(|version| format!(", version {version}"));
                report.ok(
                    subject,
                    format!("this node may join{}", version.unwrap_or_default()),
                );
            }
            Err(error) => report.error(subject, error.to_string(), error.mend()),
        }
    }
}
