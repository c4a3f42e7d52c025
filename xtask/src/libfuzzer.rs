//! The fuzz targets under libFuzzer: built by cargo-fuzz with a nightly toolchain, run several at a
//! time, and counted.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use child_process::succeed;

/// The targets, each with the longest input that is made for it: room for its largest interesting
/// shape, and little enough for tens of thousands of executions a second.
pub(crate) const TARGETS: [(&str, u32); 22] = [
    ("access_token", 128),
    ("authorization", 256),
    ("content_coding", 256),
    ("engine_report", 512),
    ("event_stream", 512),
    ("first_bytes", 128),
    ("handoff_file", 512),
    ("heartbeat_message", 1024),
    ("join_request", 512),
    ("json_scanner", 512),
    ("key_file", 512),
    ("pool_file", 512),
    ("register_message", 512),
    ("request_fields", 512),
    ("request_path", 128),
    ("response_body", 256),
    ("response_head", 512),
    ("server_sent_events", 256),
    ("signing_request", 1024),
    ("state_export", 1024),
    ("stored_node", 1024),
    ("task_answer", 512),
];

/// Where the targets and their corpora are.
const PACKAGE: &str = "ci/fuzz";
const LIBRARY: &str = "libs/test-support/fuzz-targets";

/// Runs a command of the nightly toolchain.
const NIGHTLY: [&str; 3] = ["rustup", "run", "nightly"];

/// The memory of one process: far above what an input of a kilobyte needs.
const MEMORY_MB: u32 = 2048;
/// How long one input may take. Usual ones take microseconds.
const INPUT_SECONDS: u32 = 10;

/// How long the targets run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effort {
    /// Executions of each target.
    pub(crate) runs: u64,
    /// Targets at a time.
    pub(crate) jobs: usize,
    /// The seed of the inputs; `None` lets libFuzzer choose.
    pub(crate) seed: Option<u32>,
}

/// The result of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) target: String,
    pub(crate) executions: u64,
    pub(crate) per_second: u64,
    /// Inputs that break a property, take too long or too much memory.
    pub(crate) crashes: Vec<PathBuf>,
}

/// The targets that `name` names: one, or `all`.
pub(crate) fn named(name: &str) -> Result<Vec<(&'static str, u32)>> {
    let found: Vec<_> = TARGETS
        .into_iter()
        .filter(|(target, _)| name == "all" || name == *target)
        .collect();
    if found.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).collect();
        bail!(
            "there is no target {name}; there are all, {}",
            names.join(", ")
        );
    }
    Ok(found)
}

/// The directory of builds, findings and logs.
pub(crate) fn directory() -> PathBuf {
    workspace_build::target().join("libfuzzer")
}

/// Builds the targets and gives the directory of their programs.
///
/// # Errors
/// When the tools are missing or a target does not build.
pub(crate) fn build(targets: &[(&str, u32)]) -> Result<PathBuf> {
    let version = succeed(&mut nightly(&["rustc", "-vV"])).context(
        "there is no nightly toolchain, and libFuzzer needs one: rustup toolchain install nightly \
         --profile minimal",
    )?;
    succeed(&mut nightly(&["cargo", "fuzz", "--version"]))
        .context("there is no cargo-fuzz: cargo install cargo-fuzz --locked")?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc does not say what it builds for")?;
    let package = workspace_build::root().join(PACKAGE);
    // The same versions of everything as in the daemons. What only fuzzing needs is added to the
    // copy.
    fs::copy(
        workspace_build::root().join("Cargo.lock"),
        package.join("Cargo.lock"),
    )
    .context("cannot copy Cargo.lock")?;
    let directory = directory().join("build");
    let mut command = nightly(&["cargo", "fuzz", "build", "--sanitizer", "none"]);
    // Safe Rust needs no sanitizer; its panics are the findings, and without one it is several
    // times as fast.
    command.arg("--fuzz-dir").arg(&package);
    command.arg("--target-dir").arg(&directory);
    if let [(target, _)] = targets {
        command.arg(target);
    }
    let status = command.status().context("cannot run rustup")?;
    ensure!(status.success(), "the targets do not build");
    Ok(directory.join(host).join("release"))
}

fn nightly(words: &[&str]) -> Command {
    let [program, arguments @ ..] = NIGHTLY;
    let mut command = Command::new(program);
    command
        .current_dir(workspace_build::root())
        .args(arguments)
        .args(words);
    command
}

/// Runs all targets, also after a finding, and passes each outcome to `tell` at once.
///
/// # Errors
/// When a target could not be run.
pub(crate) fn run(
    programs: &Path,
    targets: &[(&'static str, u32)],
    effort: &Effort,
    mut tell: impl FnMut(&Outcome),
) -> Result<Vec<Outcome>> {
    let (sender, receiver) = mpsc::channel();
    let next = AtomicUsize::new(0);
    let mut outcomes = Vec::new();
    thread::scope(|scope| {
        for _ in 0..effort.jobs.max(1) {
            let sender = sender.clone();
            let next = &next;
            scope.spawn(move || {
                while let Some((target, max_len)) =
                    targets.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    if sender
                        .send(run_one(programs, target, *max_len, effort))
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in receiver {
            let outcome = outcome?;
            tell(&outcome);
            outcomes.push(outcome);
        }
        Ok::<_, anyhow::Error>(())
    })?;
    outcomes.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(outcomes)
}

fn run_one(programs: &Path, target: &str, max_len: u32, effort: &Effort) -> Result<Outcome> {
    let own = directory().join(target);
    let (found, artifacts) = (own.join("found"), own.join("artifacts"));
    for directory in [&found, &artifacts] {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let before = files(&artifacts)?;
    let library = workspace_build::root().join(LIBRARY);
    let log = own.join("log");
    let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut command = Command::new(programs.join(target));
    command
        .arg(format!("-runs={}", effort.runs))
        .arg(format!("-max_len={max_len}"))
        .arg(format!("-rss_limit_mb={MEMORY_MB}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!(
            "-dict={}",
            library
                .join("dictionaries")
                .join(format!("{target}.dict"))
                .display()
        ))
        .arg("-print_final_stats=1")
        .arg(format!("-seed={}", effort.seed.unwrap_or(0)))
        // libFuzzer writes new inputs to the first directory and only reads the second.
        .args([found, library.join("corpus").join(target)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file);
    let status = command
        .status()
        .with_context(|| format!("cannot run {target}"))?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let crashes = files(&artifacts)?
        .into_iter()
        .filter(|path| !before.contains(path))
        .collect();
    outcome(target, &said, status, crashes).with_context(|| format!("see {}", log.display()))
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?;
    Ok(entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?)
}

fn outcome(target: &str, said: &str, status: ExitStatus, crashes: Vec<PathBuf>) -> Result<Outcome> {
    let number = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    let executions = number("stat::number_of_executed_units:");
    ensure!(
        executions.is_some() && (status.success() || !crashes.is_empty()),
        "{target} ended with {status} and found nothing"
    );
    Ok(Outcome {
        target: target.to_owned(),
        executions: executions.unwrap_or_default(),
        per_second: number("stat::average_exec_per_sec:").unwrap_or_default(),
        crashes,
    })
}

/// The outcomes as a table of Markdown.
pub(crate) fn table(outcomes: &[Outcome], date: &str) -> String {
    let mut table = "| target | date | executions | per second | crashes \
                     |\n|---|---|---:|---:|---:|\n"
        .to_owned();
    for outcome in outcomes {
        let _ = writeln!(
            table,
            "| `{}` | {date} | {} | {} | {} |",
            outcome.target,
            outcome.executions,
            outcome.per_second,
            outcome.crashes.len()
        );
    }
    table
}

/// The date by the system.
pub(crate) fn today() -> Result<String> {
    let told = succeed(Command::new("date").args(["-u", "+%F"]))?;
    Ok(told.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, os::unix::process::ExitStatusExt as _};

    use super::*;

    /// The names of files without what follows the last dot.
    fn stems(directory: &Path) -> BTreeSet<String> {
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        files(directory).unwrap().into_iter().map(stem).collect()
    }

    #[test]
    fn every_target_has_a_program_a_corpus_and_a_dictionary() {
        let names: BTreeSet<_> = TARGETS
            .iter()
            .map(|(target, _)| (*target).to_owned())
            .collect();
        let root = workspace_build::root();
        assert_eq!(stems(&root.join(PACKAGE).join("targets")), names);
        assert_eq!(stems(&root.join(LIBRARY).join("corpus")), names);
        assert_eq!(stems(&root.join(LIBRARY).join("dictionaries")), names);
        let manifest = fs::read_to_string(root.join(PACKAGE).join("Cargo.toml")).unwrap();
        let library = fs::read_to_string(root.join(LIBRARY).join("src/lib.rs")).unwrap();
        for target in &names {
            assert!(
                manifest.contains(&format!("path = \"targets/{target}.rs\"")),
                "{target}"
            );
            assert!(library.contains(&format!("    {target},\n")), "{target}");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), names.len());
    }

    #[test]
    fn a_target_is_named_or_all_are() {
        assert_eq!(named("all").unwrap(), TARGETS);
        assert_eq!(named("pool_file").unwrap(), [("pool_file", 512)]);
        let error = named("pool").unwrap_err().to_string();
        assert!(error.contains("there are all, access_token, "), "{error}");
    }

    #[test]
    fn executions_are_those_that_libfuzzer_counts() {
        let said = "#5\tDONE\nstat::number_of_executed_units: \
                    10000000\nstat::average_exec_per_sec:     61728\n";
        let good = outcome("a", said, ExitStatus::from_raw(0), Vec::new()).unwrap();
        assert_eq!((good.executions, good.per_second), (10_000_000, 61_728));
        let crash = vec![PathBuf::from("crash-1")];
        let bad = outcome("b", said, ExitStatus::from_raw(77 << 8), crash).unwrap();
        assert_eq!(
            table(&[good, bad], "2026-01-31").lines().last().unwrap(),
            "| `b` | 2026-01-31 | 10000000 | 61728 | 1 |"
        );
        // It did not start.
        assert!(outcome("c", "no such file", ExitStatus::from_raw(256), Vec::new()).is_err());
        assert!(outcome("c", said, ExitStatus::from_raw(9), Vec::new()).is_err());
    }
}
