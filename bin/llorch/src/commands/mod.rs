//! The commands, and what they share.

mod bench;
mod chat;
mod drain;
mod events;
mod explain;
mod gpus;
mod lists;
pub(crate) mod pages;
mod status;
mod tasks;
pub(crate) mod token;
mod top;

use std::io::{self, Read as _};

use llorch_client::{Client, ClientError, Routing};
use pool_registry_types::ErrorCode;

use crate::{
    args::{self, Command, Way},
    config::Config,
    exit::{Exit, Failure, Outcome},
    output::Output,
};

/// What stands for "nothing" or "unknown" in a table.
const NONE: &str = "-";

/// What commands work with.
pub(crate) struct App {
    pub(crate) client: Client,
    pub(crate) config: Config,
    pub(crate) output: Output,
}

impl App {
    /// Runs a command.
    pub(crate) fn run(&self, command: Command) -> Outcome {
        match command {
            Command::Status => self.status(),
            Command::Nodes(nodes) => self.nodes(nodes),
            Command::Pools { node } => self.pools(node.as_ref()),
            Command::Gpus { node } => self.gpus(node.as_ref()),
            Command::Models => self.models(),
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
            Command::Bench(bench) => self.bench(&bench),
            // Done before there was a server to talk to.
            Command::Token(args::Token::Generate) => token::generate(self.output),
            Command::Completions { shell } => pages::completions(shell),
            Command::Man { out } => pages::man(out.as_deref()),
        }
    }

    /// The model that is meant when nobody names one.
    fn model(&self, named: Option<String>) -> Result<String, Failure> {
        if let Some(model) = named {
            return Ok(model);
        }
        let mut models = self.client.model_names()?;
        match models.len() {
            0 => Err(Failure::Told(
                Exit::NotFound,
                "nobody serves a model now; `llorch pools` says why".to_owned(),
            )),
            1 => Ok(models.remove(0)),
            _ => Err(Failure::usage(format!(
                "there are several models, name one with --model: {}",
                models.join(", ")
            ))),
        }
    }
}

/// The words of a prompt as one text, or all of standard input.
fn prompt(words: &[String]) -> Result<String, Failure> {
    if !words.is_empty() {
        return Ok(words.join(" "));
    }
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
    if text.trim().is_empty() {
        return Err(Failure::usage(
            "there is no prompt, neither as an argument nor on standard input",
        ));
    }
    Ok(text)
}

impl Way {
    fn routing(&self) -> Routing {
        Routing {
            pin_node: self.pin_node.clone(),
            session: self.session.clone(),
            strategy: None,
            priority: self.priority.map(|priority| priority.as_str().to_owned()),
            deadline_ms: self
                .deadline
                .map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// Whether the server has no such route, because it is older than this program.
fn is_older(error: &ClientError) -> bool {
    error.status() == Some(404)
        && (error.is(ErrorCode::NotFound)
            || matches!(error, ClientError::Refused { code, .. } if code.is_empty()))
}
