//! `orchestratord`, the control plane: parse, build, connect, wait, stop in order.

mod api;
mod app;
mod check;
mod config;
mod control_plane;
mod node_control;
mod watching;

use std::process::ExitCode;

use config::{Config, PROGRAM};

fn main() -> ExitCode {
    daemon::main(
        &PROGRAM,
        Config::from_environment,
        check::preflight,
        app::run,
    )
}
