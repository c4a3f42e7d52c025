//! Dashboards and alerts read only metrics in the table of `.docs/METRICS.md`, every alert has an
//! entry in the runbook, and Prometheus accepts the rules. An end-to-end test compares the table
//! with the metrics of the daemons.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use test_tools::Tool;
use workspace_build::root;

use crate::fail_on;

/// The table.
const TABLE: &str = ".docs/METRICS.md";
const RUNBOOK: &str = ".docs/RUNBOOK.md";
const RULES: &str = "ci/alerts/llorch.yml";
const DASHBOARD: &str = "ci/dashboards/llorch.json";

/// What the names of our metrics begin with.
const PREFIXES: [&str; 3] = ["llorch_", "process_", "build_"];

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Documented {
    /// Its name, without what its kind adds.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The daemon that exports it, or `both`.
    pub daemon: String,
}

impl Documented {
    /// Whether one reads it by `name` in a query.
    fn is_read_as(&self, name: &str) -> bool {
        let endings: &[&str] = match self.kind.as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        name.strip_prefix(&self.name)
            .is_some_and(|rest| endings.contains(&rest))
    }
}

/// The rows of the table of metrics.
///
/// # Errors
/// When it cannot be read.
pub fn documented() -> Result<Vec<Documented>> {
    Ok(rows(&read(TABLE)?))
}

fn rows(text: &str) -> Vec<Documented> {
    text.lines()
        .filter_map(|line| {
            let mut cells = line
                .strip_prefix("| `")?
                .split('|')
                .map(|cell| cell.trim().trim_matches('`'));
            Some(Documented {
                name: cells.next()?.to_owned(),
                kind: cells.next()?.to_owned(),
                daemon: cells.next()?.to_owned(),
            })
        })
        .collect()
}

/// Fails when something reads a metric that the table does not have, or an alert has no entry in
/// the runbook.
///
/// # Errors
/// As above, and when a file cannot be read.
pub fn check() -> Result<()> {
    let table = documented()?;
    let (rules, dashboard) = (read(RULES)?, read(DASHBOARD)?);
    let mut problems = unknown(RULES, &rules, &table);
    problems.extend(unknown(DASHBOARD, &queries(&dashboard)?, &table));
    problems.extend(without_entry(&rules, &read(RUNBOOK)?));
    fail_on(&problems)?;
    promtool(&["check", "rules", RULES])
}

/// Runs Prometheus' own checker, where it is installed.
fn promtool(arguments: &[&str]) -> Result<()> {
    if !Tool::Prometheus.is_here()? {
        return Ok(());
    }
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(root())
        .output()
        .context("cannot run promtool")?;
    ensure!(
        output.status.success(),
        "promtool {}: {}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(Path::new(path)))
        .with_context(|| format!("cannot read {path}"))
}

/// The queries of a dashboard, one a line.
fn queries(dashboard: &str) -> Result<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if name == "expr" || name == "query" => {
                            found.push(text.clone());
                        }
                        other => collect(other, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let dashboard =
        serde_json::from_str(dashboard).with_context(|| format!("{DASHBOARD} is no JSON"))?;
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    Ok(found.join("\n"))
}

/// Names that look like metrics of ours.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix)))
        .collect()
}

fn unknown(path: &str, text: &str, table: &[Documented]) -> Vec<String> {
    names(text)
        .into_iter()
        .filter(|name| !table.iter().any(|row| row.is_read_as(name)))
        .map(|name| format!("{path}: {name} is not in {TABLE}"))
        .collect()
}

fn without_entry(rules: &str, runbook: &str) -> Vec<String> {
    let alerts: BTreeSet<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let entries: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let missing = alerts
        .difference(&entries)
        .map(|alert| format!("{RUNBOOK}: has no entry for {alert}"));
    let stale = entries
        .difference(&alerts)
        .map(|entry| format!("{RUNBOOK}: {entry} is no alert of {RULES}"));
    missing.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
| name | kind | daemon | labels | |
|---|---|---|---|---|
| `llorch_a` | counter | both | x | y |
| `llorch_b_seconds` | histogram | orchestratord | | y |
| `llorch_c` | gauge | pool-managerd | | y |
";

    // spec: SEE-11
    #[test]
    fn a_query_may_read_what_is_in_the_table_and_as_its_kind_is_read() {
        let table = rows(TEXT);
        assert_eq!(table.len(), 3);
        let fine = "rate(llorch_a_total[5m]) llorch_b_seconds_bucket llorch_c{llorch_x=\"1\"}"
            .replace("llorch_x", "x");
        assert_eq!(unknown("f", &fine, &table), Vec::<String>::new());
        for wrong in ["llorch_a", "llorch_b_seconds", "llorch_c_total", "llorch_d"] {
            assert_eq!(unknown("f", wrong, &table).len(), 1, "{wrong}");
        }
    }

    // spec: SEE-11
    #[test]
    fn alerts_and_runbook_have_the_same_names() {
        let rules = "      - alert: A\n      - alert: B\n";
        let problems = without_entry(rules, "# Runbook\n### B\n### C\n");
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    // spec: SEE-11
    #[test]
    fn what_is_here_is_in_order() {
        check().unwrap();
    }
}
