//! The limits of the daemons as a document: `.docs/LIMITS.md`.
//!
//! The daemons print the tables of their crates (`--limits`), which hold the constants themselves.

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::{Result, bail};

use workspace_build::Binaries;

use crate::document::{Document, output_of};

/// A line of `--limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    source: String,
    name: String,
    value: u64,
    unit: String,
    reason: String,
    enforced_by: String,
    refusal: String,
}

/// The document with the limits of both daemons.
///
/// # Errors
/// When a daemon cannot be run, or a limit of the code is in no table.
pub fn document(binaries: &Binaries) -> Result<Document> {
    let mut limits: Vec<Limit> = Vec::new();
    for program in [&binaries.orchestratord, &binaries.pool_managerd] {
        for limit in parse(&output_of(program, "--limits")?)? {
            let known = limits
                .iter()
                .find(|known| (&known.source, &known.name) == (&limit.source, &limit.name));
            match known {
                None => limits.push(limit),
                Some(known) if *known == limit => {}
                Some(known) => bail!("the daemons differ: {known:?}, {limit:?}"),
            }
        }
    }
    let listed: BTreeSet<(&str, &str)> = limits
        .iter()
        .map(|limit| (limit.source.as_str(), limit.name.as_str()))
        .collect();
    workspace_checks::limits::check(&listed)?;
    Ok(Document::new(
        ".docs/LIMITS.md",
        text(&limits),
        "cargo xtask limits --write",
    ))
}

fn parse(lines: &str) -> Result<Vec<Limit>> {
    lines
        .lines()
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [source, name, value, unit, reason, enforced_by, refusal] = columns[..] else {
                bail!("--limits: seven columns are needed, not {line:?}");
            };
            Ok(Limit {
                source: source.to_owned(),
                name: name.to_owned(),
                value: value.parse()?,
                unit: unit.to_owned(),
                reason: reason.to_owned(),
                enforced_by: enforced_by.to_owned(),
                refusal: refusal.to_owned(),
            })
        })
        .collect()
}

const HEAD: &str = "\
# Limits

<!-- Written by `cargo xtask limits --write` from the table `LIMITS` of each crate. -->

Every limit that clients, nodes, engines and files can meet, by the crate of its constant. Limits
that are settings name their variable; all others are fixed. `cargo xtask limits` fails when a
constant that is called a limit is in no table.
";

fn text(limits: &[Limit]) -> String {
    let mut text = HEAD.to_owned();
    let mut source = "";
    for limit in limits {
        if limit.source != source {
            source = &limit.source;
            let _ = write!(
                text,
                "\n## {source}\n\n| limit | value | what it bounds | checked by | beyond it \
                 |\n|---|---|---|---|---|\n"
            );
        }
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            limit.name,
            amount(limit.value, &limit.unit),
            limit.reason,
            limit.enforced_by,
            limit.refusal
        );
    }
    text
}

/// A value in the unit that people use.
fn amount(value: u64, unit: &str) -> String {
    let (steps, rate): (&[(u64, &str)], _) = match unit {
        "bytes" => (&[(1 << 20, "MiB"), (1 << 10, "KiB")], ""),
        "bytes/s" => (&[(1 << 10, "KiB")], "/s"),
        "ms" => (
            &[
                (86_400_000, "d"),
                (3_600_000, "h"),
                (60_000, "min"),
                (1000, "s"),
            ],
            "",
        ),
        "s" => (&[(86_400, "d")], ""),
        _ => (&[], ""),
    };
    let whole = steps
        .iter()
        .find(|(step, _)| value >= *step && value.is_multiple_of(*step));
    match whole {
        Some((step, name)) => format!("{} {name}{rate}", value / step),
        None => format!("{value} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: DOOR-21
    #[test]
    fn each_limit_is_a_row_below_its_crate() {
        let lines = "demo\tMAX_A\t2048\tbytes\tA body.\tthe \
                     server\t413\ndemo\tMAX_B\t7\tnames\tNames.\tx\ty";
        let text = text(&parse(lines).unwrap());
        assert!(text.contains("\n## demo\n"), "{text}");
        assert!(
            text.contains("| `MAX_A` | 2 KiB | A body. | the server | 413 |"),
            "{text}"
        );
        assert!(text.contains("| `MAX_B` | 7 names |"), "{text}");
        assert_eq!(text.matches("## demo").count(), 1);
        assert!(parse("a\tb").is_err());
    }

    #[test]
    fn values_are_written_as_people_write_them() {
        for (value, unit, expected) in [
            (1 << 20, "bytes", "1 MiB"),
            (1500, "bytes", "1500 bytes"),
            (1024, "bytes/s", "1 KiB/s"),
            (60_000, "ms", "1 min"),
            (75_000, "ms", "75 s"),
            (100, "ms", "100 ms"),
            (86_400, "s", "1 d"),
            (4096, "connections", "4096 connections"),
        ] {
            assert_eq!(amount(value, unit), expected);
        }
    }
}
