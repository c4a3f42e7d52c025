//! The Debian packages on a fresh machine: installed, upgraded, removed and purged.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    machine::{Booted, Machine},
    package::{self, Compression, Programs},
};
use child_process::succeed;
use reference_docs::unit_files;
use test_clock::wait_for;
use workspace_checks::fail_on;

/// How long a daemon may take to do what it was asked, on a busy machine with programs of a debug
/// build.
pub(super) const SOON: Duration = Duration::from_secs(30);

pub(super) const DAEMONS: [&str; 2] = ["orchestratord", "pool-managerd"];
const PROGRAMS: [&str; 3] = ["orchestratord", "pool-managerd", "llorch"];
pub(super) const UNITS: [&str; 3] = [
    "orchestratord.socket",
    "orchestratord.service",
    "pool-managerd.service",
];

/// Owner, mode and place of what matters, once installed.
const FILES: [&str; 15] = [
    "root:root 755 /usr/bin/orchestratord",
    "root:root 755 /usr/bin/pool-managerd",
    "root:root 755 /usr/bin/llorch",
    "root:root 600 /etc/default/orchestratord",
    "root:root 600 /etc/default/pool-managerd",
    "root:root 644 /lib/systemd/system/orchestratord.service",
    "root:root 644 /lib/systemd/system/orchestratord.socket",
    "root:root 644 /lib/systemd/system/pool-managerd.service",
    "root:root 644 /usr/share/orchestratord/engines.conf",
    "root:root 644 /usr/share/man/man8/orchestratord.8.gz",
    "root:root 644 /usr/share/man/man8/pool-managerd.8.gz",
    "root:root 644 /usr/share/man/man1/llorch.1.gz",
    "root:root 755 /run/llorch",
    "llorch:llorch 775 /run/llorch/engines",
    "root:root 755 /var/lib/llorch",
];

/// What a purge leaves, besides the user: directories in which people may have put something.
const LEFT: [&str; 2] = ["/run/llorch", "/var/lib/llorch"];

/// Where the packages lie in the machine, and the later version of them.
pub(super) const PACKAGES: &str = "/packages";
const LATER: &str = "/packages/later";

/// The version of the later packages, which differ in nothing else but a line of their settings.
const LATER_VERSION: &str = "9.9.9";

/// What an operator writes into the settings.
const EDIT: &str = "# an edit of the operator";

/// Fails when the packages do not install, do not work without systemd, or leave files behind.
pub fn check(programs: &Programs) -> Result<()> {
    let machine = Machine::unpack()?;
    put_packages(programs, &machine)?;
    let run = |words: &[&str]| succeed(&mut machine.command(words));

    // Without a network: a minimal system has all that they depend on.
    install(&run, PACKAGES)?;
    check_files(&run)?;
    check_user(&run)?;
    let differing = run(&[&["dpkg", "--verify"][..], &PROGRAMS].concat())?;
    ensure!(differing.is_empty(), "dpkg --verify: {differing}");
    let verify = [&["systemd-analyze", "verify", "--man=no"][..], &UNITS].concat();
    let said = machine.command(&verify).stderr(Stdio::piped()).output()?;
    ensure!(
        said.status.success() && said.stderr.is_empty(),
        "systemd-analyze verify: {}",
        String::from_utf8_lossy(&said.stderr)
    );
    for unit in UNITS {
        let state = run(&["systemctl", "is-enabled", unit])?;
        ensure!(state.trim() == "enabled", "{unit} is {state}");
    }
    for daemon in DAEMONS {
        check_daemon(&run, daemon)?;
    }

    for daemon in DAEMONS {
        append(&machine.path(&format!("/etc/default/{daemon}")), EDIT)?;
    }
    upgrade(&run)?;
    for daemon in DAEMONS {
        let settings = fs::read_to_string(machine.path(&format!("/etc/default/{daemon}")))?;
        ensure!(
            settings.contains(EDIT),
            "an upgrade of {daemon} lost its settings"
        );
    }

    apt(&run, "remove", &PROGRAMS)?;
    for daemon in DAEMONS {
        ensure!(
            !machine.path(&format!("/usr/bin/{daemon}")).exists(),
            "{daemon} was removed and is there"
        );
        let settings = fs::read_to_string(machine.path(&format!("/etc/default/{daemon}")))?;
        ensure!(settings.contains(EDIT), "without a purge, settings stay");
    }
    apt(&run, "purge", &DAEMONS)?;
    check_nothing_left(&run)
}

/// Fails when the packages do not work under systemd: start, serve, restart, upgrade and removal.
pub fn check_booted(programs: &Programs) -> Result<()> {
    let machine = Machine::unpack()?;
    put_packages(programs, &machine)?;
    let logs = tempfile::tempdir().context("cannot create a temporary directory")?;
    let booted = machine.boot(&logs.path().join("systemd.log"))?;
    let run = |words: &[&str]| succeed(&mut booted.command(words));
    with_journal(under_systemd(&machine, &booted, &run), &run)
}

/// Adds what the daemons logged to an error.
pub(super) fn with_journal(done: Result<()>, run: &Run<'_>) -> Result<()> {
    done.with_context(|| {
        let journal = run(&[
            "journalctl",
            "--no-pager",
            "--lines=40",
            "--unit=orchestratord",
            "--unit=pool-managerd",
        ]);
        journal.unwrap_or_else(|error| format!("no journal: {error:#}"))
    })
}

fn under_systemd(machine: &Machine, booted: &Booted, run: &Run<'_>) -> Result<()> {
    install(&run, PACKAGES)?;
    for unit in UNITS {
        run(&["systemctl", "is-active", unit])?;
    }
    check_files(run)?;

    // The node of .docs/SEVERAL_MACHINES.md, on this machine.
    append(
        &machine.path("/etc/default/orchestratord"),
        "ORCHESTRATORD_CLOUD_PROFILE=true",
    )?;
    append(
        &machine.path("/etc/default/pool-managerd"),
        "POOL_MANAGERD_CLOUD_PROFILE=true\nPOOL_MANAGERD_NODE_ID=node-1\n\
         POOL_MANAGERD_ADDRESS=http://127.0.0.1:9200\nORCHESTRATORD_URL=http://127.0.0.1:8080",
    )?;
    run(&["systemctl", "restart", "orchestratord", "pool-managerd"])?;
    let online = || run(&["llorch", "nodes"]).is_ok_and(|nodes| nodes.contains("node-1  online"));
    wait_for("the node to join", SOON, online)?;
    run(&[
        "systemd-run",
        "--quiet",
        "--pipe",
        "--wait",
        "--property=User=llorch",
        "--property=EnvironmentFile=/etc/default/pool-managerd",
        "--setenv=POOL_MANAGERD_RUNTIME_DIR=/run/llorch/engines",
        "--setenv=POOL_MANAGERD_STATE_DIR=/var/lib/llorch/pool-managerd",
        "pool-managerd",
        "check",
    ])?;

    for daemon in DAEMONS {
        let before = main_process(run, daemon)?;
        run(&["systemctl", "kill", "--signal=KILL", daemon])?;
        let unit = format!("{daemon}.service");
        wait_for(&format!("{unit} to come back"), SOON, || {
            run(&["systemctl", "is-active", &unit]).is_ok()
                && main_process(run, daemon).is_ok_and(|now| now != before)
        })?;
    }
    wait_for("the node to be back", SOON, online)?;

    upgrade_while_asked(booted, run)?;
    wait_for("the node to be there after the upgrade", SOON, online)?;

    // Bad settings are reported once, and the unit is not restarted for ever.
    append(
        &machine.path("/etc/default/pool-managerd"),
        "POOL_MANAGERD_DRAIN_TIMEOUT_SECS=soon",
    )?;
    ensure!(
        run(&["systemctl", "restart", "pool-managerd"]).is_err(),
        "bad settings are taken"
    );
    let status = run(&[
        "systemctl",
        "show",
        "--value",
        "--property=ActiveState",
        "pool-managerd",
    ])?;
    ensure!(
        status.trim() == "failed",
        "with bad settings, pool-managerd is {status}"
    );

    apt(&run, "purge", &PROGRAMS)?;
    let running = booted
        .command(&["sh", "-c", "cat /proc/[0-9]*/comm"])
        .output()?;
    let running = String::from_utf8_lossy(&running.stdout).into_owned();
    ensure!(
        !running.lines().any(|name| DAEMONS.contains(&name)),
        "a daemon was purged and runs"
    );
    check_nothing_left(run)
}

/// What runs a command in the machine, and fails when it does.
pub(super) type Run<'a> = dyn Fn(&[&str]) -> Result<String> + 'a;

/// While the packages are upgraded, the control plane refuses no request: its socket stays open.
fn upgrade_while_asked(booted: &Booted, run: &Run<'_>) -> Result<()> {
    let before = DAEMONS.map(|daemon| main_process(run, daemon));
    let upgraded = "/run/upgraded";
    let script = format!("while [ ! -e {upgraded} ]; do llorch nodes >/dev/null || exit 1; done");
    let mut asking = booted
        .command(&["sh", "-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let done = upgrade(run);
    run(&["touch", upgraded])?;
    let asked = asking.wait()?;
    done?;
    ensure!(asked.success(), "a request was refused during the upgrade");
    let [control, agent] = before;
    ensure!(
        control? != main_process(run, DAEMONS[0])?,
        "the old orchestratord goes on"
    );
    ensure!(
        agent? == main_process(run, DAEMONS[1])?,
        "an upgrade ended the agent, and its engines with it"
    );
    Ok(())
}

pub(super) fn main_process(run: &Run<'_>, daemon: &str) -> Result<String> {
    let pid = run(&["systemctl", "show", "--value", "--property=MainPID", daemon])?;
    let pid = pid.trim().to_owned();
    ensure!(pid != "0", "{daemon} does not run");
    Ok(pid)
}

/// Builds the packages into the machine, and a later version of each.
pub(super) fn put_packages(programs: &Programs, machine: &Machine) -> Result<()> {
    let later = machine.path(LATER);
    fs::create_dir_all(&later)?;
    for package in package::build(programs, &machine.path(PACKAGES), Compression::Fast)? {
        let opened = tempfile::tempdir().context("cannot create a temporary directory")?;
        let tree = opened.path().join("tree");
        succeed(
            Command::new("dpkg-deb")
                .arg("--raw-extract")
                .args([&package, &tree]),
        )?;
        let control = tree.join("DEBIAN/control");
        let text = fs::read_to_string(&control)?;
        let version = format!("Version: {}\n", package::version()?);
        ensure!(
            text.contains(&version),
            "{}: no {version}",
            package.display()
        );
        fs::write(
            &control,
            text.replace(&version, &format!("Version: {LATER_VERSION}\n")),
        )?;
        for daemon in DAEMONS {
            let settings = tree.join("etc/default").join(daemon);
            if settings.is_file() {
                append(&settings, "# new in this version")?;
            }
        }
        let name = package.file_name().context("a package without a name")?;
        succeed(
            Command::new("dpkg-deb")
                .args(["-z0", "--root-owner-group", "--build"])
                .args([&tree, &later.join(name)]),
        )?;
    }
    Ok(())
}

/// As the documents say; without a network, so that nothing but a minimal system is there to depend
/// on. Settings that both sides changed are those of the operator, which is what apt does when
/// there is no terminal.
pub(super) fn install(run: &Run<'_>, packages: &str) -> Result<()> {
    let command = format!(
        "apt-get install --yes --option=Dpkg::Options::=--force-confold \
         --option=Dpkg::Options::=--force-unsafe-io {packages}/*.deb"
    );
    run(&["sh", "-c", &command]).map(drop)
}

fn apt(run: &Run<'_>, what: &str, packages: &[&str]) -> Result<()> {
    run(&[&["apt-get", what, "--yes"][..], packages].concat()).map(drop)
}

pub(super) fn upgrade(run: &Run<'_>) -> Result<()> {
    install(run, LATER)?;
    for program in PROGRAMS {
        let version = run(&["dpkg-query", "--show", "--showformat=${Version}", program])?;
        ensure!(
            version == LATER_VERSION,
            "after the upgrade {program} is {version}"
        );
    }
    Ok(())
}

fn check_files(run: &Run<'_>) -> Result<()> {
    let mut problems = Vec::new();
    for expected in FILES {
        let path = expected.rsplit(' ').next().unwrap_or_default();
        match run(&["stat", "--format=%U:%G %a %n", path]) {
            Ok(found) if found.trim() == expected => {}
            Ok(found) => problems.push(format!("{} should be {expected}", found.trim())),
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    fail_on(&problems)
}

fn check_user(run: &Run<'_>) -> Result<()> {
    let user = run(&["getent", "passwd", "llorch"])?;
    ensure!(
        user.trim().ends_with(":/var/lib/llorch:/usr/sbin/nologin"),
        "the user is {user}"
    );
    let groups = run(&["id", "--name", "--groups", "llorch"])?;
    for group in ["llorch", "video", "render"] {
        ensure!(
            groups.split_whitespace().any(|of| of == group),
            "llorch is in {groups}"
        );
    }
    Ok(())
}

/// The daemon runs, and finds its set-up right as its unit would start it.
fn check_daemon(run: &Run<'_>, daemon: &'static str) -> Result<()> {
    let conffiles = run(&["dpkg-query", "--show", "--showformat=${Conffiles}", daemon])?;
    ensure!(
        conffiles.contains(&format!("/etc/default/{daemon} ")),
        "conffiles of {daemon}: {conffiles}"
    );
    let said = run(&[daemon, "--version"])?;
    ensure!(
        said.contains(&package::version()?),
        "{daemon} --version: {said}"
    );
    // systemd makes it before it starts the daemon.
    let state = format!("/var/lib/llorch/{daemon}");
    run(&[
        "install",
        "--directory",
        "--owner=llorch",
        "--group=llorch",
        "--mode=0750",
        &state,
    ])?;
    let settings: Vec<String> = unit_files::environment(daemon)?
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut words = vec!["runuser", "--user=llorch", "--", "env"];
    words.extend(settings.iter().map(String::as_str));
    words.extend([daemon, "check"]);
    run(&words).map(drop)
}

/// Fails when anything of ours is there after a purge but the user and [`LEFT`].
fn check_nothing_left(run: &Run<'_>) -> Result<()> {
    let mut find = vec!["find", "/etc", "/usr", "/var", "/run", "/tmp", "("];
    for (place, pattern) in ["*llorch*", "*orchestratord*", "*pool-managerd*"]
        .into_iter()
        .enumerate()
    {
        if place > 0 {
            find.push("-o");
        }
        find.extend(["-name", pattern]);
    }
    find.extend([")", "-print"]);
    let found = run(&find)?;
    let left: Vec<String> = found
        .lines()
        .filter(|path| !LEFT.contains(path))
        .map(|path| format!("{path} is left after a purge"))
        .collect();
    fail_on(&left)
}

pub(super) fn append(path: &Path, line: &str) -> Result<()> {
    let file = OpenOptions::new().append(true).open(path);
    let mut file = file.with_context(|| format!("cannot open {}", path.display()))?;
    writeln!(file, "{line}").with_context(|| format!("cannot write {}", path.display()))
}
