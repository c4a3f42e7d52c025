//! Accepts `5000.0` as an integer. In JSON Schema every number without a fraction is an integer,
//! and many languages write `5000.0` after a division; serde does not accept it.

/// The text without `.0` at numbers that have no other fraction and no exponent; `None` if there
/// are none. Strings are not changed. The text is not checked to be JSON.
pub(crate) fn whole_numbers(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => at = end_of_string(json, at),
            b'0'..=b'9' => {
                let end = end_of_number(json, at);
                if let Some(fraction) = json[at..end].iter().position(|&byte| byte == b'.')
                    && fraction > 0
                    && is_zero(&json[at + fraction + 1..end])
                {
                    out.extend_from_slice(&json[kept..at + fraction]);
                    kept = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    out.extend_from_slice(&json[kept..]);
    (out.len() < json.len()).then_some(out)
}

/// The position after the quote that ends the string which begins at `at`.
fn end_of_string(json: &[u8], mut at: usize) -> usize {
    at += 1;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

fn end_of_number(json: &[u8], at: usize) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    json[at..]
        .iter()
        .position(|byte| !is_part(byte))
        .map_or(json.len(), |length| at + length)
}

fn is_zero(fraction: &[u8]) -> bool {
    !fraction.is_empty() && fraction.iter().all(|&digit| digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: WIRE-13
    #[test]
    fn only_whole_numbers_outside_strings_change() {
        for (before, after) in [
            ("203.0", Some("203")),
            ("-7.000", Some("-7")),
            (
                r#"{"a":1.0,"b":[2.0 , 2.5],"c":3}"#,
                Some(r#"{"a":1,"b":[2 , 2.5],"c":3}"#),
            ),
            (
                r#"{"1.0":"2.0","\"3.0":4.0}"#,
                Some(r#"{"1.0":"2.0","\"3.0":4}"#),
            ),
            ("1.0e3", None),
            ("1.05", None),
            ("10", None),
            (".0", None),
            ("1.", None),
            (r#""1.0"#, None),
            (r#""\"#, None),
            ("", None),
        ] {
            let found = whole_numbers(before.as_bytes());
            assert_eq!(found.as_deref(), after.map(str::as_bytes), "{before}");
        }
    }
}
