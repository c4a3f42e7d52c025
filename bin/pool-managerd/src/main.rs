//! `pool-managerd`, the agent of a GPU node: parse, build, connect, wait, stop in order.

mod api;
mod app;
mod check;
mod config;

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
