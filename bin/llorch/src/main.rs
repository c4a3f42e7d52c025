//! `llorch`: shows a fleet, operates it, and chats with its models. Parses the command line, runs
//! one command, and ends with its exit code.

mod args;
mod clock;
mod commands;
mod config;
mod exit;
mod interrupt_message;
mod keys;
mod output;
mod screen;
mod table;
mod threads;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use bearer_auth::without_tokens;
use clap::{Parser as _, error::ErrorKind};
use signal_hook::consts::SIGINT;

use crate::{
    args::Cli,
    commands::{App, run_offline},
    config::Config,
    exit::{Exit, Failure, Outcome, advice_for},
    output::{Output, note},
    threads::{ProgramEnd, run_until_signal},
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error).into(),
    };
    let exit = match run_until_signal(|| run(cli)) {
        Err(error) => {
            note(&format!("llorch: cannot start: {error}"));
            Exit::Failed
        }
        Ok(ProgramEnd::Finished(exit)) => exit,
        Ok(ProgramEnd::Signal(signal)) => {
            screen::restore();
            if let Some(message) = interrupt_message::get() {
                note(&format!("\nllorch: {message}"));
            }
            if signal == SIGINT {
                Exit::Interrupted
            } else {
                Exit::Terminated
            }
        }
    };
    exit.into()
}

/// Prints help, the version or a usage error. Help and version are no failures, and go to standard
/// output.
fn print_usage(error: &clap::Error) -> Exit {
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
        _ => Exit::Usage,
    }
}

fn run(cli: Cli) -> Exit {
    let output = Output::new(cli.global.format());
    if let Some(outcome) = run_offline(&cli.command, output) {
        return exit_of(outcome, false);
    }
    let config = match Config::load(&cli.global) {
        Ok(config) => config,
        Err(failure) => return exit_of(Err(failure), false),
    };
    for warning in &config.warnings {
        note(&format!("llorch: warning: {warning}"));
    }
    let has_token = config.token.is_some();
    let app = App {
        client: config.client(),
        config,
        output,
    };
    exit_of(app.run(cli.command), has_token)
}

/// Prints a failure in one line, with what to do.
fn exit_of(outcome: Outcome, has_token: bool) -> Exit {
    // The buffer of standard output belongs to the result.
    let outcome = outcome.and_then(|()| Ok(io::stdout().flush()?));
    match outcome {
        Ok(()) | Err(Failure::OutputClosed) => Exit::Ok,
        Err(Failure::Reported(exit)) => exit,
        Err(Failure::Message(exit, message)) => {
            note(&without_tokens(&format!("llorch: {message}")));
            exit
        }
        Err(Failure::Client(error)) => {
            let (exit, advice) = advice_for(&error, has_token);
            let separator = if advice.is_empty() { "" } else { "; " };
            note(&without_tokens(&format!(
                "llorch: {error}{separator}{advice}"
            )));
            exit
        }
    }
}
