//! The commands of `cargo xtask`.

mod bench;
mod ci;
mod deb;
mod demo;
mod deploy_check;
mod fuzz;
mod fuzz_api;
mod limits;
mod openapi;
mod sbom;
mod settings;
mod test;
mod tiny_model;

use std::process::ExitCode;

use anyhow::Result;

use crate::arguments::Arguments;
use workspace_checks::{layers, metrics, tidy, trace};

/// The exit code of a wrong command line (`EX_USAGE`).
const USAGE_ERROR: u8 = 64;

struct Command {
    name: &'static str,
    summary: &'static str,
    usage: &'static str,
    run: fn(Arguments) -> Result<()>,
}

const COMMANDS: [Command; 18] = [
    Command {
        name: "demo",
        summary: "run a small cluster on this machine until Ctrl-C",
        usage: demo::USAGE,
        run: demo::run,
    },
    Command {
        name: "test",
        summary: "run all tests",
        usage: test::USAGE,
        run: test::run,
    },
    Command {
        name: "e2e",
        summary: "run the tests of the real daemons with a real engine",
        usage: test::E2E_USAGE,
        run: test::run_e2e,
    },
    Command {
        name: "ci",
        summary: "run all checks and tests",
        usage: ci::USAGE,
        run: ci::run,
    },
    Command {
        name: "bench",
        summary: "measure the gateway, the registry or placement",
        usage: bench::USAGE,
        run: bench::run,
    },
    Command {
        name: "fuzz",
        summary: "fuzz the parsers with libFuzzer",
        usage: fuzz::USAGE,
        run: fuzz::run,
    },
    Command {
        name: "fuzz-api",
        summary: "test the daemons with requests generated from their OpenAPI documents",
        usage: fuzz_api::USAGE,
        run: fuzz_api::run,
    },
    Command {
        name: "trace",
        summary: "check that every requirement has a test, and list them",
        usage: "\
cargo xtask trace

Fails when no test names an id of .specs/*.md, or when a test names an unknown id.",
        run: |arguments| arguments.finish().and_then(|()| trace::check()),
    },
    Command {
        name: "tidy",
        summary: "check rules for files and manifests",
        usage: "\
cargo xtask tidy

Fails when a Rust file does not begin with //!, a test is ignored, a crate does not inherit the
lints or has no README whose Rust is compiled, a file has a banned word or a line over 100 columns,
files of a crate use each other in a cycle, a link of a document is broken, or a shell command of a
document is run by no test and has no reason.",
        run: |arguments| arguments.finish().and_then(|()| tidy::check()),
    },
    Command {
        name: "layers",
        summary: "check which crate depends on which",
        usage: "\
cargo xtask layers

Fails when a crate reaches across the layers or takes a dependency that has an owner.",
        run: |arguments| arguments.finish().and_then(|()| layers::check()),
    },
    Command {
        name: "deb",
        summary: "build the Debian packages",
        usage: deb::USAGE,
        run: deb::run,
    },
    Command {
        name: "sbom",
        summary: "write what each program is built from, as CycloneDX",
        usage: sbom::USAGE,
        run: sbom::run,
    },
    Command {
        name: "deploy-check",
        summary: "check ci/deploy",
        usage: deploy_check::USAGE,
        run: deploy_check::run,
    },
    Command {
        name: "settings",
        summary: "check or write the documents with all settings",
        usage: settings::USAGE,
        run: settings::run,
    },
    Command {
        name: "limits",
        summary: "check or write the document with all limits",
        usage: limits::USAGE,
        run: limits::run,
    },
    Command {
        name: "metrics",
        summary: "check the metrics of dashboards and alerts",
        usage: "\
cargo xtask metrics

Fails when ci/dashboards or ci/alerts read a metric that .docs/METRICS.md does not have, when an
alert has no entry in the runbook, or when promtool rejects the rules.",
        run: |arguments| arguments.finish().and_then(|()| metrics::check()),
    },
    Command {
        name: "openapi",
        summary: "check or write the OpenAPI documents",
        usage: openapi::USAGE,
        run: openapi::run,
    },
    Command {
        name: "tiny-model",
        summary: "write the tiny model to a file",
        usage: tiny_model::USAGE,
        run: tiny_model::run,
    },
];

/// Runs the command of a command line.
#[must_use]
pub fn run(words: Vec<String>) -> ExitCode {
    let mut words = words.into_iter();
    let name = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    let asks_help = |word: &String| word == "--help" || word == "-h";
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        print!("{}", overview());
        let asked = matches!(name.as_str(), "" | "help" | "--help" | "-h");
        return if asked {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(USAGE_ERROR)
        };
    };
    if rest.iter().any(asks_help) {
        println!("usage: {}", command.usage);
        return ExitCode::SUCCESS;
    }
    match (command.run)(Arguments::new(rest)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn overview() -> String {
    let mut text = "usage: cargo xtask <command> [--help]\n\n".to_owned();
    for Command { name, summary, .. } in &COMMANDS {
        text.push_str(&format!("  {name:<12} {summary}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_the_overview_and_explains_itself() {
        for command in &COMMANDS {
            assert!(overview().contains(command.name));
            assert!(
                command
                    .usage
                    .starts_with(&format!("cargo xtask {}", command.name))
            );
            let help = vec![command.name.to_owned(), "--help".to_owned()];
            assert_eq!(
                format!("{:?}", run(help)),
                format!("{:?}", ExitCode::SUCCESS)
            );
        }
    }
}
