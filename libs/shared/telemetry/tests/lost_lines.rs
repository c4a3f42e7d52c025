//! Log lines that cannot be written are dropped and counted; the process continues.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    fs::File,
    process::{Command, Output, Stdio},
};

use telemetry::{LogFormat, Metrics, init};

/// Tells a child process its role.
const ROLE: &str = "TELEMETRY_TEST_ROLE";

// spec: STOP-6
#[test]
fn a_full_disk_only_drops_lines() {
    if is_child() {
        return log_and_count();
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_goes_on(&child("a_full_disk_only_drops_lines", full));
}

// spec: STOP-6
#[test]
fn a_closed_pipe_only_drops_lines() {
    if is_child() {
        return log_and_count();
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_goes_on(&child("a_closed_pipe_only_drops_lines", writer));
}

fn is_child() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Runs in the child: logs two lines that cannot be written.
#[expect(clippy::print_stdout, reason = "how the child tells its state")]
fn log_and_count() {
    init(LogFormat::Text, "info").unwrap();
    tracing::info!("lost");
    tracing::error!("lost, too");
    println!("{}", Metrics::new("child", "0").render());
}

fn child(test: &str, stderr: impl Into<Stdio>) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, "logger")
        .env_remove("RUST_LOG")
        .stderr(stderr)
        .output()
        .unwrap()
}

fn assert_goes_on(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}", output.status);
    assert!(said.contains("llorch_log_lines_dropped_total 2"), "{said}");
}
