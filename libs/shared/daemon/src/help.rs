//! What a daemon says of its settings: to people who ask for help, and to programs that write
//! documents.

use std::fmt::Write as _;

use pool_registry_types::limits::Limit;

/// A variable that is read. What is not in a daemon's list is not seen by it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its full name.
    pub name: &'static str,
    /// What holds when it is not set.
    pub unset: Unset,
    /// What it means, in a few words.
    pub what: &'static str,
    /// The same for documents, in Markdown, where there is more to say; empty otherwise.
    pub more: &'static str,
}

/// What holds when a variable is not set.
#[derive(Debug, Clone, Copy)]
pub enum Unset {
    /// As if it were set to this.
    Value(&'static str),
    /// What these words say.
    Words(&'static str),
}

impl Setting {
    /// Where the spans of requests go, the same for all daemons of an installation. What reads it
    /// and the others that are named here is OpenTelemetry's, in builds that have it.
    pub const SPANS: Self = Self {
        name: "OTEL_EXPORTER_OTLP_ENDPOINT",
        unset: Unset::Words("none: nowhere"),
        what: "OTLP collector (builds with otlp only)",
        more: "the `http://` URL of an OTLP collector, where the spans of requests go. Only \
               [builds with the feature `otlp`](OBSERVABILITY.md#traces) read it, and released \
               binaries have no such feature; `check` of others warns. With it these variables \
               hold as OpenTelemetry defines them: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` (instead \
               of it), `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, \
               `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`, \
               `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_BSP_MAX_QUEUE_SIZE`, \
               `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`",
    };
}

impl Unset {
    fn for_people(self) -> String {
        match self {
            Self::Value(value) => format!("[{value}]"),
            Self::Words(words) => format!("({words})"),
        }
    }

    fn for_programs(self) -> String {
        match self {
            Self::Value(value) => format!("={value}"),
            Self::Words(words) => words.to_owned(),
        }
    }
}

/// The rows of `--help`, one for each setting, in columns.
pub(crate) fn rows(settings: &[Setting]) -> String {
    let width = |column: fn(&Setting) -> &str| settings.iter().map(|row| column(row).len()).max();
    let name_width = width(|row| row.name).unwrap_or_default();
    let what_width = width(|row| row.what).unwrap_or_default();
    settings.iter().fold(String::new(), |mut text, row| {
        let (name, what, unset) = (row.name, row.what, row.unset.for_people());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:name_width$}  {what:what_width$}  {unset}");
        text
    })
}

/// One line for each setting: name, `=` and the default or what holds otherwise, the few words, and
/// more of them, with tabs between.
pub(crate) fn lines(settings: &[Setting]) -> String {
    let line = |row: &Setting| [row.name, &row.unset.for_programs(), row.what, row.more].join("\t");
    settings.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The lines of `--limits`, one for each bound: its crate and what it says of itself, separated by
/// tabs.
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

    const SETTINGS: [Setting; 2] = [
        Setting {
            name: "DEMO_ADDR",
            unset: Unset::Value("127.0.0.1:80"),
            what: "where it listens",
            more: "",
        },
        Setting {
            name: "TOKEN",
            unset: Unset::Words("none"),
            what: "what to present",
            more: "a *secret*",
        },
    ];

    // spec: CONF-3
    #[test]
    fn people_get_columns_and_programs_get_tabs() {
        assert_eq!(
            rows(&SETTINGS),
            "  DEMO_ADDR  where it listens  [127.0.0.1:80]\n  TOKEN      what to present   \
             (none)\n"
        );
        assert_eq!(
            lines(&SETTINGS),
            "DEMO_ADDR\t=127.0.0.1:80\twhere it listens\t\nTOKEN\tnone\twhat to present\ta \
             *secret*"
        );
    }
}
