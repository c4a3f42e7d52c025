//! One line, pasted on a machine, makes it a node that serves.

use std::{net::TcpListener, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use child_process::{Group, Process};
use test_clock::wait_for;
use test_cluster::{Cluster, handoff, write_handoff};

use crate::joining::{Machine, SOON, answers, operate, with_ca};

/// How long the agent may take to listen or to end.
const START: Duration = Duration::from_secs(90);

/// Runs a line in the shell of a machine.
fn paste(cluster: &Cluster, machine: &Machine, line: &str, name: &str) -> Result<Process> {
    let programs = machine.program.parent().context("no directory")?;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &format!("exec {line}")])
        .current_dir(&machine.directory)
        .env_clear()
        .env("PATH", programs)
        .env("POOL_MANAGERD_STATE_DIR", &machine.state)
        .env("RUST_LOG", "info");
    let log = cluster.logs().join(format!("{name}.log"));
    Process::spawn(name, &mut command, &log, Group::Ours)
}

// spec: JOIN-36, JOIN-37
#[test]
fn one_pasted_line_makes_a_machine_a_node_that_serves() -> Result<()> {
    Cluster::test("join-command", |cluster| {
        let orchestrator = with_ca(cluster, &[])?;
        let machine = Machine::new(cluster, "a")?;
        let printed = operate(&orchestrator, &["join-command"])?;
        ensure!(printed.out.lines().count() == 1, "{}", printed.out);
        // The name and the address are given, because all machines of this test are one.
        let own = format!("--node-id node-a --address {}", machine.url("https"));
        let line = format!("{} {own}", printed.out);
        let mut node = paste(cluster, &machine, &line, "node-a")?;
        node.wait_line(&["the control plane reaches it there"], START)?;
        node.wait_line(&["listening on "], START)?;
        let engine = cluster.engine(2)?;
        write_handoff(&machine.directory, &handoff("pool-0", "r0", &engine))?;
        wait_for("an answer", SOON, || answers(&orchestrator.client()))?;
        let ended = node.terminate(START)?;
        ensure!(ended.success(), "{ended}");
        // The token is used up. The machine is a node already, so the line starts its agent.
        let mut node = paste(cluster, &machine, &line, "node-a-again")?;
        node.wait_line(&["has joined", "before, and serves as its node"], START)?;
        wait_for("an answer", SOON, || answers(&orchestrator.client()))?;
        for (name, text) in cluster.all_logs() {
            let token = line.split(' ').find(|word| word.starts_with("llorch_"));
            ensure!(!text.contains(token.context("no token")?), "{name}");
        }
        node.terminate(START)?;
        Ok(())
    })
}

// spec: JOIN-36
#[test]
fn a_port_that_is_taken_is_found_before_the_token_is_used() -> Result<()> {
    Cluster::test("join-port", |cluster| {
        let orchestrator = with_ca(cluster, &[])?;
        let machine = Machine::new(cluster, "a")?;
        let printed = operate(&orchestrator, &["join-command"])?;
        let address = machine.url("https");
        let line = format!("{} --node-id node-a --address {address}", printed.out);
        let port = address.rsplit(':').next().context("no port")?;
        let taken = TcpListener::bind(format!("127.0.0.1:{port}"))?;
        let mut refused = paste(cluster, &machine, &line, "refused")?;
        let ended = refused.wait_end(START)?;
        let log = refused.log().text();
        ensure!(ended.code() == Some(1), "{ended}: {log}");
        ensure!(log.contains("cannot listen there"), "{log}");
        drop(taken);
        let mut node = paste(cluster, &machine, &line, "node-a")?;
        node.wait_line(&["listening on "], START)?;
        node.terminate(START)?;
        Ok(())
    })
}
