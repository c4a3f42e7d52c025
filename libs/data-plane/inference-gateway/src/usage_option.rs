//! Asks the engine of a streamed completion for its usage. Engines count tokens anyway, and send
//! the count of a stream only to those who ask.

use bytes::Bytes;
use memchr::memmem;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::model_name::range_of;

const NAME: &[u8] = b"\"stream_options\"";
const FIELD: &[u8] = b"\"stream_options\":{\"include_usage\":true}";
const OPTION: &[u8] = b"\"include_usage\":true";

/// The body of a streamed request, which asks for the usage; `None` when the client asks for it, or
/// when the body has another form than the engine would accept.
pub(crate) fn with_usage(body: &[u8]) -> Option<Bytes> {
    // In a text, the quotes of the name would be escaped; only `\u` could hide it.
    if memmem::find(body, NAME).is_none() && memmem::find(body, b"\\u").is_none() {
        return insert(body, 0, FIELD);
    }
    let fields: Fields<'_> = serde_json::from_slice(body).ok()?;
    let Some(options) = fields.stream_options else {
        return insert(body, 0, FIELD);
    };
    let range = range_of(options.get(), body)?;
    if options.get() == "null" {
        let object = &FIELD[NAME.len() + 1..];
        return Some(joined(&body[..range.start], object, &body[range.end..]));
    }
    let known: Options<'_> = serde_json::from_str(options.get()).ok()?;
    match known.include_usage {
        None => insert(body, range.start, OPTION),
        Some(value) if matches!(value.get(), "false" | "null") => {
            let range = range_of(value.get(), body)?;
            Some(joined(&body[..range.start], b"true", &body[range.end..]))
        }
        // It asks, or the engine refuses it.
        Some(_) => None,
    }
}

/// Inserts a field into the object that begins at `from` or after blanks.
fn insert(body: &[u8], from: usize, field: &[u8]) -> Option<Bytes> {
    let rest = body.get(from..)?;
    let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
    let start = from + blanks.count() + 1;
    let (before, after) = body.split_at_checked(start)?;
    if !before.ends_with(b"{") {
        return None;
    }
    let is_empty = after.trim_ascii_start().starts_with(b"}");
    let separator: &[u8] = if is_empty { b"" } else { b"," };
    Some(Bytes::from([before, field, separator, after].concat()))
}

fn joined(before: &[u8], middle: &[u8], after: &[u8]) -> Bytes {
    Bytes::from([before, middle, after].concat())
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Options<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    include_usage: Option<&'a RawValue>,
}

/// A field that is there, `null` included.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: KEY-21
    #[test]
    fn the_engine_is_asked_for_the_usage_unless_the_client_asks() {
        for (before, after) in [
            (
                r#" {"stream":true}"#,
                Some(r#" {"stream_options":{"include_usage":true},"stream":true}"#),
            ),
            (
                r#"{"stream":true,"stream_options":null}"#,
                Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
            ),
            (
                r#"{"stream_options": {} ,"stream":true}"#,
                Some(r#"{"stream_options": {"include_usage":true} ,"stream":true}"#),
            ),
            (
                r#"{"stream_options":{"x":[1]},"stream":true}"#,
                Some(r#"{"stream_options":{"include_usage":true,"x":[1]},"stream":true}"#),
            ),
            (
                r#"{"stream_options":{"include_usage": false},"stream":true}"#,
                Some(r#"{"stream_options":{"include_usage": true},"stream":true}"#),
            ),
            (
                r#"{"stream\u005foptions":{"include_usage":null}}"#,
                Some(r#"{"stream\u005foptions":{"include_usage":true}}"#),
            ),
            (
                r#"{"x":"\u00e9 \"stream_options\":{}"}"#,
                Some(
                    r#"{"stream_options":{"include_usage":true},"x":"\u00e9 \"stream_options\":{}"}"#,
                ),
            ),
            (
                r#"{"x":{"stream_options":{}}}"#,
                Some(r#"{"stream_options":{"include_usage":true},"x":{"stream_options":{}}}"#),
            ),
            (r#"{"stream_options":{"include_usage":true}}"#, None),
            (r#"{"stream_options":{"include_usage":"x"}}"#, None),
            (r#"{"stream_options":"x"}"#, None),
            ("[]", None),
            ("", None),
        ] {
            let found = with_usage(before.as_bytes());
            let found = found
                .as_deref()
                .map(|body| std::str::from_utf8(body).unwrap());
            assert_eq!(found, after, "{before}");
        }
    }
}
