//! A packaged HOME `orchestratord` that starts engines: it runs beside `pool-managerd` with the
//! settings of the packages, and neither an upgrade nor a crash ends its engines.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{
    installed::{
        DAEMONS, PACKAGES, Run, SOON, UNITS, append, install, main_process, put_packages, upgrade,
        with_journal,
    },
    machine::{Booted, Machine},
    package::Programs,
};
use child_process::succeed;
use test_clock::wait_for;

/// Where the stand-in for an engine is in the machine.
const ENGINE: &str = "/usr/local/bin/fake-engine";
const POOLS_FILE: &str = "/etc/llorch-pools.toml";
const DROP_IN: &str = "/etc/systemd/system/orchestratord.service.d";

/// The stand-in ends with its standard input, which the daemon leaves empty. It stays when the
/// daemon stops, so that the next daemon can adopt it.
const POOLS: &str = r#"
[[pool]]
id = "chat"
engine = "llamacpp"
slots = 4
models = ["tiny"]
on_agent_stop = "leave"
command = ["sh", "-c", "tail -f /dev/null | /usr/local/bin/fake-engine --port {port}"]
"#;

/// Fails when an upgrade, a crash or a restart of a HOME daemon ends the engines that it started,
/// or when the packages of both daemons do not work on one machine.
pub fn check_home_engines(programs: &Programs) -> Result<()> {
    let machine = Machine::unpack()?;
    put_packages(programs, &machine)?;
    put_engine(&machine)?;
    let logs = tempfile::tempdir().context("cannot create a temporary directory")?;
    let booted = machine.boot(&logs.path().join("systemd.log"))?;
    let run = |words: &[&str]| succeed(&mut booted.command(words));
    with_journal(keep_engines(&machine, &booted, &run), &run)
}

fn keep_engines(machine: &Machine, booted: &Booted, run: &Run<'_>) -> Result<()> {
    install(run, PACKAGES)?;
    append(
        &machine.path("/etc/default/orchestratord"),
        &format!("ORCHESTRATORD_POOLS_FILE={POOLS_FILE}"),
    )?;
    run(&["mkdir", "-p", DROP_IN])?;
    let drop_in = format!("{DROP_IN}/engines.conf");
    run(&[
        "ln",
        "-s",
        "/usr/share/orchestratord/engines.conf",
        &drop_in,
    ])?;
    run(&["systemctl", "daemon-reload"])?;
    run(&["systemctl", "restart", "orchestratord"])?;

    let serves = || run(&["llorch", "models"]).is_ok_and(|models| models.contains("tiny"));
    wait_for("the engine to serve", SOON, serves)?;
    for unit in UNITS {
        run(&["systemctl", "is-active", unit])?;
    }
    let engine = engine_process(booted)?;

    let before = main_process(run, DAEMONS[0])?;
    upgrade(run)?;
    ensure!(
        before == main_process(run, DAEMONS[0])?,
        "an upgrade restarted an orchestratord with engines"
    );
    check_engine(booted, &engine, "an upgrade")?;
    ensure!(serves(), "after the upgrade no engine serves");

    // The engines are in the unit's control group: `systemctl kill` alone would end them too.
    let kill = [
        "systemctl",
        "kill",
        "--kill-whom=main",
        "--signal=KILL",
        DAEMONS[0],
    ];
    run(&kill)?;
    let is_back = || main_process(run, DAEMONS[0]).is_ok_and(|now| now != before) && serves();
    wait_for("orchestratord to come back", SOON, is_back)?;
    check_engine(booted, &engine, "a crash")?;

    run(&["systemctl", "restart", DAEMONS[0]])?;
    wait_for("the engine to serve after a restart", SOON, serves)?;
    check_engine(booted, &engine, "a restart")
}

fn put_engine(machine: &Machine) -> Result<()> {
    let built = workspace_build::build(&["fake-engine"], &[])?;
    let inside = machine.path(ENGINE);
    fs::copy(workspace_build::executable(&built, "fake-engine")?, &inside)?;
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))?;
    fs::write(machine.path(POOLS_FILE), POOLS).context("cannot write the pool file")
}

fn check_engine(booted: &Booted, before: &str, what: &str) -> Result<()> {
    let now = engine_process(booted)?;
    ensure!(
        before == now,
        "{what} ended the engine {before}; now it is {now}"
    );
    Ok(())
}

/// The process id of the engine, of which there is one.
fn engine_process(booted: &Booted) -> Result<String> {
    let name = Path::new(ENGINE).file_name().unwrap_or_default();
    let script = format!(
        "for of in /proc/[0-9]*; do [ \"$(cat $of/comm)\" = {} ] && basename $of; done; true",
        name.display()
    );
    let found = succeed(&mut booted.command(&["sh", "-c", &script]))?;
    let mut found = found.split_whitespace();
    let (Some(engine), None) = (found.next(), found.next()) else {
        anyhow::bail!("there is not exactly one engine");
    };
    Ok(engine.to_owned())
}
