//! The output of `--help`, `--settings` and `--limits`.

use std::fmt::Write as _;

use pool_registry_types::limits::Limit;

use crate::flags::CONFIG_FLAG;
use crate::setting::{SettingDescription, Unset};

impl Unset {
    fn for_people(&self) -> String {
        match self {
            Self::Value(value) => format!("[{value}]"),
            Self::Words(words) => format!("({words})"),
        }
    }

    fn for_programs(&self) -> String {
        match self {
            Self::Value(value) => format!("={value}"),
            Self::Words(words) => (*words).to_owned(),
        }
    }
}

/// The rows of `--help`, one for each setting, in columns.
pub(crate) fn rows(settings: &[SettingDescription]) -> String {
    let names = settings.iter().map(|row| row.name.len());
    let name_width = names.max().unwrap_or_default();
    let helps = settings.iter().map(|row| row.help.len());
    let help_width = helps.max().unwrap_or_default();
    settings.iter().fold(String::new(), |mut text, row| {
        let (name, help, unset) = (&row.name, row.help, row.unset.for_people());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:name_width$}  {help:help_width$}  {unset}");
        text
    })
}

/// What `--help` says about the sources of settings, for a daemon whose variables begin with
/// `prefix`, and whose configuration file is `usual_file`.
pub(crate) fn sources(prefix: &str, usual_file: &str) -> String {
    format!(
        "A setting comes from its flag, its variable, its key in the configuration file, or its \
         default:\nthe first of them that sets it. Flag and key have the words of the variable \
         without the prefix:\n{prefix}MAX_BODY_MIB=8, --max-body-mib 8 or --max-body-mib=8, and \
         max_body_mib = 8.\nThe file is {usual_file}, if it exists, or the FILE of {CONFIG_FLAG} \
         FILE."
    )
}

/// The lines of `--settings`, one for each setting: its name, `=` and its default (or words for
/// it), its help, its document, its key in the configuration file and its flag, separated by tabs.
/// The last two are empty where there is none.
pub(crate) fn lines(settings: &[SettingDescription]) -> String {
    let line = |row: &SettingDescription| {
        [
            row.name.as_str(),
            &row.unset.for_programs(),
            row.help,
            row.document,
            row.key().unwrap_or_default(),
            &row.flag().unwrap_or_default(),
        ]
        .join("\t")
    };
    settings.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The lines of `--limits`, one for each bound: its crate and its columns, separated by tabs.
pub(crate) fn limits(tables: &[&[(&str, &[Limit])]]) -> String {
    let mut lines = Vec::new();
    for (source, table) in tables.iter().copied().flatten() {
        for limit in *table {
            let Limit {
                name,
                value,
                unit,
                reason,
                enforced_by,
                refusal,
                ..
            } = limit;
            lines.push(format!(
                "{source}\t{name}\t{value}\t{unit}\t{reason}\t{enforced_by}\t{refusal}"
            ));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OtherWays, ValueKind};

    fn settings() -> [SettingDescription; 2] {
        [
            SettingDescription {
                name: "DEMO_ADDR".to_owned(),
                unset: Unset::Value("127.0.0.1:80".to_owned()),
                help: "where it listens",
                document: "",
                kind: ValueKind::Text,
                other_ways: OtherWays::FileAndFlag("demo_addr".to_owned()),
            },
            SettingDescription {
                name: "TOKEN".to_owned(),
                unset: Unset::Words("none"),
                help: "what to present",
                document: "a *secret*",
                kind: ValueKind::Text,
                other_ways: OtherWays::File("token".to_owned()),
            },
        ]
    }

    // spec: CONF-3
    #[test]
    fn people_get_columns_and_programs_get_tabs() {
        assert_eq!(
            rows(&settings()),
            "  DEMO_ADDR  where it listens  [127.0.0.1:80]\n  TOKEN      what to present   \
             (none)\n"
        );
        assert_eq!(
            lines(&settings()),
            "DEMO_ADDR\t=127.0.0.1:80\twhere it listens\t\tdemo_addr\t--demo-addr\n\
             TOKEN\tnone\twhat to present\ta \
             *secret*\ttoken\t"
        );
    }
}
