//! A quick look through a body for the two fields that routing needs.
//!
//! Nearly every body is plain: an object whose `model` is a string without escapes. Such a one is
//! walked through here, at a third of what a parser takes that makes values. Whatever is not as
//! plain, or not valid, is left to the parser, which then also has the words for what is wrong:
//! what is found here, it would find, too.

use crate::peek::Peek;

/// How deep lists and objects are followed: one bit for each. Requests are four or five deep.
pub(crate) const MAX_DEPTH: u32 = 128;

/// The same byte in each place of a word.
const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Marks, by its highest bit, the first byte of a little-endian word that ends the plain part of a
/// string: a quote, a backslash or a control character. Bytes after it may be marked wrongly.
///
/// Source: "Determine if a word has a byte less than n" and "… equal to n" of the Bit Twiddling
/// Hacks.
const fn string_ends(word: u64) -> u64 {
    let control = word.wrapping_sub(repeat(b' ')) & !word;
    let quote = word ^ repeat(b'"');
    let quote = quote.wrapping_sub(repeat(1)) & !quote;
    let backslash = word ^ repeat(b'\\');
    let backslash = backslash.wrapping_sub(repeat(1)) & !backslash;
    (control | quote | backslash) & repeat(0x80)
}

/// The fields of a plain and valid body.
pub(crate) fn scan(body: &str) -> Option<Peek<'_>> {
    let mut scanner = Scanner { text: body, at: 0 };
    let mut found = Peek {
        model: None,
        stream: None,
    };
    let (mut has_model, mut has_stream) = (false, false);
    scanner.space();
    scanner.expect(b'{')?;
    scanner.space();
    if scanner.peek()? == b'}' {
        scanner.at += 1;
        return scanner.ends().then_some(found);
    }
    loop {
        scanner.expect(b'"')?;
        let key = scanner.plain_string()?;
        scanner.space();
        scanner.expect(b':')?;
        scanner.space();
        match key {
            "model" if !std::mem::replace(&mut has_model, true) => {
                if scanner.peek()? == b'n' {
                    scanner.value()?;
                } else {
                    scanner.expect(b'"')?;
                    found.model = Some(scanner.plain_string()?.into());
                }
            }
            "stream" if !std::mem::replace(&mut has_stream, true) => {
                found.stream = match scanner.peek()? {
                    b't' => Some(true),
                    b'f' => Some(false),
                    b'n' => None,
                    _ => return None,
                };
                scanner.value()?;
            }
            // Given twice.
            "model" | "stream" => return None,
            _ => scanner.value()?,
        }
        scanner.space();
        match scanner.next()? {
            b',' => scanner.space(),
            b'}' => return scanner.ends().then_some(found),
            _ => return None,
        }
    }
}

/// A place in a text; each step goes past what it has accepted, or says that it accepts nothing
/// here.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.rest().starts_with(word).then(|| self.at += word.len())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// Whether nothing more comes.
    fn ends(&mut self) -> bool {
        self.space();
        self.at == self.text.len()
    }

    /// Any value.
    fn value(&mut self) -> Option<()> {
        // Whether each open bracket is an object's; the innermost is the lowest bit.
        let mut objects: u128 = 0;
        let mut depth = 0;
        loop {
            match self.next()? {
                b'"' => self.string()?,
                open @ (b'{' | b'[') => {
                    let is_object = open == b'{';
                    self.space();
                    if self.peek()? == if is_object { b'}' } else { b']' } {
                        self.at += 1;
                    } else {
                        if depth == MAX_DEPTH {
                            return None;
                        }
                        depth += 1;
                        objects = (objects << 1) | u128::from(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                b'-' => self.number()?,
                b'0'..=b'9' => {
                    self.at -= 1;
                    self.number()?;
                }
                _ => return None,
            }
            // A value has ended; what it stands in may end with it.
            loop {
                if depth == 0 {
                    return Some(());
                }
                self.space();
                let in_object = objects & 1 == 1;
                match self.next()? {
                    b',' => {
                        self.space();
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if in_object => {}
                    b']' if !in_object => {}
                    _ => return None,
                }
                depth -= 1;
                objects >>= 1;
            }
        }
    }

    /// A key, and what stands between it and its value.
    fn key(&mut self) -> Option<()> {
        self.expect(b'"')?;
        self.string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Some(())
    }

    /// A number behind its sign.
    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let count = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        self.at += count;
        (count > 0).then_some(())
    }

    /// A string without escapes, behind its opening quote.
    fn plain_string(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.plain();
        let string = self.text.get(start..self.at);
        self.expect(b'"')?;
        string
    }

    /// A string behind its opening quote.
    fn string(&mut self) -> Option<()> {
        loop {
            self.plain();
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        let digits = self.rest().first_chunk::<4>()?;
                        if !digits.iter().all(u8::is_ascii_hexdigit) {
                            return None;
                        }
                        self.at += digits.len();
                    }
                    _ => return None,
                },
                _ => return None,
            }
        }
    }

    /// What needs no attention within a string.
    fn plain(&mut self) {
        let mut rest = self.rest();
        // Eight bytes at a time: most strings of a request are about as long.
        while let Some((word, behind)) = rest.split_first_chunk() {
            let ends = string_ends(u64::from_le_bytes(*word));
            if ends != 0 {
                self.at += (ends.trailing_zeros() / u8::BITS) as usize;
                return;
            }
            rest = behind;
            self.at += word.len();
        }
        let ends = |byte: u8| byte == b'"' || byte == b'\\' || byte < b' ';
        self.at += rest.iter().take_while(|byte| !ends(**byte)).count();
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    /// What the parser makes of it.
    fn parsed(body: &str) -> Option<Peek<'_>> {
        serde_json::from_str(body).ok()
    }

    #[test]
    fn plain_bodies_are_understood() {
        for body in [
            "{}",
            " {\n\t}\r\n",
            r#"{"model":"tiny"}"#,
            r#"{"model":null,"stream":null}"#,
            r#"{ "model" : "tïny" , "stream" : true }"#,
            r#"{"stream":false,"a":{"model":"no","b":[{},[],[1,[2]],{"c":{}}]},"model":"tiny"}"#,
            r#"{"n":[0,-0,10,-1.5,1e3,2.5E-7,1e+9,123456789012345678901234567890],"l":[true,false,null]}"#,
            r#"{"text":"a \"quoted\" \\ \/ \b\f\n\r\t \u00e9 \ud83d word, longer than one chunk of bytes is","model":"m"}"#,
        ] {
            let found = scan(body);
            assert!(found.is_some(), "{body}");
            assert_eq!(found, parsed(body), "{body}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_parser() {
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
    fn what_is_not_valid_is_not_understood() {
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

    /// Pieces of JSON, whole and broken, so that what is put together of them is often nearly
    /// right.
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

    /// A request, with one piece put in, or taken out, somewhere.
    fn nearly_right() -> impl Strategy<Value = String> {
        let body = r#"{"messages":[{"role":"user","content":"say \"x\" \u00e9\n"}],"model":"tiny","stream":true,"n":-1.5e3,"o":{"a":[]}}"#;
        (0..body.len(), 0..4_usize, pieces()).prop_map(move |(at, cut, put)| {
            let end = (at + cut).min(body.len());
            format!("{}{put}{}", &body[..at], &body[end..])
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        // spec: PATH-9
        #[test]
        fn what_is_found_the_parser_finds_too(body in prop_oneof![pieces(), nearly_right(), ".{0,40}"]) {
            if let Some(found) = scan(&body) {
                prop_assert_eq!(Some(found), parsed(&body));
            }
        }

        #[test]
        fn every_plain_object_is_understood(text in "[^\\p{Cc}\"\\\\]{0,60}", number in any::<f64>().prop_filter("JSON has no other", |n| n.is_finite())) {
            let body = serde_json::json!({ "a": [text, { &text: number }], "model": text, "stream": true }).to_string();
            prop_assert_eq!(scan(&body), parsed(&body));
            prop_assert!(scan(&body).is_some());
        }
    }
}
