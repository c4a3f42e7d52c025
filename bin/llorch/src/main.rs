//! `llorch`: see a fleet, steer it, talk to it. Parses, runs one command, and ends with the exit code it deserves.

mod args;
mod commands;
mod config;
mod exit;
mod output;
mod parting;
mod screen;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::mpsc::{Sender, channel},
    thread,
};

use clap::{Parser as _, error::ErrorKind};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    args::{Cli, Command},
    commands::App,
    config::Config,
    exit::{Exit, Failure, of_request},
    output::{Output, note},
};

/// How a run ends: the command by itself, or somebody ends it.
enum End {
    Done(Exit),
    Signal(i32),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return usage(&told).into(),
    };
    // The command has a thread of its own, so that a signal is heard whatever it waits for.
    let (tell, ends) = channel();
    if let Err(error) = spawn(cli, &tell) {
        note(&format!("llorch: cannot start: {error}"));
        return Exit::Failed.into();
    }
    let exit = match ends.recv() {
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
        // The command's thread has panicked and said so.
        Err(_) => {
            screen::restore();
            Exit::Failed
        }
    };
    exit.into()
}

fn spawn(cli: Cli, tell: &Sender<End>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let on_signal = tell.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let _ = on_signal.send(End::Signal(signal));
        }
    })?;
    let on_done = Done(tell.clone(), Exit::Failed);
    thread::Builder::new().name("command".to_owned()).spawn(move || {
        let mut on_done = on_done;
        on_done.1 = run(cli);
    })?;
    Ok(())
}

/// Tells when the command is over, however it ended.
struct Done(Sender<End>, Exit);

impl Drop for Done {
    fn drop(&mut self) {
        let _ = self.0.send(End::Done(self.1));
    }
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
