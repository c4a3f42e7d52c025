//! `pool-managerd`, the agent of a GPU node.

mod api;
mod app;
mod check;
mod config;
mod settings;

use std::process::ExitCode;

use config::Config;
use settings::PROGRAM;

fn main() -> ExitCode {
    daemon::main(
        &PROGRAM,
        Config::from_environment,
        check::preflight,
        app::run,
    )
}
