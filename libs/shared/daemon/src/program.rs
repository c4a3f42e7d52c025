//! A daemon as a program: arguments, exit codes, and the runtime that everything runs in.

use std::{
    fmt::Display,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener},
    process::ExitCode,
};

use pool_registry_types::limits::Limit;
use service_runtime::{
    ConnectionThreads, EXIT_SECOND_SIGNAL,
    env::{EXIT_BAD_CONFIGURATION, Environment, Problems},
    inherited_listener,
};
use telemetry::Service;
use tokio::time::Instant;

use crate::{
    Report, Setting, Settings, check,
    help::{limits, lines, rows},
    running::{Daemon, JOIN_TIMEOUT, StartError},
};

/// How many threads there are at most for all that is no connection: reports, timers, the registry,
/// tasks.
const OTHER_THREADS: usize = 4;

/// Who a daemon is.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The name of its binary, as logs and metrics say it.
    pub name: &'static str,
    /// Its version; `env!("CARGO_PKG_VERSION")` of the binary, not of a library.
    pub version: &'static str,
    /// What it is, after its name.
    pub title: &'static str,
    /// What `--help` says of what it does.
    pub about: &'static str,
    /// Every variable that it reads.
    pub settings: &'static [Setting],
    /// What `--help` says of its end.
    pub ending: &'static str,
    /// What the names of its own variables begin with, as in `"DEMO_"`.
    pub prefix: &'static str,
    /// The OpenAPI document of what it serves, as JSON.
    pub openapi: fn() -> String,
    /// The bounds that its peers can meet, by the crate that they are in.
    pub limits: &'static [&'static [(&'static str, &'static [Limit])]],
}

/// The revision that a release was built from; see `ci/deploy/release`.
const REVISION: Option<&str> = option_env!("LLORCH_REVISION");

impl Program {
    /// The variables that concern it, as they are now. Those that it does not tell of it does not
    /// see either, so that none can be forgotten.
    fn environment(&self) -> Environment {
        let names: Vec<&str> = self.settings.iter().map(|setting| setting.name).collect();
        Environment::from_process(&names)
    }

    /// What `--version` prints.
    fn version_line(&self) -> String {
        let revision = REVISION.map(|revision| format!(" ({revision})"));
        format!(
            "{} {}{}",
            self.name,
            self.version,
            revision.unwrap_or_default()
        )
    }

    /// What `--help` prints.
    fn help(&self) -> String {
        let Self {
            name,
            title,
            about,
            ending,
            ..
        } = self;
        let rows = rows(self.settings);
        format!(
            "{name}, {title}\n\nUsage: {name} [check [--json] | --help | --version | --settings | \
             --openapi | --limits]\n\n{about}\n\n`check` looks at everything a start needs, says \
             what is wrong and how to hint it, and starts nothing.\n\nSettings come from the \
             environment; --settings prints them for programs, --openapi what is served, and \
             --limits every bound:\n\n{rows}\n{ending}\nExit codes: 0 stopped, 1 failed, or \
             errors found by `check`, {EXIT_BAD_CONFIGURATION} bad settings, {EXIT_SECOND_SIGNAL} \
             second signal."
        )
    }

    /// A socket that was handed over has its address already; a setting that says another one is a
    /// mistake, and whoever made it should not look for the daemon where it is not.
    fn settle_address(
        &self,
        environment: &mut Environment,
        addr: SocketAddr,
    ) -> Result<(), String> {
        let variable = Settings::variable(self, "ADDR");
        environment
            .settle(&variable, addr.to_string(), |before| {
                before.parse() == Ok(addr)
            })
            .map_err(|before| {
                format!(
                    "{variable} is {before:?}, but the service manager handed over a socket that \
                     listens on {addr}: change ListenStream= of the socket unit, or leave \
                     {variable} unset"
                )
            })
    }

    /// Says why nothing is started; the exit code says it also when nobody reads.
    fn refuse(&self, reason: &str) -> ExitCode {
        let _ = writeln!(io::stderr(), "{}: {reason}", self.name);
        ExitCode::from(EXIT_BAD_CONFIGURATION)
    }
}

/// Says what was asked for. `println!` would panic when nobody reads it any more.
fn say(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The whole life of a daemon: its arguments, its `configure`d settings, and `run` until it
/// returns.
///
/// With the argument `check` it is a short one: it looks at what a start needs, at more by `look`,
/// and prints a [`Report`]; 1 when there are errors.
///
/// `run` gets a [`Daemon`] that listens for signals and holds its address; it stops when
/// [`Daemon::asked_to_stop`] returns, and calls [`Daemon::end`] last. The exit code is 0 when it
/// has stopped in order, 1 when it failed or one of its tasks panicked, 64 when an argument or a
/// setting is bad. An error is logged in its alternate form, with its causes in `anyhow`'s.
pub fn main<C, E>(
    program: &'static Program,
    configure: impl FnOnce(Environment) -> Result<C, Problems>,
    look: impl FnOnce(&C, &mut Report),
    run: impl AsyncFnOnce(C, Daemon) -> Result<(), E>,
) -> ExitCode
where
    C: AsRef<Settings>,
    E: Display + From<StartError>,
{
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => {}
        ["--help" | "-h", ..] => return say(&program.help()),
        ["--settings", ..] => return say(&lines(program.settings)),
        ["--limits", ..] => return say(&limits(program.limits)),
        ["--openapi", ..] => return say((program.openapi)().trim_end()),
        ["--version" | "-V", ..] => return say(&program.version_line()),
        ["check"] => return said(&checked(program, configure, look), false),
        ["check", "--json"] => return said(&checked(program, configure, look), true),
        ["check", other, ..] | [other, ..] => {
            return program.refuse(&format!(
                "unknown argument {other:?}; settings come from the environment, see --help"
            ));
        }
    }
    let mut environment = program.environment();
    // Now, while there are no threads.
    let listener = match inherited_listener() {
        Ok(listener) => listener,
        Err(error) => return program.refuse(&error.to_string()),
    };
    if let Some(addr) = listener
        .as_ref()
        .and_then(|listener| listener.local_addr().ok())
        && let Err(reason) = program.settle_address(&mut environment, addr)
    {
        return program.refuse(&reason);
    }
    let config = match configure(environment) {
        Ok(config) => config,
        Err(problems) => return program.refuse(&format!("bad settings\n{problems}")),
    };
    let settings = config.as_ref();
    let service = Service {
        name: program.name,
        version: program.version,
        instance: settings.node.as_deref(),
    };
    let exporting = match telemetry::init_for(&service, settings.log_format, "info") {
        Ok(exporting) => exporting,
        Err(error) => return program.refuse(&error.to_string()),
    };
    let span = config.as_ref().span();
    let _everything = span.enter();
    let lived = live(program, config, listener, run);
    let code = match lived {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "{} cannot go on",
                program.name
            );
            ExitCode::FAILURE
        }
    };
    exporting.finish();
    code
}

/// Looks at everything that a start needs.
fn checked<C: AsRef<Settings>>(
    program: &Program,
    configure: impl FnOnce(Environment) -> Result<C, Problems>,
    look: impl FnOnce(&C, &mut Report),
) -> Report {
    let mut report = Report::default();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    check::unknown_settings(&mut report, program, names);
    check::missing_feature(&mut report);
    match configure(program.environment()) {
        Err(problems) => check::bad_settings(&mut report, program, &problems),
        Ok(config) => {
            check::common(&mut report, program, config.as_ref());
            look(&config, &mut report);
        }
    }
    report
}

fn said(report: &Report, as_json: bool) -> ExitCode {
    let text = if as_json {
        serde_json::to_string(report).unwrap_or_else(|error| error.to_string())
    } else {
        report.to_string()
    };
    let said = say(&text);
    if report.has_errors() {
        ExitCode::FAILURE
    } else {
        said
    }
}

fn live<C, E>(
    program: &'static Program,
    config: C,
    listener: Option<TcpListener>,
    run: impl AsyncFnOnce(C, Daemon) -> Result<(), E>,
) -> Result<(), E>
where
    C: AsRef<Settings>,
    E: Display + From<StartError>,
{
    let settings = config.as_ref();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.threads.get().min(OTHER_THREADS))
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    let connections = ConnectionThreads::start(settings.threads).map_err(StartError::Runtime)?;
    // Within the caller's span, as this thread stays in it.
    let life = async {
        let daemon = Daemon::start(program, config.as_ref(), connections.handle(), listener)?;
        let tasks = daemon.tasks.clone();
        run(config, daemon).await?;
        // Stopped in order, but not always because somebody asked.
        tasks.outcome().map_err(StartError::from).map_err(E::from)
    };
    let result = runtime.block_on(life);
    let until = Instant::now() + JOIN_TIMEOUT;
    if !connections.stop(JOIN_TIMEOUT) {
        tracing::warn!("a thread of connections did not end in time");
    }
    // Not dropped: that would wait for a disk that hangs.
    runtime.shutdown_timeout(until.saturating_duration_since(Instant::now()));
    result
}
