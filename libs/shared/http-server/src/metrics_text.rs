//! Converts a page of OpenMetrics to the older text format of Prometheus, which more programs read.
//!
//! The formats differ in the name of a family: OpenMetrics uses the name without the suffix of its
//! kind, this format the name of the sample lines. This format has neither units nor an end marker.

/// The page in text format 0.0.4.
pub(crate) fn prometheus_text(page: &str) -> String {
    let mut text = String::with_capacity(page.len() + page.len() / 8);
    // The help of a family comes before its type, which determines its name.
    let mut help: Option<(&str, &str)> = None;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let (ending, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                text.extend(["# HELP ", name, ending, " ", words, "\n"]);
            }
            text.extend(["# TYPE ", name, ending, " ", kind, "\n"]);
        } else if !line.starts_with("# ") {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SEE-12
    #[test]
    fn families_get_the_names_of_their_lines() {
        let page = "\
# HELP a Counted.
# TYPE a counter
a_total 1
# HELP build Which.
# TYPE build info
build_info{version=\"1\"} 1
# HELP wait_seconds A wait.
# TYPE wait_seconds histogram
# UNIT wait_seconds seconds
wait_seconds_sum 0.5
# EOF
";
        assert_eq!(
            prometheus_text(page),
            "\
# HELP a_total Counted.
# TYPE a_total counter
a_total 1
# HELP build_info Which.
# TYPE build_info gauge
build_info{version=\"1\"} 1
# HELP wait_seconds A wait.
# TYPE wait_seconds histogram
wait_seconds_sum 0.5
"
        );
    }
}
