//! The Prometheus text format, as far as a reader of a few gauges needs it. No I/O.
//!
//! Lines that are not samples (comments, `# EOF`, invalid lines) are skipped one by one.

// These numbers come from engines: arithmetic must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

/// One sample of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample<'a> {
    /// Its metric, as written.
    pub(crate) name: &'a str,
    /// The text between the braces; empty without labels.
    labels: &'a str,
    /// Never infinite or NaN.
    pub(crate) value: f64,
}

/// The samples of a scrape, in their order.
pub(crate) fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines().filter_map(sample)
}

/// The sum over all series of the first of `names` that has any: one per data-parallel rank, model
/// or adapter.
///
/// A name stands also for itself with the `_total` that exporters append to counters.
pub(crate) fn sum(text: &str, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|wanted| {
        samples(text)
            .filter(|sample| sample.name.strip_suffix("_total").unwrap_or(sample.name) == *wanted)
            .map(|sample| sample.value)
            .reduce(|a, b| a + b)
    })
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    let end = line.find(|c: char| !is_of_name(c)).filter(|end| *end > 0)?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        Some(rest) => rest.split_at(end_of_labels(rest)?),
        None => ("", rest),
    };
    // A time may follow the value; it is not needed.
    let rest = rest.strip_prefix('}').unwrap_or(rest);
    let value: f64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    value.is_finite().then_some(Sample {
        name,
        labels,
        value,
    })
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Where the brace is that closes the labels: a quoted value may have braces, commas and escaped
/// quotes in it.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(index),
            _ => {}
        }
    }
    None
}

impl<'a> Sample<'a> {
    /// The value of a label, as written. Escapes are not resolved, because no expected value has
    /// any.
    pub(crate) fn label(&self, wanted: &str) -> Option<&'a str> {
        let mut rest = self.labels;
        loop {
            let (name, after) = rest.split_once('=')?;
            let value = after.trim_start().strip_prefix('"')?;
            let end = end_of_value(value)?;
            if name.trim_matches([',', ' ', '\t']) == wanted {
                return value.get(..end);
            }
            rest = value.get(end.saturating_add(1)..)?;
        }
    }
}

/// Where the quote is that ends a label's value.
fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(index, c)| match c {
        _ if std::mem::take(&mut escaped) => None,
        '\\' => {
            escaped = true;
            None
        }
        '"' => Some(index),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Option<(&str, f64)> {
        sample(line).map(|sample| (sample.name, sample.value))
    }

    #[test]
    fn lines_of_every_kind() {
        for (line, expected) in [
            ("up 1", Some(("up", 1.0))),
            ("  up\t1.0e+0  ", Some(("up", 1.0))),
            (
                "llamacpp:requests_deferred 3",
                Some(("llamacpp:requests_deferred", 3.0)),
            ),
            (r#"a{b="c"} 2 1700000000000"#, Some(("a", 2.0))),
            (r#"a {b="c",} 2"#, Some(("a", 2.0))),
            ("a{} 2", Some(("a", 2.0))),
            (r#"a{b="}{,\" 7",c="\\"} 4"#, Some(("a", 4.0))),
            (
                r#"a{b="one # two"} 4 # {trace_id="x"} 0.5"#,
                Some(("a", 4.0)),
            ),
            ("# HELP up Whether it is up.", None),
            ("# EOF", None),
            ("", None),
            ("up", None),
            ("up one", None),
            (r#"a{b="c" 2"#, None),
            ("up NaN", None),
            ("up +Inf", None),
            ("{} 2", None),
        ] {
            assert_eq!(one(line), expected, "{line}");
        }
    }

    #[test]
    fn labels_are_found_by_name() {
        let sample =
            sample(r#"a{engine="0", model_name="x\"=,\\",sleep_state="awake",} 1"#).unwrap();
        assert_eq!(sample.label("engine"), Some("0"));
        assert_eq!(sample.label("model_name"), Some(r#"x\"=,\\"#));
        assert_eq!(sample.label("sleep_state"), Some("awake"));
        assert_eq!(sample.label("state"), None);
    }

    #[test]
    fn the_first_name_that_is_there_is_summed() {
        let text = "n_total{e=\"0\"} 2\nn_total{e=\"1\"} 3\nn_totals 9\nold 7\n";
        assert_eq!(sum(text, &["new", "n", "old"]), Some(5.0));
        assert_eq!(sum(text, &["new"]), None);
    }

    proptest! {
        // spec: PROBE-5
        #[test]
        fn every_scrape_can_be_read(text in "[a-z:_{}=,\"\\\\ 0-9.\n#]{0,200}") {
            for sample in samples(&text) {
                prop_assert!(sample.value.is_finite());
                sample.label("a");
            }
        }

        #[test]
        fn a_label_comes_back_as_it_was_written(value in "[^\n]{0,40}", number in 0_u32..1000) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("m{{first=\"x\",wanted=\"{escaped}\"}} {number}");
            // `lines` also ends a line at a carriage return before the end.
            let found = sample(&line).unwrap();
            prop_assert_eq!(found.label("wanted"), Some(escaped.as_str()));
            prop_assert!((found.value - f64::from(number)).abs() < f64::EPSILON);
        }
    }
}
