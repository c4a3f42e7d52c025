//! The command line, as clap sees it.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use llorch_client::Target;
use pool_registry_types::{NodeId, NodeStatus, TaskId};

use crate::exit;

/// See and steer a fleet of inference engines, and talk to it.
#[derive(Debug, Parser)]
#[command(name = "llorch", version, after_help = exit::table(), propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// orchestratord's URL [env: LLORCH_URL] [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The API token; whoever lists processes sees it, so rather set LLORCH_API_TOKEN
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        conflicts_with = "token_file"
    )]
    pub(crate) token: Option<Secret>,
    /// A file with the API token
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The config file [default: ~/.config/llorch/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON instead of tables and text
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A token as it was typed: any text, never shown.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The fleet at a glance
    Status,
    /// The nodes, or one of them with its pools and replicas
    Nodes(Nodes),
    /// The pools of all nodes
    Pools {
        /// Only those of this node
        #[arg(long)]
        node: Option<NodeId>,
    },
    /// The GPUs of all nodes: memory, load, temperature, power
    Gpus {
        /// Only those of this node
        #[arg(long)]
        node: Option<NodeId>,
    },
    /// The models and who serves them
    Models,
    /// The fleet, live; q quits
    Top {
        /// How often it is looked at
        #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
        interval: Duration,
    },
    /// Take a node, a pool or a replica out of service: no new requests, running ones finish
    Drain(Drain),
    /// Put a node, a pool or a replica back into service
    Undrain {
        /// NODE, NODE/POOL or NODE/POOL/REPLICA
        target: Target,
    },
    /// Where a request would go, and why not elsewhere; nothing is sent
    Explain(Explain),
    /// Talk to a model; without a prompt from standard input, or turn by turn on a terminal
    Chat(Chat),
    /// Inference that runs by itself
    #[command(subcommand)]
    Tasks(Tasks),
    /// What happened in the fleet
    Events {
        /// Go on with what happens, across lost connections
        #[arg(short, long)]
        follow: bool,
        /// How many of the last events
        #[arg(short = 'n', long, conflicts_with = "follow")]
        limit: Option<u32>,
        /// Go on after this event id
        #[arg(long, value_name = "ID", requires = "follow")]
        after: Option<String>,
    },
    /// API tokens
    #[command(subcommand)]
    Token(Token),
    /// Measure any server of OpenAI's API under load
    Bench(Bench),
    /// A completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// The manual page
    Man {
        /// Write it, and one page for each command, into this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Only this one, in full
    #[arg(conflicts_with_all = ["status", "model", "limit"])]
    pub(crate) node: Option<NodeId>,
    /// Only those with this status
    #[arg(long)]
    pub(crate) status: Option<Status>,
    /// Only those with an endpoint that serves this model, ready or not
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Status {
    Online,
    Draining,
    Unreachable,
    Offline,
}

impl From<Status> for NodeStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Online => Self::Online,
            Status::Draining => Self::Draining,
            Status::Unreachable => Self::Unreachable,
            Status::Offline => Self::Offline,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// NODE, NODE/POOL or NODE/POOL/REPLICA
    pub(crate) target: Target,
    /// How long running requests may take, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
    /// Wait until no request runs there any more
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The model
    pub(crate) model: String,
    /// How to choose, instead of the configured way
    #[arg(long)]
    pub(crate) strategy: Option<String>,
    /// The session, for the strategy `session`
    #[arg(long)]
    pub(crate) session: Option<String>,
    /// Only this node will do
    #[arg(long, value_name = "NODE")]
    pub(crate) pin_node: Option<NodeId>,
    /// The prompt, for the strategy `prefix`
    #[arg(long)]
    pub(crate) prompt: Option<String>,
}

/// How a model is to answer.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sampling {
    /// The model; may be left out when there is one
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// The longest answer, in tokens
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u32>,
    /// The beginning of the chance
    #[arg(long)]
    pub(crate) seed: Option<i64>,
}

/// Where a request may go and how urgent it is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Way {
    /// Only this node will do
    #[arg(long, value_name = "NODE")]
    pub(crate) pin_node: Option<NodeId>,
    /// The conversation it belongs to
    #[arg(long)]
    pub(crate) session: Option<String>,
    /// How urgent it is
    #[arg(long)]
    pub(crate) priority: Option<Priority>,
    /// No answer is wanted after this time, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Priority {
    Interactive,
    Batch,
}

impl Priority {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    #[command(flatten)]
    pub(crate) way: Way,
    /// How much chance there is in the answer
    #[arg(long)]
    pub(crate) temperature: Option<f64>,
    /// What the model is told first
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// How to choose among free endpoints
    #[arg(long)]
    pub(crate) strategy: Option<String>,
    /// Leave out the line about where it ran and how long it took
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// What to say; several words are one text
    pub(crate) prompt: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tasks {
    /// Hand in a task; the prompt from standard input when none is given
    Submit(Box<Submit>),
    /// How far a task is
    Show {
        /// Its id
        task: TaskId,
    },
    /// What a task tells, from the beginning or after an event, across lost connections
    Events {
        /// Its id
        task: TaskId,
        /// Go on after this event id
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Stop a task
    Cancel {
        /// Its id
        task: TaskId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Submit {
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    #[command(flatten)]
    pub(crate) way: Way,
    /// Which kind of work it is
    #[arg(long, default_value = "chat")]
    pub(crate) workload: Workload,
    /// Its id; the same id with the same task is the same task
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<TaskId>,
    /// Follow its events at once
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// What to say; several words are one text
    pub(crate) prompt: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Workload {
    Chat,
    Completion,
    Embedding,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Print a new random token
    Generate,
    /// Say whether the server accepts the token that is set
    Check,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("length"))]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    /// Requests at the same time
    #[arg(short, long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// How many requests in all [default: 100]
    #[arg(short = 'n', long, value_name = "N", group = "length", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,
    /// Instead of a number of requests: for how long, such as 30s
    #[arg(short, long, value_name = "DURATION", group = "length", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Requests before the measured ones, so that everything is warm
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) warm_up: u64,
    /// Ask for whole answers instead of streams
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// What to say; {i} becomes the number of the request, so that no cache helps
    #[arg(long, default_value = "Count from one to one hundred in words. ({i})")]
    pub(crate) prompt: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write 30s, 5m or 1h"))?;
    if duration < Duration::from_millis(1) {
        return Err("must be at least 1ms".to_owned());
    }
    Ok(duration)
}

/// More often than this, looking at a fleet disturbs it.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < SHORTEST_INTERVAL {
        return Err("must be at least 100ms".to_owned());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    // spec: CLI-3
    #[test]
    fn no_debug_output_holds_the_token() {
        let cli = Cli::try_parse_from(["llorch", "status", "--token", "canary-9f8e"]).unwrap();
        assert!(!format!("{cli:?}").contains("canary"), "{cli:?}");
    }

    #[test]
    fn durations_say_what_would_be_right() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(duration("5").unwrap_err().contains("write 30s"));
        assert!(duration("0s").is_err() && interval("1ms").is_err());
    }
}
