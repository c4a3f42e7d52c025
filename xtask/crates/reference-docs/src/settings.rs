//! The settings of the daemons as documents: `.docs/CONFIGURATION.md` and the files of
//! `/etc/default`.
//!
//! The daemons print all variables that they read (`--settings`) and see no others. So the
//! documents are complete, and a document with another variable is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};

use anyhow::{Result, bail};

use workspace_build::Binaries;

use crate::{
    document::{Document, output_of},
    unit_files::environment,
};

/// A line of `--settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The name of the environment variable.
    pub name: String,
    /// The default, when it is a value and not words.
    default: Option<String>,
    words: String,
    what: String,
    more: String,
    /// Its key in the configuration file; empty without one.
    key: String,
    /// Its flag; empty without one.
    flag: String,
}

/// A daemon and its settings.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// The name of its program.
    pub name: &'static str,
    /// The settings in the order in which it prints them.
    pub settings: Vec<Setting>,
}

/// Both daemons, with the settings that they print.
///
/// # Errors
/// When one cannot be run or prints something else.
pub fn daemons(binaries: &Binaries) -> Result<[Daemon; 2]> {
    let ask = |name, program: &Path| -> Result<Daemon> {
        let settings = parse(&output_of(program, "--settings")?)?;
        Ok(Daemon { name, settings })
    };
    Ok([
        ask("orchestratord", &binaries.orchestratord)?,
        ask("pool-managerd", &binaries.pool_managerd)?,
    ])
}

/// The command that writes these documents.
const COMMAND: &str = "cargo xtask settings --write";

/// Every variable that a daemon reads.
pub fn names(daemons: &[Daemon]) -> BTreeSet<&str> {
    daemons
        .iter()
        .flat_map(|daemon| &daemon.settings)
        .map(|setting| setting.name.as_str())
        .collect()
}

/// Reads the lines of `--settings`.
///
/// # Errors
/// When a line has another number of columns.
pub fn parse(lines: &str) -> Result<Vec<Setting>> {
    lines.lines().map(parse_line).collect()
}

fn parse_line(line: &str) -> Result<Setting> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [name, unset, what, more, key, flag] = columns[..] else {
        bail!("--settings: six columns are needed, not {line:?}");
    };
    Ok(Setting {
        name: name.to_owned(),
        default: unset.strip_prefix('=').map(str::to_owned),
        words: unset.to_owned(),
        what: what.to_owned(),
        more: more.to_owned(),
        key: key.to_owned(),
        flag: flag.to_owned(),
    })
}

/// The configuration reference, and a file of `/etc/default` for each daemon.
///
/// # Errors
/// When the unit of a daemon cannot be read.
pub fn documents(daemons: &[Daemon]) -> Result<Vec<Document>> {
    let mut documents = vec![Document::new(
        ".docs/CONFIGURATION.md",
        reference(daemons),
        COMMAND,
    )];
    for daemon in daemons {
        documents.push(Document::new(
            &format!("ci/deploy/default/{}", daemon.name),
            environment_file(daemon, &environment(daemon.name)?),
            COMMAND,
        ));
    }
    Ok(documents)
}

const REFERENCE: &str = r#"# Configuration

<!-- Written by `cargo xtask settings --write` from the settings of `bin/*/src/settings.rs`. -->

A setting comes from its flag, its environment variable, its key in the configuration file, or its
default: the first of them that sets it. All bad values are reported together, each with its place,
and the process exits 64. An empty variable and an empty string count as not set. `--help` prints
the same list. `check` reads the same sources, and prints where each value of a file or a flag came
from.

## The configuration file

`/etc/llorch/orchestratord.toml` and `/etc/llorch/pool-managerd.toml` are read if they exist.
`--config FILE` names another file, which must exist. It is TOML without tables, and a key is the
variable without the prefix of the daemon or `LLORCH_`, in lower case:

```toml
# /etc/llorch/orchestratord.toml
addr = "0.0.0.0:8080"
cloud_profile = true
queue_wait_ms = 20_000
placement = "prefix"
allowed_hosts = ["llm.example", "llm.internal"]
# A secret: chmod 640, group llorch.
api_token = "replace-this-token"
```

A flag has the same words: `--queue-wait-ms 20000`, or `--queue-wait-ms=20000`. A secret has no
flag, because every user of a machine can see arguments. A list is an array in the file, and has
commas elsewhere.

An unknown key, a duplicate key, a value of another type and bad syntax are problems with a line:

```text
orchestratord: bad settings
/etc/llorch/orchestratord.toml:3: "queue_wait_m": is no setting; did you mean queue_wait_ms?
/etc/llorch/orchestratord.toml:5: queue_limit: must be a number, not an array
```

The file is read at the start; a change takes effect with the next restart.

## Packages and sockets

With the Debian packages the settings are in `/etc/default/orchestratord` and
`/etc/default/pool-managerd`; a change takes effect with the next restart. They are variables, so
they count before the configuration file. The units set three of them: the two directories
(`/run/llorch/engines`, `/var/lib/llorch/…`) and `…_REQUIRE_AUTH=beyond-loopback`.

Under socket activation the socket unit has the address (`systemctl edit orchestratord.socket`);
leave `ORCHESTRATORD_ADDR` unset.

Files: [the pool file](../libs/gpu-node/engine-provisioner/README.md#the-pool-file),
[aliases](ALIASES.md),
[handoffs](../README.md#one-machine-home).
"#;

fn reference(daemons: &[Daemon]) -> String {
    daemons
        .iter()
        .fold(REFERENCE.to_owned(), |mut text, daemon| {
            let _ = write!(
                text,
                "\n## {}\n\n| variable | key | default | |\n|---|---|---|---|\n",
                daemon.name
            );
            for setting in &daemon.settings {
                let default = match &setting.default {
                    Some(value) => format!("`{value}`"),
                    None => setting.words.clone(),
                };
                let meaning = setting.meaning();
                let (name, key) = (&setting.name, setting.key_cell());
                let _ = writeln!(text, "| `{name}` | {key} | {default} | {meaning} |");
            }
            text
        })
}

/// An environment file for systemd: every variable is there as a comment with its default, of the
/// unit or of the code.
fn environment_file(daemon: &Daemon, unit: &BTreeMap<String, String>) -> String {
    let name = daemon.name;
    let mut text = format!(
        "# Settings of {name}; after a change: systemctl restart {name}\n\
         # Each line below shows the default. The file may hold a secret: only root may read it.\n"
    );
    for setting in &daemon.settings {
        let default = unit.get(&setting.name).or(setting.default.as_ref());
        let unset = match default {
            Some(_) => String::new(),
            None => format!(" ({})", setting.words),
        };
        let _ = write!(
            text,
            "\n# {}{unset}\n#{}={}\n",
            plain(setting.meaning()),
            setting.name,
            default.map_or("", String::as_str)
        );
    }
    text
}

impl Setting {
    /// Its meaning and default without Markdown.
    pub fn in_words(&self) -> String {
        let meaning = plain(self.meaning());
        match &self.default {
            Some(value) => format!("{meaning} [{value}]"),
            None => format!("{meaning} ({})", self.words),
        }
    }

    /// Its key, with the reason where its flag is missing.
    fn key_cell(&self) -> String {
        match (self.key.as_str(), self.flag.as_str()) {
            ("", _) => "only the variable".to_owned(),
            (key, "") => format!("`{key}`, no flag"),
            (key, _) => format!("`{key}`"),
        }
    }

    fn meaning(&self) -> &str {
        if self.more.is_empty() {
            &self.what
        } else {
            &self.more
        }
    }
}

/// Markdown without links and code marks.
fn plain(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text.replace(['[', '`'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "DEMO_ADDR\t=127.0.0.1:80\twhere it listens\t\taddr\t--addr\n\
                         TOKEN\tnone\ta token\tthe \
                         [token](A.md#x) of `all`\ttoken\t";

    fn daemon() -> Daemon {
        Daemon {
            name: "demo",
            settings: parse(LINES).unwrap(),
        }
    }

    // spec: CONF-7
    #[test]
    fn every_setting_is_in_both_documents() {
        let reference = reference(&[daemon()]);
        assert!(reference.contains("| `DEMO_ADDR` | `addr` | `127.0.0.1:80` | where it listens |"));
        assert!(
            reference
                .contains("| `TOKEN` | `token`, no flag | none | the [token](A.md#x) of `all` |")
        );
        let unit = BTreeMap::from([("DEMO_ADDR".to_owned(), "127.0.0.1:81".to_owned())]);
        let file = environment_file(&daemon(), &unit);
        assert!(
            file.contains("\n# where it listens\n#DEMO_ADDR=127.0.0.1:81\n"),
            "{file}"
        );
        assert!(
            file.contains("\n# the token of all (none)\n#TOKEN=\n"),
            "{file}"
        );
        assert_eq!(
            names(&[daemon()]).into_iter().collect::<Vec<_>>(),
            ["DEMO_ADDR", "TOKEN"]
        );
        assert!(parse("A\tb").is_err());
    }
}
