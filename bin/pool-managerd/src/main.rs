//! `pool-managerd`, the agent of a GPU node.

mod api;
mod app;
mod check;
mod config;
mod join;
mod joined;
mod settings;

use std::process::ExitCode;

use config::Config;
use settings::PROGRAM;

/// A request makes some thirty allocations and frees them on other threads, and the C library is
/// slow for those above a kilobyte.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(exit) = join::run(std::env::args_os().skip(1)) {
        return exit;
    }
    daemon::main(
        &PROGRAM,
        Config::from_environment,
        check::preflight,
        app::run,
    )
}
