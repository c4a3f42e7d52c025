//! Asks the engine of a streamed completion for its usage. Engines count tokens anyway, and send
//! the count of a stream only to those who ask.

use bytes::Bytes;
use memchr::memmem;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{error::GatewayError, model_name::range_of};

const NAME: &[u8] = b"\"stream_options\"";
const FIELD: &[u8] = b"\"stream_options\":{\"include_usage\":true}";
const OPTION: &[u8] = b"\"include_usage\":true";

/// Why a body cannot ask for the usage. Engines read such values in ways of their own, and the last
/// of two fields, or the first: a client must not get a stream that tells no usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageOptionError {
    /// `stream_options`, or a body that cannot be searched for it.
    #[error("`stream_options` must be an object or null, and be there once")]
    Options,
    /// `include_usage`.
    #[error("`stream_options.include_usage` must be true, false or null, and be there once")]
    IncludeUsage,
}

impl From<UsageOptionError> for GatewayError {
    fn from(error: UsageOptionError) -> Self {
        let field = match error {
            UsageOptionError::Options => "stream_options",
            UsageOptionError::IncludeUsage => "stream_options.include_usage",
        };
        Self::invalid(field, error.to_string())
    }
}

/// The body of a streamed request, which asks for the usage; `None` when the client asks for it.
pub(crate) fn with_usage(body: &[u8]) -> Result<Option<Bytes>, UsageOptionError> {
    // In a text, the quotes of the name would be escaped; only `\u` could hide it.
    if memmem::find(body, NAME).is_none() && memmem::find(body, b"\\u").is_none() {
        return inserted(body, 0, FIELD);
    }
    // A repeated field is an error.
    let fields: Fields<'_> = serde_json::from_slice(body).map_err(|_| UsageOptionError::Options)?;
    let Some(options) = fields.stream_options else {
        return inserted(body, 0, FIELD);
    };
    if options.get() == "null" {
        let object = &FIELD[NAME.len() + 1..];
        return replaced(body, options, object);
    }
    // serde would read a list as the fields in order.
    if !options.get().starts_with('{') {
        return Err(UsageOptionError::Options);
    }
    let known: Options<'_> =
        serde_json::from_str(options.get()).map_err(|_| UsageOptionError::IncludeUsage)?;
    match known.include_usage.map(|value| (value, value.get())) {
        None => {
            let range = range_of(options.get(), body).ok_or(UsageOptionError::Options)?;
            inserted(body, range.start, OPTION)
        }
        Some((_, "true")) => Ok(None),
        Some((value, "false" | "null")) => replaced(body, value, b"true"),
        Some(_) => Err(UsageOptionError::IncludeUsage),
    }
}

fn inserted(body: &[u8], from: usize, field: &[u8]) -> Result<Option<Bytes>, UsageOptionError> {
    let body = insert(body, from, field);
    body.map(Some).ok_or(UsageOptionError::Options)
}

/// The body with other text instead of `value`, which it has.
fn replaced(body: &[u8], value: &RawValue, text: &[u8]) -> Result<Option<Bytes>, UsageOptionError> {
    let range = range_of(value.get(), body).ok_or(UsageOptionError::Options)?;
    Ok(Some(joined(&body[..range.start], text, &body[range.end..])))
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
        ] {
            let found = with_usage(before.as_bytes()).unwrap();
            let found = found
                .as_deref()
                .map(|body| std::str::from_utf8(body).unwrap());
            assert_eq!(found, after, "{before}");
        }
    }

    // spec: KEY-21
    #[test]
    fn no_other_value_hides_the_usage() {
        use UsageOptionError::{IncludeUsage, Options};
        for (body, error) in [
            (r#"{"stream_options":{"include_usage":0}}"#, IncludeUsage),
            (r#"{"stream_options":{"include_usage":0.0}}"#, IncludeUsage),
            (r#"{"stream_options":{"include_usage":1}}"#, IncludeUsage),
            (
                r#"{"stream_options":{"include_usage":"false"}}"#,
                IncludeUsage,
            ),
            (
                r#"{"stream_options":{"include_usage":[true]}}"#,
                IncludeUsage,
            ),
            (
                r#"{"stream_options":{"include_usage":true,"include_usage":false}}"#,
                IncludeUsage,
            ),
            (
                r#"{"stream_options":{"include_usage":true,"include\u005fusage":false}}"#,
                IncludeUsage,
            ),
            (
                r#"{"stream_options":{"include_usage":true},"stream_options":null}"#,
                Options,
            ),
            (r#"{"stream_options":{},"stream\u005foptions":{}}"#, Options),
            (r#"{"stream_options":false}"#, Options),
            (r#"{"stream_options":[]}"#, Options),
            (r#"{"stream_options":[true]}"#, Options),
            (r#"{"stream_options":"x"}"#, Options),
            ("[]", Options),
            ("", Options),
        ] {
            assert_eq!(with_usage(body.as_bytes()), Err(error), "{body}");
        }
        let no_text = [b"{\"x\":\"\xff\",\"stream_options\":{\"a\":\"\xff\"}}".as_slice()].concat();
        assert_eq!(with_usage(&no_text), Err(Options));
    }
}
