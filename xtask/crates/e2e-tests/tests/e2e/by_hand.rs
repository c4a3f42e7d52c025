//! Daemons started by hand, with wrong settings and with none.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};
use child_process::{Group, Process};
use test_cluster::Cluster;
use workspace_build::{Binaries, llorch};

const SOON: Duration = Duration::from_secs(90);

/// A shell line, run in a directory of its own with nothing in the environment but PATH.
fn shell(cluster: &Cluster, name: &str, line: &str) -> Result<Process> {
    let directory = cluster.directory().join(name);
    std::fs::create_dir_all(&directory)?;
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .current_dir(directory)
        .env_clear();
    command.env("PATH", std::env::var_os("PATH").context("no PATH")?);
    Process::spawn(
        name,
        &mut command,
        &cluster.logs().join(format!("{name}.log")),
        Group::Ours,
    )
}

// spec: CONF-1
#[test]
fn wrong_settings_are_all_told_at_once() -> Result<()> {
    Cluster::test("settings", |cluster| {
        let line = format!(
            "POOL_MANAGERD_CLOUD_PROFILE=true POOL_MANAGERD_ADDR=nonsense \
             POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS=x exec {}",
            Binaries::get()?.pool_managerd.display()
        );
        let mut node = shell(cluster, "node", &line)?;
        assert_eq!(node.wait_end(SOON)?.code(), Some(64));
        let log = node.log().text();
        for variable in [
            "POOL_MANAGERD_ADDR",
            "POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS",
            "POOL_MANAGERD_ADDRESS",
            "ORCHESTRATORD_URL",
        ] {
            assert!(log.contains(variable), "{variable} is not in: {log}");
        }
        Ok(())
    })
}

// spec: CONF-3
#[test]
fn help_and_version_need_no_settings() -> Result<()> {
    let Binaries {
        orchestratord,
        pool_managerd,
    } = Binaries::get()?;
    for program in [orchestratord, pool_managerd, llorch()?] {
        for option in ["--help", "--version"] {
            let output = Command::new(&program).arg(option).env_clear().output()?;
            assert!(output.status.success(), "{} {option}", program.display());
            assert!(
                !output.stdout.is_empty(),
                "{} {option} says nothing",
                program.display()
            );
        }
    }
    Ok(())
}
