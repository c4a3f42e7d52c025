//! The quick look through a request's body.
//!
//! Input: a body.
//!
//! * What the scanner finds, the parser finds too.
//! * The scanner leaves to the parser only what holds an escape or is very deep.

use inference_gateway::fuzzing::{parse, scan};

/// Lists and objects that the scanner follows.
const MAX_DEPTH: usize = 128;

/// See the top of this file.
pub fn json_scanner(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let found = scan(text);
    let parsed = parse(text);
    if found.is_some() {
        assert_eq!(found, parsed, "the parser does not agree");
    } else if parsed.is_some() && !input.contains(&b'\\') && !text.trim_start().starts_with('[') {
        let brackets = input
            .iter()
            .filter(|byte| matches!(byte, b'{' | b'['))
            .count();
        assert!(brackets > MAX_DEPTH, "a plain body was not understood");
    }
}
