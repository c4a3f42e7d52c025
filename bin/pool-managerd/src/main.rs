//! `pool-managerd`, the agent of a GPU node: parse, build, connect, wait, stop in order.

mod app;
mod config;
mod engines;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use config::{Config, HELP};
use service_runtime::env::{EXIT_BAD_CONFIGURATION, Environment};

fn main() -> ExitCode {
    match std::env::args_os()
        .nth(1)
        .as_ref()
        .map(|argument| argument.to_string_lossy())
        .as_deref()
    {
        None => {}
        Some("--help" | "-h") => {
            return say(HELP);
        }
        Some("--version" | "-V") => {
            return say(concat!("pool-managerd ", env!("CARGO_PKG_VERSION")));
        }
        Some(other) => {
            return refuse(&format!(
                "unknown argument {other:?}; settings come from the environment, see --help"
            ));
        }
    }
    let config = match Config::from_environment(Environment::from_process(&config::PREFIXES)) {
        Ok(config) => config,
        Err(problems) => return refuse(&format!("bad settings\n{problems}")),
    };
    if let Err(error) = telemetry::init(config.log_format, "info") {
        return refuse(&error.to_string());
    }
    match app::main(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "pool-managerd cannot go on");
            ExitCode::FAILURE
        }
    }
}

/// Says what was asked for. `println!` would panic when nobody reads it any more.
fn say(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says why nothing is started; the exit code says it also when nobody reads.
fn refuse(reason: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "pool-managerd: {reason}");
    ExitCode::from(EXIT_BAD_CONFIGURATION)
}
