//! Variables that are set and have no effect: typing errors, settings of the other profile, and
//! settings of another build. A start logs them, and `check` reports them.

use crate::{
    common::{CLOUD_PROFILE, SPANS},
    program::Program,
    report::Report,
    similar::{LETTERS_PER_EDIT, nearest},
};

/// A variable with another prefix is a typing error if this many edits make it a setting: one edit,
/// or two letters that changed places. With more edits it is likely another program's.
const FOREIGN_EDITS: usize = 1;

/// Variables of OpenTelemetry that only some builds read.
const OTLP_TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// The names of all variables of this process that are set. An empty variable counts as unset.
pub(crate) fn names_in_process() -> Vec<String> {
    let set = std::env::vars_os().filter(|(_, value)| {
        // Whatever is not Unicode is not blank.
        value.to_str().is_none_or(|value| !value.trim().is_empty())
    });
    set.filter_map(|(name, _)| name.into_string().ok())
        .collect()
}

/// Reports each of `names` that has no effect. Without a profile, because the settings are bad,
/// settings of the other profile are left out.
pub(crate) fn unused_settings(
    report: &mut Report,
    program: &Program,
    names: &[String],
    is_cloud: Option<bool>,
) {
    unknown(report, program, names);
    other_build(report, names);
    if let Some(is_cloud) = is_cloud {
        other_profile(report, program, names, is_cloud);
    }
}

fn unknown(report: &mut Report, program: &Program, names: &[String]) {
    let known = program.settings();
    let known: Vec<&str> = known.iter().map(|setting| setting.name.as_str()).collect();
    let mut unknown: Vec<(&String, Option<&str>)> = names
        .iter()
        .filter(|name| !known.contains(&name.as_str()))
        .filter_map(|name| {
            let (nearest, edits) = nearest(&name.to_ascii_uppercase(), &known)?;
            let is_ours = is_ours(name, program.prefix);
            let is_similar = edits * LETTERS_PER_EDIT <= name.len();
            let is_error = is_ours || edits <= FOREIGN_EDITS;
            is_error.then_some((name, is_similar.then_some(nearest)))
        })
        .collect();
    unknown.sort();
    for (name, similar) in unknown {
        let hint = match similar {
            Some(similar) => format!("did you mean {similar}? otherwise unset it"),
            None => format!("unset it, or spell it as in `{} --help`", program.name),
        };
        report.warning(name, "is no setting, so it has no effect", hint);
    }
}

/// Whether the name can only be meant for the daemon. Kubernetes sets variables of every service,
/// such as `ORCHESTRATORD_SERVICE_HOST` and `ORCHESTRATORD_PORT_8080_TCP`; they are none.
fn is_ours(name: &str, prefix: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.strip_prefix(prefix).is_some_and(|rest| {
        let is_service_link =
            rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_");
        !is_service_link
    })
}

fn other_build(report: &mut Report, names: &[String]) {
    if cfg!(feature = "otlp") {
        return;
    }
    let spans = SPANS.variable("");
    for variable in [spans.as_str(), OTLP_TRACES_ENDPOINT] {
        if names.iter().any(|name| name == variable) {
            report.warning(
                variable,
                "has no effect, because this build exports no spans",
                "unset it, or build with `--features otlp`",
            );
        }
    }
}

fn other_profile(report: &mut Report, program: &Program, names: &[String], is_cloud: bool) {
    let (profile, other) = if is_cloud {
        ("CLOUD", false)
    } else {
        ("HOME", true)
    };
    for setting in (program.unused_in_profile)(is_cloud) {
        let variable = setting.describe(program.prefix).name;
        if names.contains(&variable) {
            let profile_variable = CLOUD_PROFILE.variable(program.prefix);
            report.warning(
                variable,
                format!("has no effect in the {profile} profile"),
                format!("set {profile_variable}={other}, or unset it"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DescribeSetting, Setting, Verdict, fixtures::DEMO};

    static SERVER: Setting<Option<String>> = Setting::optional("SERVER_URL_OF_DEMO");

    const PROGRAM: Program = Program {
        settings: &[&SERVER],
        unused_in_profile: |is_cloud| {
            const HOME: &[&dyn DescribeSetting] = &[&SERVER];
            if is_cloud { &[] } else { HOME }
        },
        ..DEMO
    };

    fn found(names: &[&str], is_cloud: Option<bool>) -> Vec<(String, String)> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut report = Report::default();
        unused_settings(&mut report, &PROGRAM, &names, is_cloud);
        let findings = report.findings().iter();
        findings
            .map(|finding| {
                assert_eq!(finding.verdict, Verdict::Warning);
                (finding.subject.clone(), finding.hint.clone().unwrap())
            })
            .collect()
    }

    // spec: CHECK-2, CONF-26
    #[test]
    fn a_misspelt_setting_is_reported_with_the_nearest_name() {
        for (name, similar) in [
            ("DEMO_ADR", Some("DEMO_ADDR")),
            ("DEMO_METRICS_ADRESS", Some("DEMO_METRICS_ADDR")),
            ("DEMO_DRIAN_TIMEOUT_SECS", Some("DEMO_DRAIN_TIMEOUT_SECS")),
            ("demo_addr", Some("DEMO_ADDR")),
            ("DEMO_SOMETHING_ELSE_ENTIRELY", None),
            // The misspelt part may be the prefix, or there is none.
            ("DEM_METRICS_ADDR", Some("DEMO_METRICS_ADDR")),
            ("LLORCH_API_TOKN", Some("LLORCH_API_TOKEN")),
            ("SERVER_URL_OF_DEMOS", Some("SERVER_URL_OF_DEMO")),
        ] {
            let expected = match similar {
                Some(similar) => format!("did you mean {similar}? otherwise unset it"),
                None => "unset it, or spell it as in `demo --help`".to_owned(),
            };
            assert_eq!(found(&[name], None), [(name.to_owned(), expected)]);
        }
        for name in [
            "DEMO_ADDR",
            "LLORCH_API_TOKEN",
            "LLORCH_URL",
            "OTHER_ADDR",
            "PATH",
            "DEMO",
            "DEMO_SERVICE_HOST",
            "DEMO_SERVICE_PORT_HTTP",
            "DEMO_PORT",
            "DEMO_PORT_7000_TCP_ADDR",
        ] {
            assert_eq!(found(&[name], None), [], "{name}");
        }
    }

    // spec: CONF-27
    #[test]
    fn a_setting_of_the_other_profile_is_reported() {
        let set = ["SERVER_URL_OF_DEMO"];
        assert_eq!(found(&set, Some(true)), []);
        assert_eq!(
            found(&set, Some(false)),
            [(
                set[0].to_owned(),
                "set DEMO_CLOUD_PROFILE=true, or unset it".to_owned()
            )]
        );
        assert_eq!(found(&[], Some(false)), []);
    }

    // spec: CHECK-2
    #[cfg(not(feature = "otlp"))]
    #[test]
    fn a_setting_of_another_build_is_reported() {
        for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", OTLP_TRACES_ENDPOINT] {
            assert_eq!(found(&[name], None).len(), 1, "{name}");
        }
    }
}
