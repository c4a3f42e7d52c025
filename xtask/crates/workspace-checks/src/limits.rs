//! Every limit is in a table that the daemons print, or is listed here with the reason why not.

use std::{
    collections::BTreeSet,
    path::{Component, Path},
};

use anyhow::Result;

use crate::{
    fail_on,
    source_files::{SourceFile, rust_files},
};

/// This file, for messages.
const THIS_FILE: &str = "xtask/crates/workspace-checks/src/limits.rs";

/// A crate, a constant of it, and why no table has it: it has no effect outside the process, or it
/// refuses nothing.
const LOCAL: &[(&str, &str, &str)] = &[
    ("admission", "MAX_LINES", "how much /metrics shows"),
    (
        "control-api",
        "DEFAULT_LIMIT",
        "what holds when a client names no number",
    ),
    ("daemon", "DEFAULT_MAX_THREADS", "a default"),
    ("daemon", "MAX_ECHO_CHARS", "what a message repeats"),
    (
        "daemon",
        "MAX_THREADS",
        "the range of a setting, which its refusal says",
    ),
    (
        "gpu-inventory",
        "MAX_FILE_BYTES",
        "a stand-in for machines without GPUs",
    ),
    (
        "gpu-inventory",
        "MAX_NAMES",
        "what is remembered to be logged once",
    ),
    (
        "handoff-watcher",
        "MAX_REASON_BYTES",
        "what a message repeats",
    ),
    ("http-server", "MAX_ECHO_CHARS", "what a message repeats"),
    ("http-server", "MAX_PATH_CHARS", "what a message repeats"),
    (
        "http-server",
        "MAX_TRUSTED_RESERVE_BYTES",
        "memory that is reserved in advance",
    ),
    ("inference-gateway", "MAX_MODELS", "how much /metrics shows"),
    ("inference-gateway", "MAX_SERIES", "how much /metrics shows"),
    (
        "llorch-client",
        "MAX_ANSWER_BYTES",
        "what a client reads of an answer",
    ),
    (
        "llorch-client",
        "MAX_CONNECTIONS",
        "what a client keeps for further requests",
    ),
    ("llorch-client", "MAX_ECHO_BYTES", "what a message repeats"),
    (
        "llorch-client",
        "MAX_IDLE",
        "what a client keeps for further requests",
    ),
    (
        "llorch-client",
        "MAX_EVENT_BYTES",
        "what a client reads of an answer",
    ),
    (
        "llorch-client",
        "MAX_REFUSAL_BYTES",
        "what a client reads of an answer",
    ),
    (
        "node-api",
        "MAX_ENGINES_TRIED",
        "a rule of trying again within a node",
    ),
    (
        "node-api",
        "MAX_RESETS",
        "a rule of trying again within a node",
    ),
    (
        "node-registration",
        "MAX_ECHO_BYTES",
        "what a message repeats",
    ),
    (
        "node-registration",
        "MAX_IDLE",
        "what the agent keeps for the next heartbeat",
    ),
    (
        "placement",
        "MAX_BLOCKS",
        "how much of a prompt the choice looks at",
    ),
    (
        "placement",
        "MAX_BLOCKS_REMEMBERED",
        "how much the choice remembers",
    ),
    (
        "placement",
        "MAX_CONVERSATIONS",
        "how much the choice remembers",
    ),
    ("placement", "MAX_FIRST", "the layout of a number"),
    (
        "placement",
        "MAX_LATE_ENDS",
        "how much of a prompt the choice looks at",
    ),
    (
        "pool-registry",
        "MAX_FILE_BYTES",
        "what is told of a refused handoff",
    ),
    (
        "pool-registry",
        "MAX_REASON_BYTES",
        "what is told of an engine",
    ),
    (
        "pool-registry",
        "MAX_REFUSED",
        "what is told of refused handoffs",
    ),
    (
        "pool-registry-types",
        "MAX_ECHO_CHARS",
        "what a message repeats",
    ),
    (
        "pool-registry-types",
        "MAX_URL_CHARS",
        "what the API's description offers to tests",
    ),
    ("registry-runtime", "MAX_LINES", "how much /metrics shows"),
    (
        "service-runtime",
        "MAX_ECHO_CHARS",
        "what a message repeats",
    ),
    (
        "telemetry",
        "MAX_ANSWER_BYTES",
        "what is read of a collector's answer, which says nothing",
    ),
    (
        "bearer-auth",
        "MAX_SESSIONS",
        "the session that would end first makes room",
    ),
    (
        "bearer-auth",
        "MAX_SESSIONS_OF_TOKEN",
        "the session of the token that would end first makes room",
    ),
    ("registry-runtime", "MAX_DOUBLINGS", "a pause of the prober"),
    ("state-file", "MAX_BYTES", "files of this process's own"),
    ("state-file", "MAX_PID_BYTES", "what a message repeats"),
    ("state-file", "MAX_REASON_CHARS", "what a message repeats"),
    ("state-file", "MAX_SET_ASIDE", "files of this process's own"),
    (
        "tls-config",
        "MAX_FILE_BYTES",
        "files of the operator, which the refusal says",
    ),
    (
        "stream-proxy",
        "MAX_LATE_CONNECTS",
        "how a request makes up for a delay of this process",
    ),
    (
        "api-reference",
        "MAX_DEPTH",
        "what a document of our own has",
    ),
    ("daemon", "DEFAULT_MAX_BODY_MIB", "a default"),
    (
        "engine-probe",
        "MAX_KEY_FILE_BYTES",
        "a file of the operator, and the error names the bound",
    ),
    (
        "http-server",
        "MAX_AGE",
        "how long a browser remembers a preflight",
    ),
    (
        "inference-gateway",
        "MAX_COMPARED_BYTES",
        "which route an error suggests",
    ),
    (
        "inference-gateway",
        "MAX_DIFFERENCES",
        "which route an error suggests",
    ),
    (
        "inference-gateway",
        "MAX_ECHO_CHARS",
        "what a message repeats",
    ),
    (
        "inference-gateway",
        "MAX_ERROR_BYTES",
        "how much of an engine's error is translated",
    ),
    ("local-node", "MAX_CHECKED_FILES", "how much `check` reads"),
    ("local-node", "MAX_REASON_BYTES", "what a message repeats"),
    (
        "ollama-api",
        "MAX_CALLS",
        "what is held of an answer, and beyond it the rest is left out",
    ),
    (
        "ollama-api",
        "MAX_CALL_BYTES",
        "what is held of an answer, and beyond it the rest is left out",
    ),
    (
        "pool-registry",
        "MAX_KEY_BYTES",
        "a file of the operator, and the error names the bound",
    ),
    (
        "service-registry",
        "MAX_REASON_BYTES",
        "what a message repeats",
    ),
    (
        "service-registry",
        "MAX_REFUSED_NODES",
        "how many refused nodes a list shows",
    ),
];

/// Fails when a constant that is called a limit is neither `listed`, by its crate and name, nor
/// local.
///
/// # Errors
/// As above, and when a file cannot be read.
pub fn check(listed: &BTreeSet<(&str, &str)>) -> Result<()> {
    fail_on(&problems(&rust_files()?, listed))
}

fn problems(sources: &[SourceFile], listed: &BTreeSet<(&str, &str)>) -> Vec<String> {
    let declared: BTreeSet<(String, String)> = sources.iter().flat_map(declared_in).collect();
    let is_declared =
        |source: &str, name: &str| declared.contains(&(source.to_owned(), name.to_owned()));
    let mut problems = Vec::new();
    for (source, name) in &declared {
        let qualified = format!("{}::{name}", source.replace('-', "_"));
        let is_listed = listed
            .iter()
            .any(|(of, entry)| (of == source && entry == name) || *entry == qualified);
        let is_local = LOCAL
            .iter()
            .any(|(of, local, _)| of == source && local == name);
        match (is_listed, is_local) {
            (false, false) => problems.push(format!(
                "{source}: {name} is in no table of limits; add it to `LIMITS` of the crate, or \
                 to {THIS_FILE} with a reason"
            )),
            (true, true) => problems.push(format!(
                "{source}: {name} is in a table of limits and in \
                 xtask/crates/workspace-checks/src/limits.rs"
            )),
            _ => {}
        }
    }
    let stale = LOCAL.iter().filter(|(of, name, _)| !is_declared(of, name));
    problems.extend(stale.map(|(of, name, _)| format!("{THIS_FILE}: {of} has no constant {name}")));
    problems
}

/// The constants of a library's file that are called limits, by its crate.
fn declared_in(source: &SourceFile) -> Vec<(String, String)> {
    let Some(of) = library(&source.path) else {
        return Vec::new();
    };
    let code = source
        .text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    code.lines()
        .filter_map(constant)
        .filter(|name| {
            name.starts_with("MAX_")
                || name.split('_').any(|word| word == "LIMIT")
                || name.contains("_MAX_")
        })
        .map(|name| (of.to_owned(), name.to_owned()))
        .collect()
}

/// The name of the constant that a line declares.
fn constant(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let visible = line.strip_prefix("pub").map(|rest| {
        let after = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        after.map_or(rest, |(_, rest)| rest).trim_start()
    });
    let declared = visible.unwrap_or(line).strip_prefix("const ")?;
    Some(declared.split_once(':')?.0.trim())
}

/// The name of the library that a file belongs to; none for tests and what they are made of.
fn library(path: &Path) -> Option<&str> {
    let parts: Vec<&str> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    match parts.as_slice() {
        ["libs", layer, of, "src", inner @ ..] if *layer != "test-support" => {
            let is_test = inner
                .iter()
                .any(|part| matches!(*part, "tests" | "tests.rs"));
            (!is_test).then_some(of)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.into(),
            text: text.to_owned(),
        }
    }

    // spec: DOOR-21
    #[test]
    fn a_bound_that_no_table_has_is_found() {
        let text = "const MAX_A: usize = 1;\npub(crate) const MAX_B: u64 = 2;\npub const \
                    READ_LIMIT: u8 = 3;\nconst OTHER: u8 = 4;\n#[cfg(test)]\nmod tests {\n    \
                    const MAX_C: u8 = 5;\n}\n";
        let sources = [
            source("libs/shared/demo-crate/src/lib.rs", text),
            source(
                "libs/shared/demo-crate/src/tests/x.rs",
                "const MAX_D: u8 = 1;",
            ),
            source("libs/test-support/x/src/lib.rs", "const MAX_E: u8 = 1;"),
            source("xtask/src/lib.rs", "const MAX_F: u8 = 1;"),
        ];
        let found = |listed: &[(&str, &str)]| {
            let listed = listed.iter().copied().collect();
            let problems = problems(&sources, &listed);
            problems
                .into_iter()
                .filter(|text| text.starts_with("demo-crate"))
                .count()
        };
        assert_eq!(found(&[]), 3);
        assert_eq!(found(&[("demo-crate", "MAX_A"), ("other", "MAX_B")]), 2);
        assert_eq!(
            found(&[("demo-crate", "MAX_A"), ("other", "demo_crate::MAX_B")]),
            1
        );
    }

    #[test]
    fn each_local_bound_has_a_reason_and_is_there() {
        assert!(LOCAL.iter().all(|(_, _, reason)| !reason.is_empty()));
        let stale = problems(&rust_files().unwrap(), &BTreeSet::new());
        let stale: Vec<_> = stale
            .iter()
            .filter(|text| text.starts_with("xtask/"))
            .collect();
        assert!(stale.is_empty(), "{stale:?}");
    }
}
