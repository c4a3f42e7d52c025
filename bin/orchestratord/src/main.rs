//! `orchestratord`, the control plane: parse, build, connect, wait, stop in order.

mod app;
mod config;

use std::process::ExitCode;

use config::{Config, HELP};
use service_runtime::env::{EXIT_BAD_CONFIGURATION, Environment};

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a binary owns its terminal"
)]
fn main() -> ExitCode {
    match std::env::args_os()
        .nth(1)
        .as_ref()
        .map(|argument| argument.to_string_lossy())
        .as_deref()
    {
        None => {}
        Some("--help" | "-h") => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some("--version" | "-V") => {
            println!("orchestratord {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!(
                "orchestratord: unknown argument {other:?}; settings come from the environment, see --help"
            );
            return ExitCode::from(EXIT_BAD_CONFIGURATION);
        }
    }
    let config = match Config::from_environment(Environment::from_process(&config::PREFIXES)) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("orchestratord: bad settings\n{problems}");
            return ExitCode::from(EXIT_BAD_CONFIGURATION);
        }
    };
    if let Err(error) = telemetry::init(config.log_format, "info") {
        eprintln!("orchestratord: {error}");
        return ExitCode::from(EXIT_BAD_CONFIGURATION);
    }
    match app::main(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "orchestratord cannot go on");
            ExitCode::FAILURE
        }
    }
}
