//! `orchestratord`, the control plane: parse, build, connect, wait, stop in order.

mod app;
mod config;
mod watching;

use std::process::ExitCode;

use config::{Config, PROGRAM};

fn main() -> ExitCode {
    daemon::main(&PROGRAM, Config::from_environment, app::run)
}
