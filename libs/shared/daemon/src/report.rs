//! The report of `check`: findings, and a hint for everything that is wrong.

use std::fmt;

use serde::Serialize;

/// The meaning of a finding for a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing is wrong.
    Ok,
    /// The daemon starts, but perhaps not as intended.
    Warning,
    /// The daemon does not start, or a part of it does not work.
    Error,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether something is wrong.
    pub verdict: Verdict,
    /// The subject of the check: a variable, a pool, a GPU.
    pub subject: String,
    /// The state of the subject.
    pub found: String,
    /// What to do; absent when nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// All findings, in the order of the checks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Adds a finding without a problem.
    pub fn ok(&mut self, subject: impl Into<String>, found: impl Into<String>) {
        self.add(Verdict::Ok, subject.into(), found.into(), None);
    }

    /// Adds a warning; `hint` says what to do.
    pub fn warning(
        &mut self,
        subject: impl Into<String>,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(
            Verdict::Warning,
            subject.into(),
            found.into(),
            Some(hint.into()),
        );
    }

    /// Adds an error; `hint` says what to do.
    pub fn error(
        &mut self,
        subject: impl Into<String>,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(
            Verdict::Error,
            subject.into(),
            found.into(),
            Some(hint.into()),
        );
    }

    fn add(&mut self, verdict: Verdict, subject: String, found: String, hint: Option<String>) {
        self.findings.push(Finding {
            verdict,
            subject,
            found,
            hint,
        });
    }

    /// The findings, in order.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether there is an error. Warnings are no errors.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Verdict::Error) > 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    }
}

impl fmt::Display for Report {
    /// Writes a table for people, with each hint below its finding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subjects = self
            .findings
            .iter()
            .map(|finding| finding.subject.chars().count());
        let width = subjects.max().unwrap_or_default();
        for finding in &self.findings {
            let verdict = finding.verdict.as_str();
            // Further lines of a text stay in its column.
            let indent = format!("\n{:9}{:width$}  ", "", "");
            let found = finding.found.trim_end().replace('\n', &indent);
            writeln!(f, "{verdict:7}  {:width$}  {found}", finding.subject)?;
            if let Some(hint) = &finding.hint {
                writeln!(f, "{:9}{:width$}  hint: {hint}", "", "")?;
            }
        }
        let (errors, warnings) = (self.count(Verdict::Error), self.count(Verdict::Warning));
        write!(f, "{errors} errors, {warnings} warnings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.ok("A", "good");
        report.warning("LONGER", "odd", "look at it");
        report.error("A", "line 1\nline 2", "write it anew");
        report
    }

    // spec: CHECK-1
    #[test]
    fn people_get_a_table_with_what_to_do() {
        assert_eq!(
            report().to_string(),
            "ok       A       good\nwarning  LONGER  odd\n                 hint: look at \
             it\nerror    A       line 1\n                 line 2\n                 hint: write \
             it anew\n1 errors, 1 warnings"
        );
    }

    // spec: CHECK-1
    #[test]
    fn programs_get_json() {
        assert!(report().has_errors() && !Report::default().has_errors());
        assert_eq!(
            serde_json::to_value(report()).unwrap()["findings"][1],
            serde_json::json!({"verdict": "warning", "subject": "LONGER", "found": "odd",
                "hint": "look at it"})
        );
    }
}
