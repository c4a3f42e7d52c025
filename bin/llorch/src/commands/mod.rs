//! The commands of the command line.

mod app;
mod bench;
mod ca;
mod cells;
mod chat;
mod drain;
mod engine;
mod events;
mod explain;
mod gpus;
mod join_tokens;
mod keys;
mod models;
mod nodes;
mod pages;
mod pools;
mod status;
mod store;
mod tasks;
mod token;
mod top;
mod usage;
mod watch;

pub(crate) use self::app::App;

use crate::{
    args::{self, Command},
    exit::{Failure, Outcome},
    output::Output,
};

/// Runs a command that needs neither a server nor valid settings. `None` for the other commands.
pub(crate) fn run_offline(command: &Command, output: Output) -> Option<Outcome> {
    match command {
        Command::Completions { shell } => Some(pages::completions(*shell)),
        Command::Man { out } => Some(pages::man(out.as_deref())),
        Command::Token(args::Token::Generate) => Some(token::generate(output)),
        Command::Ca(command) => Some(ca::run(command, output)),
        Command::Engine(command) => engine::run_offline(command, output),
        Command::Store(command) => store::run_offline(command, output),
        _ => None,
    }
}

impl App {
    /// Runs a command.
    pub(crate) fn run(&self, command: Command) -> Outcome {
        if self.output.names && !has_names(&command) {
            return Err(Failure::usage(
                "-o name is for lists: nodes, pools, gpus, models, engine list, engine discover, \
                 token list, join-token list",
            ));
        }
        match command {
            Command::Status { watch } => self.watched(watch, || self.status()),
            Command::Nodes(nodes) => self.watched(nodes.watch, || self.nodes(&nodes)),
            Command::Pools { node, watch } => self.watched(watch, || self.pools(node.as_ref())),
            Command::Gpus { node, watch } => self.watched(watch, || self.gpus(node.as_ref())),
            Command::Models { watch } => self.watched(watch, || self.models()),
            Command::Engine(command) => self.engine(&command),
            Command::Top { interval } => self.top(interval),
            Command::Drain(drain) => self.drain(&drain),
            Command::Undrain { target } => self.undrain(&target),
            Command::Explain(explain) => self.explain(&explain),
            Command::Chat(chat) => self.chat(chat),
            Command::Tasks(args::Tasks::Submit(submit)) => self.submit(&submit),
            Command::Tasks(args::Tasks::Show { task }) => self.show_task(&task),
            Command::Tasks(args::Tasks::Events { task, after }) => self.task_events(&task, after),
            Command::Tasks(args::Tasks::Cancel { task }) => self.cancel_task(&task),
            Command::Events {
                follow,
                limit,
                after,
            } => self.events(follow, limit, after),
            Command::Token(args::Token::Check) => self.check_token(),
            Command::Token(args::Token::Create(create)) => self.create_key(create),
            Command::Token(args::Token::List) => self.list_keys(),
            Command::Token(args::Token::Rotate(rotate)) => self.rotate_key(&rotate),
            Command::Token(args::Token::Limits(change)) => self.change_key_limits(*change),
            Command::Token(args::Token::Revoke { key }) => self.revoke_key(&key),
            Command::Usage(usage) => self.usage(usage),
            Command::JoinToken(command) => self.join_token(command),
            Command::JoinLine(create) => self.join_command(create),
            Command::Store(args::Store::Export(export)) => self.export_state(&export),
            Command::Bench(bench) => self.bench(&bench),
            // `run_offline` runs these before there is an `App`.
            Command::Token(args::Token::Generate)
            | Command::Ca(_)
            | Command::Store(args::Store::Import(_))
            | Command::Completions { .. }
            | Command::Man { .. } => Ok(()),
        }
    }
}

/// Whether a command prints a list of things that have names.
fn has_names(command: &Command) -> bool {
    matches!(
        command,
        Command::Nodes(_)
            | Command::Pools { .. }
            | Command::Gpus { .. }
            | Command::Models { .. }
            | Command::Token(args::Token::List)
            | Command::JoinToken(args::JoinToken::List)
    ) || is_list_of_engines(command)
}

fn is_list_of_engines(command: &Command) -> bool {
    let Command::Engine(command) = command else {
        return false;
    };
    matches!(**command, args::Engine::List { .. })
}
