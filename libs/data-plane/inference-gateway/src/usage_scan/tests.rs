//! The engine's numbers are found, whatever else a response holds and wherever it is cut.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use Dialect::{Completions, Messages, Plain, Responses};

/// The prompt and the generated tokens, by whatever name.
fn found(report: Report) -> (Option<u32>, Option<u32>) {
    let output = report.output.or(report.predicted);
    (report.prompt.or(report.fresh), output)
}

// spec: KEY-20, SEE-21
#[test]
fn what_a_client_sent_is_no_report() {
    let usage = r#""usage":{"prompt_tokens":11,"completion_tokens":3}"#;
    let of_responses = r#""usage":{"input_tokens":11,"output_tokens":3}"#;
    for echo in [
        r#""metadata":{"prompt_tokens":"","completion_tokens":"","input_tokens":"","output_tokens":""}"#,
        r#""metadata":{"prompt_tokens":0,"completion_tokens":0,"input_tokens":0,"output_tokens":0}"#,
        r#""metadata":{"usage":{"prompt_tokens":0,"input_tokens":0,"output_tokens":0}}"#,
        r#""tools":[{"usage":{"prompt_tokens":0,"input_tokens":0,"output_tokens":0}}]"#,
        r#""tools":[{"response":{"usage":{"input_tokens":0,"output_tokens":0}}}]"#,
        r#""metadata":{"x":"}","usage":"{\"input_tokens\":0}","timings":{"prompt_n":0}}"#,
        r#""metadata":{"usage":{"prompt_tokens":0,"input_tokens":0,"output_tokens":0}},"x":"{""#,
        r#""user":"\",\"usage\":{\"prompt_tokens\":0,\"input_tokens\":0}""#,
        r#""user":"usage","x":[{"input_tokens":0,"prompt_tokens":0}]"#,
        r#""user":"\\","input_tokens":0,"output_tokens":0,"prompt_tokens":0"#,
    ] {
        for fields in [format!("{{{usage},{echo}}}"), format!("{{{echo},{usage}}}")] {
            let report = whole_report(Completions, fields.as_bytes()).unwrap();
            assert_eq!(found(report), (Some(11), Some(3)), "{fields}");
            let event = format!("event: x\r\ndata: {fields}\r\n\r\ndata: [DONE]\r\n\r\n");
            let report = events_report(Completions, event.as_bytes()).unwrap();
            assert_eq!(found(report), (Some(11), Some(3)), "{event}");
        }
        for fields in [
            format!("{{{of_responses},{echo}}}"),
            format!("{{{echo},{of_responses}}}"),
        ] {
            for dialect in [Responses, Messages] {
                let report = whole_report(dialect, fields.as_bytes()).unwrap();
                assert_eq!(found(report), (Some(11), Some(3)), "{fields}");
            }
            for (dialect, name) in [(Responses, "response"), (Messages, "message")] {
                let event = format!(
                    "event: x\ndata: {{\"type\":\"x\",\"{name}\":{fields}}}\n\n\
                     data: {{\"type\":\"y\"}}\n\n"
                );
                let report = events_report(dialect, event.as_bytes()).unwrap();
                assert_eq!(found(report), (Some(11), Some(3)), "{event}");
            }
        }
    }
}

// spec: KEY-20
#[test]
fn a_report_is_found_wherever_its_text_is_cut() {
    for (dialect, text, expected) in [
        (
            Completions,
            r#"{"choices":[{"x":"a\"b\\"}],"usage" : { "prompt_tokens" : 12 , "completion_tokens":34}}"#,
            (Some(12), Some(34)),
        ),
        (
            Completions,
            r#"{"usage":null,"timings":{"cache_n":9,"prompt_n":2,"predicted_n":5}}"#,
            (Some(2), Some(5)),
        ),
        (
            Completions,
            r#"{"usage":{"completion_tokens_details":{"completion_tokens":1},"prompt_tokens":-5,"completion_tokens":5.7}}"#,
            (None, Some(5)),
        ),
        (
            Completions,
            r#"{"usage":{"prompt_tokens":4294967296,"completion_tokens":4294967295}}"#,
            (None, Some(u32::MAX)),
        ),
        (
            Plain,
            r#"[{"tokens_evaluated":6,"tokens_predicted":2}]"#,
            (Some(6), Some(2)),
        ),
        (Plain, r#"{"usage":{"input_tokens":1}"#, (None, None)),
        (
            Plain,
            r#"}}]]"{"usage":{"prompt_tokens":3}}"#,
            (Some(3), None),
        ),
    ] {
        for cut in 0..=text.len() {
            let (mut scan, mut report) = (UsageScan::default(), Report::default());
            scan.piece(dialect, &text.as_bytes()[..cut], &mut report);
            scan.piece(dialect, &text.as_bytes()[cut..], &mut report);
            assert_eq!(found(report), expected, "{text} cut at {cut}");
        }
    }
}

// spec: SEE-40
#[test]
fn most_events_are_not_scanned() {
    for event in [
        r#"data: {"choices":[{"delta":{"content":"a"}}],"usage":null}"#,
        r#"data: {"choices":[{"delta":{"content":"\"usage\":{}"}}]}"#,
        "data: [DONE]",
    ] {
        assert_eq!(first_report(Completions, event.as_bytes()), None, "{event}");
    }
}

/// Names of which some matter.
const NAMES: [&str; 8] = [
    "usage",
    "response",
    "message",
    "timings",
    "input_tokens",
    "output_tokens",
    "prompt_tokens",
    "a\"b",
];

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        3 => any::<u32>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => "[\\\\\"{}a]{0,6}".prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let name = prop::sample::select(NAMES.as_slice()).prop_map(str::to_owned);
        prop_oneof![
            3 => prop::collection::hash_map(name, inner.clone(), 0..6)
                .prop_map(|fields| fields.into_iter().collect::<Value>()),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
        ]
    })
}

proptest! {
    /// What is found is what a parser finds at that place, and nothing else.
    // spec: KEY-20
    #[test]
    fn the_scanner_agrees_with_a_parser(response in json(), cut in any::<prop::sample::Index>()) {
        prop_assume!(response.is_object());
        let number = |value: &Value, name: &str| {
            let number = value.get("usage")?.get(name)?;
            // Of a fraction, the digits before the point count.
            let text = number.is_number().then(|| number.to_string())?;
            let digits = text.split(|char: char| !char.is_ascii_digit()).next()?;
            digits.parse::<u32>().ok()
        };
        let find = |name| {
            let inner = response.get("response").map_or(&Value::Null, |inner| inner);
            (number(&response, name), number(inner, name))
        };
        let text = response.to_string();
        let (before, after) = text.as_bytes().split_at(cut.index(text.len()));
        let (mut scan, mut report) = (UsageScan::default(), Report::default());
        scan.piece(Responses, before, &mut report);
        scan.piece(Responses, after, &mut report);
        for (name, found) in [("input_tokens", report.fresh), ("output_tokens", report.output)] {
            let (top, inner) = find(name);
            prop_assert!(
                found == top || found == inner,
                "{} {:?} {:?} {:?}", text, found, top, inner
            );
            prop_assert_eq!(found.is_some(), top.is_some() || inner.is_some(), "{}", text);
        }
        prop_assert_eq!((report.prompt, report.predicted), (None, None));
    }

    /// A whole response is read from its first report on, which makes no difference.
    // spec: KEY-20, SEE-21
    #[test]
    fn what_is_skipped_of_a_whole_response_reports_nothing(response in json()) {
        let text = response.to_string();
        for dialect in [Completions, Responses, Messages, Plain] {
            let (mut scan, mut report) = (UsageScan::default(), Report::default());
            scan.piece(dialect, text.as_bytes(), &mut report);
            let whole = whole_report(dialect, text.as_bytes());
            prop_assert_eq!(whole.unwrap_or_default(), report, "{}", text);
        }
    }

    /// Whatever an engine sends, in whatever pieces, nothing panics.
    #[test]
    fn no_text_panics(
        text in "[{}\\[\\]\":,\\\\ -19x]{0,64}|[{}\":,]{0,200}",
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut scan, mut report) = (UsageScan::default(), Report::default());
        let (before, after) = text.as_bytes().split_at(cut.index(text.len() + 1));
        scan.piece(Responses, before, &mut report);
        scan.piece(Responses, after, &mut report);
        let _ = whole_report(Responses, text.as_bytes());
    }
}
