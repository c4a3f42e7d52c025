//! A fast scanner for the two fields that routing needs.
//!
//! Nearly every body is an object whose `model` is a string without escapes. The scanner reads such
//! a body at a third of a parser's cost. It leaves every other body, valid or not, to the parser,
//! which also explains what is wrong. What the scanner finds, the parser finds as well.

use std::borrow::Cow;

use serde::Deserialize;

/// How deep lists and objects are followed: one bit for each. Requests are four or five deep.
pub(crate) const MAX_DEPTH: u32 = 128;

/// A word with the same byte in each place.
const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Marks, by its highest bit, the first byte of a little-endian word that ends the plain part of a
/// string: a quote, a backslash or a control character. Later bytes may be marked wrongly.
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

/// The fields that routing needs. All others are skipped.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct BodyFields<'a> {
    /// The requested model.
    #[serde(borrow, default)]
    pub(crate) model: Option<Cow<'a, str>>,
    /// Whether the client wants a stream.
    #[serde(default)]
    pub(crate) stream: Option<bool>,
}

/// The fields of `body`; `None` leaves it to the parser.
pub(crate) fn scan(body: &str) -> Option<BodyFields<'_>> {
    let mut scanner = Scanner { text: body, at: 0 };
    let mut found = BodyFields {
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
            // A repeated field.
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

/// A position in a text. Each step moves past what it accepts, or returns `None`.
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

    /// Whether only white space is left.
    fn ends(&mut self) -> bool {
        self.space();
        self.at == self.text.len()
    }

    /// Any value.
    fn value(&mut self) -> Option<()> {
        // Whether each open bracket is an object's. The lowest bit is the innermost one.
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
            // A value has ended. The lists and objects around it may end, too.
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

    /// A key and its colon.
    fn key(&mut self) -> Option<()> {
        self.expect(b'"')?;
        self.string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Some(())
    }

    /// A number after its sign.
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

    /// A string without escapes, after its opening quote.
    fn plain_string(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.plain();
        let string = self.text.get(start..self.at);
        self.expect(b'"')?;
        string
    }

    /// A string after its opening quote.
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

    /// Skips the bytes of a string up to a quote, an escape or a control character.
    fn plain(&mut self) {
        let mut rest = self.rest();
        // Eight bytes at a time: most strings of a request are about as long.
        while let Some((word, after)) = rest.split_first_chunk() {
            let ends = string_ends(u64::from_le_bytes(*word));
            if ends != 0 {
                self.at += (ends.trailing_zeros() / u8::BITS) as usize;
                return;
            }
            rest = after;
            self.at += word.len();
        }
        let ends = |byte: u8| byte == b'"' || byte == b'\\' || byte < b' ';
        self.at += rest.iter().take_while(|byte| !ends(**byte)).count();
    }
}

#[cfg(test)]
mod tests;
