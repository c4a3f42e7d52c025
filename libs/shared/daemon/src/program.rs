//! The program around a daemon: arguments, exit codes, and the async runtime.

use std::{
    fmt::Display,
    io::{self, Write as _},
    iter,
    net::{SocketAddr, TcpListener},
    process::ExitCode,
};

use pool_registry_types::limits::Limit;
use service_runtime::{
    CoreThreads, EXIT_SECOND_SIGNAL,
    env::{EXIT_BAD_CONFIGURATION, Environment, Problems},
    inherited_listener,
};
use telemetry::Service;
use tokio::time::Instant;

use crate::{
    DescribeSetting, Report, Setting, SettingDescription, Settings, check,
    common::{COMMON, LOG_FILTER},
    help::{limits, lines, rows},
    running::{Daemon, JOIN_TIMEOUT, StartError},
};

/// The most threads for everything but connections: reports, timers, the registry, tasks.
const OTHER_THREADS: usize = 4;

/// Describes a daemon to `main`.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The name of its binary, for logs and metrics.
    pub name: &'static str,
    /// Its version; `env!("CARGO_PKG_VERSION")` of the binary, not of a library.
    pub version: &'static str,
    /// A short description, which stands after its name.
    pub title: &'static str,
    /// The paragraph of `--help` before the settings.
    pub about: &'static str,
    /// Its listen address.
    pub address: &'static Setting<SocketAddr>,
    /// The settings that it has beside the common ones.
    pub settings: &'static [&'static dyn DescribeSetting],
    /// The paragraph of `--help` after the settings.
    pub ending: &'static str,
    /// The beginning of the names of its own variables, such as `"DEMO_"`.
    pub prefix: &'static str,
    /// Its OpenAPI document, as JSON.
    pub openapi: fn() -> String,
    /// The bounds that its peers can meet, by crate.
    pub limits: &'static [&'static [(&'static str, &'static [Limit])]],
}

/// The revision that a release is built from; see `ci/deploy/release`.
const REVISION: Option<&str> = option_env!("LLORCH_REVISION");

impl Program {
    /// All its settings, described: the listen address, its own, and the common ones.
    pub(crate) fn settings(&self) -> Vec<SettingDescription> {
        let address: &dyn DescribeSetting = self.address;
        iter::once(address)
            .chain(self.settings.iter().copied())
            .chain(COMMON.iter().copied())
            .map(|setting| setting.describe(self.prefix))
            .collect()
    }

    /// The variables of its settings, as they are now. It sees no other variable, so a setting
    /// without a row has no effect.
    fn environment(&self) -> Environment {
        let settings = self.settings();
        let names: Vec<&str> = settings
            .iter()
            .map(|setting| setting.name.as_str())
            .collect();
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
        let rows = rows(&self.settings());
        format!(
            "{name}, {title}\n\nUsage: {name} [check [--json] | --help | --version | --settings | \
             --openapi | --limits]\n\n{about}\n\n`check` checks everything that a start needs,
                 says \
             what is wrong and how to fix it, and starts nothing.\n\nSettings come from the \
             environment; --settings prints them for programs, --openapi prints the API, and \
             --limits prints every bound:\n\n{rows}\n{ending}\nExit codes: 0 stopped, 1 failed, or \
             errors found by `check`, {EXIT_BAD_CONFIGURATION} bad settings, {EXIT_SECOND_SIGNAL} \
             second signal."
        )
    }

    /// A socket that was handed over has its address already. A setting with another address is a
    /// mistake: clients would look for the daemon at the wrong place.
    fn settle_address(
        &self,
        environment: &mut Environment,
        addr: SocketAddr,
    ) -> Result<(), String> {
        let variable = self.address.variable(self.prefix);
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

    /// Refuses to start, with the reason on standard error.
    fn refuse(&self, reason: &str) -> ExitCode {
        let _ = writeln!(io::stderr(), "{}: {reason}", self.name);
        ExitCode::from(EXIT_BAD_CONFIGURATION)
    }
}

/// Prints to standard output. `println!` would panic when the reader has gone.
fn print(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs a daemon: reads the arguments, calls `configure` with the environment, and `run` with the
/// configuration.
///
/// With the argument `check` it starts nothing: it checks what a start needs, calls `preflight`
/// for more checks, and prints a [`Report`]. The exit code is then 1 when there are errors.
///
/// `run` gets a [`Daemon`] that listens for signals. It begins to stop when
/// [`Daemon::stop_requested`] returns, and calls [`Daemon::end`] last. The exit code is 0 after an
/// orderly stop, 1 when `run` failed or a task panicked, 64 when an argument or a setting is bad.
/// An error is logged in its alternate form, which lists the causes in `anyhow`.
pub fn main<C, E>(
    program: &'static Program,
    configure: impl FnOnce(Environment) -> Result<C, Problems>,
    preflight: impl FnOnce(&C, &mut Report),
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
        ["--help" | "-h", ..] => return print(&program.help()),
        ["--settings", ..] => return print(&lines(&program.settings())),
        ["--limits", ..] => return print(&limits(program.limits)),
        ["--openapi", ..] => return print((program.openapi)().trim_end()),
        ["--version" | "-V", ..] => return print(&program.version_line()),
        ["check"] => return print_report(&check_start(program, configure, preflight), false),
        ["check", "--json"] => {
            return print_report(&check_start(program, configure, preflight), true);
        }
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
    let exporting =
        match telemetry::init_for(&service, settings.log_format, &LOG_FILTER.default_value()) {
            Ok(exporting) => exporting,
            Err(error) => return program.refuse(&error.to_string()),
        };
    let span = config.as_ref().span();
    let _entered = span.enter();
    let result = run_on_threads(program, config, listener, run);
    let code = match result {
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
fn check_start<C: AsRef<Settings>>(
    program: &Program,
    configure: impl FnOnce(Environment) -> Result<C, Problems>,
    preflight: impl FnOnce(&C, &mut Report),
) -> Report {
    let mut report = Report::default();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    check::unknown_settings(&mut report, program, names);
    check::missing_feature(&mut report);
    match configure(program.environment()) {
        Err(problems) => check::bad_settings(&mut report, program, &problems),
        Ok(config) => {
            check::common(&mut report, program, config.as_ref());
            preflight(&config, &mut report);
        }
    }
    report
}

fn print_report(report: &Report, as_json: bool) -> ExitCode {
    let text = if as_json {
        serde_json::to_string(report).unwrap_or_else(|error| error.to_string())
    } else {
        report.to_string()
    };
    let printed = print(&text);
    if report.has_errors() {
        ExitCode::FAILURE
    } else {
        printed
    }
}

fn run_on_threads<C, E>(
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
    let connections = CoreThreads::start(settings.threads).map_err(StartError::Runtime)?;
    // Within the span of the caller, because this thread stays in it.
    let main = async {
        let daemon = Daemon::start(program, config.as_ref(), connections.cores(), listener)?;
        let tasks = daemon.tasks.clone();
        run(config, daemon).await?;
        // An orderly stop can also follow a panic of a task.
        tasks.outcome().map_err(StartError::from).map_err(E::from)
    };
    let result = runtime.block_on(main);
    let until = Instant::now() + JOIN_TIMEOUT;
    if !connections.stop(JOIN_TIMEOUT) {
        tracing::warn!("a thread of connections did not end in time");
    }
    // Dropping it would wait for a disk that hangs.
    runtime.shutdown_timeout(until.saturating_duration_since(Instant::now()));
    result
}
