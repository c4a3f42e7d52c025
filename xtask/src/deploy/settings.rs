//! The settings of the daemons as documents: `.docs/CONFIGURATION.md` and the files of
//! `/etc/default`.
//!
//! The daemons tell what they read (`--settings`), and a variable that they do not tell of they do
//! not see. So what is written from that is complete, and what names another variable is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::units;
use crate::workspace::{Binaries, root};

/// A line of `--settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: String,
    /// The default, when it is a value and not words.
    default: Option<String>,
    words: String,
    what: String,
    more: String,
}

/// A daemon and all that it reads.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) name: &'static str,
    pub(crate) settings: Vec<Setting>,
}

/// Both daemons, asked.
pub(crate) fn daemons(binaries: &Binaries) -> Result<[Daemon; 2]> {
    let ask = |name, program: &Path| -> Result<Daemon> {
        let settings = parse(&said(program, "--settings")?)?;
        Ok(Daemon { name, settings })
    };
    Ok([
        ask("orchestratord", &binaries.orchestratord)?,
        ask("pool-managerd", &binaries.pool_managerd)?,
    ])
}

/// What a daemon prints.
pub(super) fn said(program: &Path, argument: &str) -> Result<String> {
    let output = Command::new(program)
        .arg(argument)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let name = program.display();
    ensure!(
        output.status.success(),
        "{name} {argument}: {}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What writes these documents.
const COMMAND: &str = "cargo xtask settings --write";

/// Every variable that a daemon reads.
pub(crate) fn names(daemons: &[Daemon]) -> BTreeSet<&str> {
    daemons
        .iter()
        .flat_map(|daemon| &daemon.settings)
        .map(|setting| setting.name.as_str())
        .collect()
}

pub(crate) fn parse(lines: &str) -> Result<Vec<Setting>> {
    lines.lines().map(parse_line).collect()
}

fn parse_line(line: &str) -> Result<Setting> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [name, unset, what, more] = columns[..] else {
        bail!("--settings: four columns are needed, not {line:?}");
    };
    Ok(Setting {
        name: name.to_owned(),
        default: unset.strip_prefix('=').map(str::to_owned),
        words: unset.to_owned(),
        what: what.to_owned(),
        more: more.to_owned(),
    })
}

/// A file that is written from the code.
#[derive(Debug)]
pub(crate) struct Document {
    path: PathBuf,
    text: String,
    /// What writes it.
    command: &'static str,
}

/// All of them.
pub(crate) fn documents(daemons: &[Daemon]) -> Result<Vec<Document>> {
    let reference = Document {
        path: root().join(".docs/CONFIGURATION.md"),
        text: reference(daemons),
        command: COMMAND,
    };
    let mut documents = vec![reference];
    for daemon in daemons {
        documents.push(Document {
            path: root().join("ci/deploy/default").join(daemon.name),
            text: environment_file(daemon, &units::environment(daemon.name)?),
            command: COMMAND,
        });
    }
    Ok(documents)
}

impl Document {
    /// The file at `path` below the workspace's root, which `command` writes.
    pub(super) fn new(path: &str, text: String, command: &'static str) -> Self {
        Self {
            path: root().join(path),
            text,
            command,
        }
    }

    /// What each daemon serves.
    pub(crate) fn of_apis(binaries: &Binaries) -> Result<[Self; 2]> {
        let of = |name: &str, program: &Path| -> Result<Self> {
            Ok(Self {
                path: root().join(".docs/api").join(format!("{name}.json")),
                text: said(program, "--openapi")?,
                command: "cargo xtask openapi --write",
            })
        };
        Ok([
            of("orchestratord", &binaries.orchestratord)?,
            of("pool-managerd", &binaries.pool_managerd)?,
        ])
    }

    /// Writes it.
    pub(crate) fn write(&self) -> Result<()> {
        std::fs::write(&self.path, &self.text)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Fails when the file says something else.
    pub(crate) fn check(&self) -> Result<()> {
        let path = &self.path;
        let written = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            written == self.text,
            "{} is not what the code says; run `{}`",
            path.display(),
            self.command
        );
        Ok(())
    }
}

const REFERENCE: &str = "\
# Configuration

<!-- Written by `cargo xtask settings --write` from the code; change it there \
                         (`bin/*/src/config.rs`). -->

Environment variables, read once at the start. All bad ones are reported together, and the process
exits 64. An empty variable counts as not set. `--help` prints the same list.

With the Debian packages the settings are in `/etc/default/orchestratord` and
`/etc/default/pool-managerd`; a change takes effect with the next restart. The units set three of
them: the two directories (`/run/llorch/engines`, `/var/lib/llorch/…`) and
`…_REQUIRE_AUTH=beyond-loopback`.

Under socket activation the socket unit has the address (`systemctl edit orchestratord.socket`);
leave `ORCHESTRATORD_ADDR` unset.

Files: [the pool file](../libs/gpu-node/engine-provisioner/README.md#the-pool-file),
[aliases](ALIASES.md),
[handoffs](../README.md#one-machine-home).
";

fn reference(daemons: &[Daemon]) -> String {
    daemons
        .iter()
        .fold(REFERENCE.to_owned(), |mut text, daemon| {
            let _ = write!(
                text,
                "\n## {}\n\n| variable | default | |\n|---|---|---|\n",
                daemon.name
            );
            for setting in &daemon.settings {
                let default = match &setting.default {
                    Some(value) => format!("`{value}`"),
                    None => setting.words.clone(),
                };
                let meaning = setting.meaning();
                let _ = writeln!(text, "| `{}` | {default} | {meaning} |", setting.name);
            }
            text
        })
}

/// As systemd reads it: every variable is there, as a comment, with what the unit or the code makes
/// of it otherwise.
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
    /// What it means and what holds otherwise, without marks.
    pub(crate) fn in_words(&self) -> String {
        let meaning = plain(self.meaning());
        match &self.default {
            Some(value) => format!("{meaning} [{value}]"),
            None => format!("{meaning} ({})", self.words),
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

    const LINES: &str = "DEMO_ADDR\t=127.0.0.1:80\twhere it listens\t\nTOKEN\tnone\ta token\tthe \
                         [token](A.md#x) of `all`";

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
        assert!(reference.contains("| `DEMO_ADDR` | `127.0.0.1:80` | where it listens |"));
        assert!(reference.contains("| `TOKEN` | none | the [token](A.md#x) of `all` |"));
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
