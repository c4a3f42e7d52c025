//! `orchestratord`, the control plane.

mod api;
mod app;
mod ca;
mod check;
mod config;
mod control_plane;
mod data_path;
mod data_path_view;
mod home;
mod node_access;
mod settings;
mod usage;

use std::process::ExitCode;

use config::Config;
use settings::PROGRAM;

/// A request makes some thirty allocations and frees them on other threads, and the C library is
/// slow for those above a kilobyte.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    daemon::main(
        &PROGRAM,
        Config::from_environment,
        check::preflight,
        app::run,
    )
}
