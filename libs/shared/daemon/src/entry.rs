//! The entry point of a daemon: arguments, exit codes, and the async runtime.

use std::{
    fmt::Display,
    io::{self, Write as _},
    net::TcpListener,
    process::ExitCode,
};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use service_runtime::{
    ConnectionThreads,
    env::{Environment, Problems},
    inherited_listener,
};
use telemetry::{AuditFile, Service};
use tokio::time::Instant;

use crate::{
    check,
    common::{AUDIT_FILE, LOG_FILTER},
    flags::{self, Mode},
    help::{limits, lines},
    program::Program,
    report::Report,
    running::{Daemon, JOIN_TIMEOUT, StartError},
    settings::Settings,
    sources::{Loaded, Sources},
    unused::unused_settings,
};

/// The most threads for everything but connections: reports, timers, the registry, tasks.
const OTHER_THREADS: usize = 4;

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
    let arguments: Result<Vec<String>, _> = std::env::args_os()
        .skip(1)
        .map(std::ffi::OsString::into_string)
        .collect();
    let Ok(arguments) = arguments else {
        return program.refuse("every argument must be valid UTF-8 text");
    };
    let arguments = flags::parse(&arguments, &program.settings());
    let sources = Sources::new(program, &arguments);
    match arguments.mode {
        Mode::Run => {}
        Mode::Help => return print(&program.help()),
        Mode::Settings => return print(&lines(&program.settings())),
        Mode::Limits => return print(&limits(program.limits)),
        Mode::OpenApi => return print((program.openapi)().trim_end()),
        Mode::Version => return print(&program.version_line()),
        // What is asked for is not understood, so nothing is checked.
        Mode::Check { .. } if !arguments.problems.is_empty() => {
            return program.refuse(&format!("wrong arguments\n{}", arguments.problems));
        }
        Mode::Check { as_json } => {
            let report = check_start(program, &sources.load(), configure, preflight);
            return print_report(&report, as_json);
        }
    }
    forbid_core_dumps();
    // Now, while there are no threads.
    let listener = match inherited_listener() {
        Ok(listener) => listener,
        Err(error) => return program.refuse(&error.to_string()),
    };
    let inherited = listener.as_ref().and_then(|it| it.local_addr().ok());
    let sources = sources.with_inherited(inherited);
    let loaded = sources.load();
    if let Some(reason) = &loaded.conflict {
        return program.refuse(reason);
    }
    let config = match loaded.configure(configure) {
        Ok(config) => config,
        Err(problems) => return program.refuse(&format!("bad settings\n{problems}")),
    };
    let settings = config.as_ref();
    let service = Service {
        name: program.name,
        version: program.version,
        instance: settings.node.as_deref(),
    };
    let audit = match open_audit_file(program, settings) {
        Ok(audit) => audit,
        Err(refusal) => return program.refuse(&refusal),
    };
    let filter = loaded.environment.value(&LOG_FILTER.variable(""));
    let filter = filter.map_or_else(|| LOG_FILTER.default_value(), str::to_owned);
    let exporting = match telemetry::init_for(&service, settings.log_format, &filter, audit) {
        Ok(exporting) => exporting,
        Err(error) => return program.refuse(&error.to_string()),
    };
    let span = config.as_ref().span();
    let _entered = span.enter();
    log_unused_settings(program, &loaded, config.as_ref());
    log_sources(&loaded);
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

/// A core file would hold tokens and prompts. Only root may look into this process from now on;
/// programs that it starts are not affected.
fn forbid_core_dumps() {
    // It fails on no Linux that has this call, and a daemon is worth more than a refusal.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn open_audit_file(program: &Program, settings: &Settings) -> Result<Option<AuditFile>, String> {
    let Some(path) = &settings.audit_file else {
        return Ok(None);
    };
    AuditFile::open(http_server::audit::TARGET, path)
        .map(Some)
        .map_err(|error| {
            let variable = AUDIT_FILE.variable(program.prefix);
            format!(
                "{variable}: cannot open {} for appending: {error}",
                path.display()
            )
        })
}

/// Warns of variables that have no effect, so that a typing error does not go unnoticed.
fn log_unused_settings(program: &Program, loaded: &Loaded, settings: &Settings) {
    let mut report = Report::default();
    let names = loaded.names();
    unused_settings(&mut report, program, &names, Some(settings.is_cloud));
    for finding in report.findings() {
        tracing::warn!(
            setting = %finding.subject,
            advice = finding.hint,
            "{} {}",
            finding.subject,
            finding.found
        );
    }
}

/// Says which file was read.
fn log_sources(loaded: &Loaded) {
    if let Some(exposed) = &loaded.exposed {
        tracing::warn!("the configuration file {exposed}; run chmod o-r");
    }
    if let Some(path) = &loaded.file {
        tracing::info!(file = %path.display(), "read the configuration file");
    }
}

/// Looks at everything that a start needs.
fn check_start<C: AsRef<Settings>>(
    program: &Program,
    loaded: &Loaded,
    configure: impl FnOnce(Environment) -> Result<C, Problems>,
    preflight: impl FnOnce(&C, &mut Report),
) -> Report {
    let mut report = Report::default();
    let config = loaded.configure(configure);
    let is_cloud = config.as_ref().ok().map(|config| config.as_ref().is_cloud);
    unused_settings(&mut report, program, &loaded.names(), is_cloud);
    loaded.describe(&mut report);
    match config {
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
    let connections = ConnectionThreads::start(settings.threads).map_err(StartError::Runtime)?;
    // Within the span of the caller, because this thread stays in it.
    let main = async {
        let daemon = Daemon::start(program, config.as_ref(), connections.handle(), listener)?;
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
