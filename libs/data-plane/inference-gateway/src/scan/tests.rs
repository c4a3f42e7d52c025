//! The scanner agrees with the parser.

use proptest::{prelude::*, sample::select};

use super::*;

fn parsed(body: &str) -> Option<BodyFields<'_>> {
    serde_json::from_str(body).ok()
}

#[test]
fn plain_bodies_are_scanned() {
    for body in [
        "{}",
        " {\n\t}\r\n",
        r#"{"model":"tiny"}"#,
        r#"{"model":null,"stream":null}"#,
        r#"{ "model" : "tïny" , "stream" : true }"#,
        r#"{"stream":false,"a":{"model":"no","b":[{},[],[1,[2]],{"c":{}}]},"model":"tiny"}"#,
        r#"{"n":[0,-0,10,-1.5,1e3,2.5E-7,1e+9,123456789012345678901234567890],
            "l":[true,false,null]}"#,
        r#"{"text":"a \"quoted\" \\ \/ \b\f\n\r\t \u00e9 \ud83d word, longer than one chunk",
            "model":"m"}"#,
    ] {
        let found = scan(body);
        assert!(found.is_some(), "{body}");
        assert_eq!(found, parsed(body), "{body}");
    }
}

#[test]
fn other_bodies_are_left_to_the_parser() {
    for body in [
        r#"{"model":"t\u0069ny"}"#,
        r#"{"m\u006fdel":"tiny"}"#,
        &format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200)),
    ] {
        assert_eq!(scan(body), None, "{body}");
        assert!(parsed(body).is_some(), "{body}");
    }
}

// spec: PATH-9
#[test]
fn invalid_bodies_are_not_accepted() {
    for body in [
        "",
        "{",
        "[]",
        "null",
        r#"{"model":"a"} x"#,
        r#"{"model":"a",}"#,
        r#"{,"model":"a"}"#,
        r#"{"model" "a"}"#,
        r#"{"model":5}"#,
        r#"{"model":"a","model":"b"}"#,
        r#"{"stream":1}"#,
        r#"{"stream":true,"stream":true}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[1}"#,
        r#"{"a":{"b":1]}"#,
        r#"{"a":{"b"}}"#,
        r#"{"a":01}"#,
        r#"{"a":-}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e}"#,
        r#"{"a":+1}"#,
        r#"{"a":nul}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12g4"}"#,
        r#"{"a":"\u12"#,
        "{\"a\":\"line\nbreak\"}",
        "{\"a\":\"a control character far into a string: \u{1f}\"}",
    ] {
        assert_eq!(scan(body), None, "{body}");
    }
}

/// Pieces of JSON, whole and broken, whose combinations are often nearly valid.
fn pieces() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\"model\"",
        "\"stream\"",
        "\"a\"",
        "\"model\":\"m\"",
        "\"a\":",
        "true",
        "false",
        "null",
        "0",
        "-1",
        "1.5e3",
        "1.",
        "\"",
        "\\",
        "\\u00e9",
        "\u{1}",
        "é",
        "\"a long string that fills a chunk\"",
    ]);
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A request with one piece inserted or removed.
fn nearly_valid() -> impl Strategy<Value = String> {
    let body = r#"{"messages":[{"role":"user","content":"say \"x\" \u00e9\n"}],
        "model":"tiny","stream":true,"n":-1.5e3,"o":{"a":[]}}"#;
    (0..body.len(), 0..4_usize, pieces()).prop_map(move |(at, cut, put)| {
        let end = (at + cut).min(body.len());
        format!("{}{put}{}", &body[..at], &body[end..])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    // spec: PATH-9
    #[test]
    fn the_parser_finds_the_same_fields(
        body in prop_oneof![pieces(), nearly_valid(), ".{0,40}"],
    ) {
        if let Some(found) = scan(&body) {
            prop_assert_eq!(Some(found), parsed(&body));
        }
    }

    #[test]
    fn every_plain_object_is_scanned(
        text in "[^\\p{Cc}\"\\\\]{0,60}",
        number in any::<f64>().prop_filter("JSON has no other", |n| n.is_finite()),
    ) {
        let body = serde_json::json!({
            "a": [text, { &text: number }], "model": text, "stream": true
        })
        .to_string();
        prop_assert_eq!(scan(&body), parsed(&body));
        prop_assert!(scan(&body).is_some());
    }
}
