//! Usage as comma-separated values (RFC 4180).

use std::fmt::Write as _;

use usage_log::UsageRow;

use crate::view::UsageRowAnswer;

const HEADER: &str =
    "date,key_id,key_name,model,requests,input_tokens,output_tokens,slot_seconds\r\n";

/// The rows below a header.
pub(crate) fn csv(rows: Vec<UsageRow>) -> String {
    let mut text = HEADER.to_owned();
    for row in rows.into_iter().map(UsageRowAnswer::from) {
        let (seconds, millis) = (row.slot_ms / 1000, row.slot_ms % 1000);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{},{},{},{},{},{},{},{seconds}.{millis:03}\r\n",
            row.date,
            field(&row.key_id),
            field(&row.key_name),
            field(&row.model),
            row.requests,
            row.input_tokens,
            row.output_tokens,
        );
    }
    text
}

/// What begins a formula. Spreadsheets take the fullwidth forms for the same, and drop the blanks.
const FORMULA: [char; 10] = [
    '=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
];

/// A text as a field. What a spreadsheet would take for a formula gets an apostrophe.
fn field(text: &str) -> String {
    let is_formula = text.starts_with(FORMULA);
    let text = if is_formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains([',', '"', '\r', '\n']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: KEY-24
    #[test]
    fn a_field_is_quoted_where_it_must_be() {
        for (text, expected) in [
            ("shop", "shop"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("=1+1", "'=1+1"),
            ("@x,y", "\"'@x,y\""),
            ("\u{ff1d}1+1", "'\u{ff1d}1+1"),
            ("\u{ff0b}1", "'\u{ff0b}1"),
            ("\u{ff0d}1", "'\u{ff0d}1"),
            ("\u{ff20}x", "'\u{ff20}x"),
            ("\t=1", "'\t=1"),
        ] {
            assert_eq!(field(text), expected);
        }
    }
}
