//! `llorch`: see a fleet, steer it, talk to it. Parses, runs one command, and ends with the exit
//! code it deserves.

mod args;
mod commands;
mod config;
mod exit;
mod output;
mod parting;
mod screen;
mod threads;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser as _, error::ErrorKind};
use signal_hook::consts::SIGINT;

use crate::{
    args::{Cli, Command},
    commands::App,
    config::Config,
    exit::{Exit, Failure, of_request},
    output::{Output, note},
    threads::End,
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return usage(&told).into(),
    };
    let exit = match threads::first_end(|| run(cli)) {
        Err(error) => {
            note(&format!("llorch: cannot start: {error}"));
            Exit::Failed
        }
        Ok(End::Done(exit)) => exit,
        Ok(End::Signal(signal)) => {
            screen::restore();
            if let Some(word) = parting::word() {
                note(&format!("\nllorch: {word}"));
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

/// What clap says: help and versions are no failure, and go where results go.
fn usage(told: &clap::Error) -> Exit {
    let _ = told.print();
    match told.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
        _ => Exit::Usage,
    }
}

fn run(cli: Cli) -> Exit {
    let output = Output::new(cli.global.json);
    // These need no server, so they need no settings that are right.
    let without_server = match &cli.command {
        Command::Completions { shell } => Some(commands::pages::completions(*shell)),
        Command::Man { out } => Some(commands::pages::man(out.as_deref())),
        Command::Token(args::Token::Generate) => Some(commands::token::generate(output)),
        _ => None,
    };
    if let Some(outcome) = without_server {
        return ended(outcome, false);
    }
    let config = match Config::load(&cli.global) {
        Ok(config) => config,
        Err(failure) => return ended(Err(failure), false),
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
    ended(app.run(cli.command), has_token)
}

/// Says in one line what went wrong and what to do.
fn ended(outcome: Result<(), Failure>, has_token: bool) -> Exit {
    // What is still in the buffer of standard output belongs to the result.
    let outcome = outcome.and_then(|()| Ok(io::stdout().flush()?));
    match outcome {
        Ok(()) | Err(Failure::NobodyReads) => Exit::Ok,
        Err(Failure::Said(exit)) => exit,
        Err(Failure::Told(exit, message)) => {
            note(&format!("llorch: {message}"));
            exit
        }
        Err(Failure::Client(error)) => {
            let (exit, advice) = of_request(&error, has_token);
            let separator = if advice.is_empty() { "" } else { "; " };
            note(&format!("llorch: {error}{separator}{advice}"));
            exit
        }
    }
}
