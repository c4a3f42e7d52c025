//! The command line.

mod ca;
mod engine;
mod join_token;
mod key_limits;
mod store;

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use llorch_client::{DrainTarget, NodeId, NodeStatus, TaskId};

pub(crate) use self::{
    ca::{Ca, CaFiles},
    engine::{AddEngine, Engine, HandoffDirectory},
    join_token::{CreateJoinToken, JoinToken},
    key_limits::{ChangeKeyLimits, KeyLimitArgs},
    store::{ExportState, ImportState, Profile, Store},
};

use crate::exit;

/// Show and operate a fleet of inference engines, and chat with its models.
#[derive(Debug, Parser)]
#[command(name = "llorch", version, after_help = exit::table(), propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// orchestratord's URL [env: LLORCH_URL] [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The API token; other users see it in the process list, so prefer LLORCH_API_TOKEN
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
    /// How the result is printed
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        conflicts_with = "json"
    )]
    pub(crate) output: Option<Format>,
    /// Print JSON instead of tables and text: the same as -o json
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    pub(crate) fn format(&self) -> Format {
        let default = if self.json {
            Format::Json
        } else {
            Format::Table
        };
        self.output.unwrap_or(default)
    }
}

/// How the result of a command is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text, with tables that fit the window
    Table,
    /// Text, with every column in full
    Wide,
    /// What the server sent
    Json,
    /// The names in a list, one a line, as other commands take them
    Name,
}

/// A token from the command line. `Debug` does not show it.
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
    /// Show the state of the fleet
    Status {
        #[command(flatten)]
        watch: Watch,
    },
    /// List the nodes, or show one with its pools and replicas
    Nodes(Nodes),
    /// List the pools of all nodes
    Pools {
        /// Only this node
        #[arg(long)]
        node: Option<NodeId>,
        #[command(flatten)]
        watch: Watch,
    },
    /// List the GPUs of all nodes: memory, load, temperature, power
    Gpus {
        /// Only this node
        #[arg(long)]
        node: Option<NodeId>,
        #[command(flatten)]
        watch: Watch,
    },
    /// Find, announce, list and restart engines
    #[command(subcommand)]
    Engine(Box<Engine>),
    /// List the models and their endpoints
    Models {
        #[command(flatten)]
        watch: Watch,
    },
    /// Show the fleet live; arrows scroll, s sorts the nodes, q quits
    Top {
        /// The time between two updates
        #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
        interval: Duration,
    },
    /// Take a node, a pool or a replica out of service: no new requests, running ones finish
    Drain(Drain),
    /// Put a node, a pool or a replica back into service
    Undrain {
        /// NODE, NODE/POOL or NODE/POOL/REPLICA
        target: DrainTarget,
    },
    /// Show where a request would run, and why not elsewhere; sends nothing to an engine
    Explain(Explain),
    /// Chat with a model; without a prompt, read standard input, or converse on a terminal
    Chat(Chat),
    /// Submit and follow tasks: inference without an open connection
    #[command(subcommand)]
    Tasks(Tasks),
    /// Show events of the fleet
    Events {
        /// Follow new events, across lost connections
        #[arg(short, long)]
        follow: bool,
        /// The number of past events
        #[arg(short = 'n', long, conflicts_with = "follow")]
        limit: Option<u32>,
        /// Continue after this event id
        #[arg(long, value_name = "ID", requires = "follow")]
        after: Option<String>,
    },
    /// Make, list, rotate and revoke the tokens of clients, nodes and operators
    #[command(subcommand)]
    Token(Token),
    /// Show what keys have used: requests, tokens and time on slots, by day and model
    Usage(Usage),
    /// Create, list and revoke the tokens with which machines join as nodes
    #[command(subcommand)]
    JoinToken(JoinToken),
    /// Print one line that makes a machine a node: paste it there
    #[command(name = "join-command")]
    JoinLine(CreateJoinToken),
    /// Make the certificate authority of a control plane, in a directory of this machine
    #[command(subcommand)]
    Ca(Ca),
    /// Back up all state of a control plane in one file, or restore it from one
    #[command(subcommand)]
    Store(Store),
    /// Measure any OpenAI-compatible server under load
    Bench(Bench),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man {
        /// Write it, and a page for each command, to this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Nodes {
    #[command(subcommand)]
    pub(crate) action: Option<NodesAction>,
    /// Show this node in full
    #[arg(conflicts_with_all = ["status", "model", "limit"])]
    pub(crate) node: Option<NodeId>,
    /// Only nodes in this state
    #[arg(long)]
    pub(crate) status: Option<Status>,
    /// Only nodes with an endpoint that has this model, ready or not
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The maximum number of nodes
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

/// Whether a list is printed again and again.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Watch {
    /// Print it again and again, every two seconds or as often as it says
    #[arg(
        short = 'w',
        long = "watch",
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s",
        value_parser = interval
    )]
    pub(crate) every: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodesAction {
    /// Revoke the certificates and keys of a node; it may join again with a join token
    Revoke {
        /// The node
        node: NodeId,
    },
    /// Remove a node that is gone for good; one that lives registers again
    Forget {
        /// The node
        node: NodeId,
    },
}

/// The state of a node.
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
    pub(crate) target: DrainTarget,
    /// How long running requests may take, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
    /// Wait until no request runs there
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The model
    pub(crate) model: String,
    /// The placement strategy, instead of the server's default
    #[arg(long)]
    pub(crate) strategy: Option<String>,
    /// The session, for the strategy `session`
    #[arg(long)]
    pub(crate) session: Option<String>,
    /// The only node that may serve the request
    #[arg(long, value_name = "NODE")]
    pub(crate) pin_node: Option<NodeId>,
    /// The prompt, for the strategy `prefix`
    #[arg(long)]
    pub(crate) prompt: Option<String>,
}

/// How the model answers.
#[derive(Debug, Clone, Args)]
pub(crate) struct SamplingArgs {
    /// The model; not needed when only one is served
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// The maximum length of the answer, in tokens
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u32>,
    /// The seed of the sampler
    #[arg(long)]
    pub(crate) seed: Option<i64>,
}

/// Where a request may run and how urgent it is.
#[derive(Debug, Clone, Args)]
pub(crate) struct RoutingArgs {
    /// The only node that may serve the request
    #[arg(long, value_name = "NODE")]
    pub(crate) pin_node: Option<NodeId>,
    /// The session, for session affinity
    #[arg(long)]
    pub(crate) session: Option<String>,
    /// The queue in which the request waits
    #[arg(long)]
    pub(crate) priority: Option<Priority>,
    /// The time after which the server gives up, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Priority {
    Interactive,
    Batch,
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) routing: RoutingArgs,
    /// The sampling temperature
    #[arg(long)]
    pub(crate) temperature: Option<f64>,
    /// The system message
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// The placement strategy, instead of the server's default
    #[arg(long)]
    pub(crate) strategy: Option<String>,
    /// Do not print where it ran and how long it took
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The prompt; several words are one text. The first may be the name of a model
    #[arg(value_name = "[MODEL] PROMPT")]
    pub(crate) prompt: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tasks {
    /// Submit a task; without a prompt, read standard input
    Submit(Box<Submit>),
    /// Show the state of a task
    Show {
        /// The id of the task
        task: TaskId,
    },
    /// Follow the events of a task, across lost connections
    Events {
        /// The id of the task
        task: TaskId,
        /// Continue after this event id
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Stop a task
    Cancel {
        /// The id of the task
        task: TaskId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Submit {
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) routing: RoutingArgs,
    /// The kind of task
    #[arg(long, default_value = "chat")]
    pub(crate) workload: Workload,
    /// The id of the task; submitting it twice runs it once
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<TaskId>,
    /// Follow its events at once
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The prompt; several words are one text. The first may be the name of a model
    #[arg(value_name = "[MODEL] PROMPT")]
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
    /// Check whether the server accepts the configured token
    Check,
    /// Create a key on the server, and print its token
    Create(CreateKey),
    /// List the keys of the server
    List,
    /// Give a key a new token, and print it; the old one stays valid for a while
    Rotate(RotateKey),
    /// Change limits of a key, from its next request on; the others stay
    Limits(Box<ChangeKeyLimits>),
    /// Revoke a key: its next request is refused
    Revoke {
        /// The id or the name of the key
        key: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateKey {
    /// The name of the key, for people
    pub(crate) name: String,
    /// What it may be used for; several times for several scopes
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    pub(crate) scopes: Vec<ScopeArg>,
    /// The only node that it may act for; needed with the scope node
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<NodeId>,
    /// Its life, such as 90days; without it the key has no end
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
    #[command(flatten)]
    pub(crate) limits: KeyLimitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RotateKey {
    /// The id or the name of the key
    pub(crate) key: String,
    /// How long the old token stays valid, such as 1h or 0s [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) overlap: Option<Duration>,
    /// The new life of the key from now on; without it its end stays
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// Only this key, by its id or its name
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only this model
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// From this day of UTC on, such as 2027-01-31
    #[arg(long, value_name = "DAY")]
    pub(crate) from: Option<String>,
    /// Up to this day, which is included
    #[arg(long, value_name = "DAY")]
    pub(crate) to: Option<String>,
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ScopeArg {
    /// Use models and tasks
    Client,
    /// Register and report one node
    Node,
    /// Read the state of the fleet
    Observer,
    /// Change the fleet and its keys
    Operator,
}

impl ScopeArg {
    /// Its name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node => "node",
            Self::Observer => "observer",
            Self::Operator => "operator",
        }
    }
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("length"))]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// The number of concurrent requests
    #[arg(
        short,
        long,
        value_name = "N",
        default_value = "8",
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    pub(crate) concurrency: u16,
    /// The number of requests [default: 100]
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        group = "length",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) requests: Option<u64>,
    /// The duration, such as 30s, instead of a number of requests
    #[arg(short, long, value_name = "DURATION", group = "length", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// The number of warm-up requests, which are not measured
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) warm_up: u64,
    /// Request whole answers instead of streams
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// The prompt; {i} becomes the number of the request, so that no cache helps
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

/// A shorter interval would put load on the control plane.
const MIN_UPDATE_INTERVAL: Duration = Duration::from_millis(100);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < MIN_UPDATE_INTERVAL {
        return Err("must be at least 100ms".to_owned());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    // spec: CLI-3
    #[test]
    fn no_debug_output_holds_the_token() {
        let cli = Cli::try_parse_from(["llorch", "status", "--token", "canary-9f8e"]).unwrap();
        assert!(!format!("{cli:?}").contains("canary"), "{cli:?}");
    }

    #[test]
    fn an_invalid_duration_has_an_example() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(duration("5").unwrap_err().contains("write 30s"));
        assert!(duration("0s").is_err() && interval("1ms").is_err());
    }
}
