//! What routing reads of a request's body, and the name that is put in place of an alias.
//!
//! Input: a JSON body; or the value of a `Content-Type` that begins with `multipart/`, a line feed
//! and a form.
//!
//! * The model is the one that a parser of values finds.
//! * A body is refused only if that parser, too, has a reason to; the refusal is short and repeats
//!   nothing of the body.
//! * With another name in place, the body names that, and no other byte has changed.

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use inference_gateway::fuzzing::{named_model, peek, with_model};
use serde_json::Value;

/// A text that a refusal must not repeat.
const SECRET: &str = "secret";

/// The longest refusal.
const MAX_REFUSAL_BYTES: usize = 200;

/// The name that is put in place; a quote and a letter beyond ASCII have forms of their own in
/// JSON.
const OTHER_NAME: &str = "another \"model\" \u{e9}";

/// The longest name of a model.
const MAX_NAME_BYTES: usize = 256;

/// See the top of this file.
pub fn request_fields(input: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut body = input;
    if input.starts_with(b"multipart/") {
        let end = input
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(input.len());
        let Ok(content_type) = HeaderValue::from_bytes(&input[..end]) else {
            return;
        };
        headers.insert(CONTENT_TYPE, content_type);
        body = input.get(end + 1..).unwrap_or_default();
    } else {
        is_what_a_parser_finds(body);
    }
    match named_model(&headers, body) {
        Ok(Some(name)) => {
            assert!((1..=MAX_NAME_BYTES).contains(&name.len()));
            assert!(!name.chars().any(char::is_control));
            is_replaced_alone(&headers, body, &name);
        }
        Ok(None) => {}
        Err(refusal) => {
            assert!(refusal.len() <= MAX_REFUSAL_BYTES, "{refusal}");
            assert!(!refusal.contains(SECRET), "the refusal repeats the body");
            assert!(!refusal.chars().any(char::is_control), "{refusal:?}");
        }
    }
}

fn is_what_a_parser_finds(body: &[u8]) {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return;
    };
    let model = fields.get("model");
    let stream = fields.get("stream").filter(|stream| !stream.is_null());
    match peek(body) {
        Ok((found, streamed)) => {
            let model = model.filter(|model| !model.is_null());
            assert_eq!(
                found.as_deref(),
                model.map(|model| model.as_str().expect("a model that is no text"))
            );
            assert_eq!(
                streamed,
                stream.map(|stream| stream.as_bool().expect("a stream that is no boolean"))
            );
        }
        Err(refusal) => {
            let is_name = |model: &Value| {
                model.as_str().is_some_and(|name| {
                    (1..=MAX_NAME_BYTES).contains(&name.len())
                        && !name.chars().any(char::is_control)
                })
            };
            // Of several fields of one name a parser of values takes the last; the first may be
            // what is refused.
            let is_named_twice = |name: &str| {
                let quoted = format!("\"{name}\"");
                let text = String::from_utf8_lossy(body);
                text.matches(&quoted).count() > 1 && refusal.contains(name)
            };
            let model_is_wrong = model.is_some_and(|model| !model.is_null() && !is_name(model))
                || is_named_twice("model");
            let stream_is_wrong =
                stream.is_some_and(|stream| !stream.is_boolean()) || is_named_twice("stream");
            let is_twice = refusal.contains("each field once");
            assert!(model_is_wrong || stream_is_wrong || is_twice, "{refusal}");
        }
    }
}

fn is_replaced_alone(headers: &HeaderMap, body: &[u8], name: &str) {
    let replaced = with_model(headers, body, OTHER_NAME).expect("a name that was read has a place");
    assert_eq!(
        named_model(headers, &replaced)
            .expect("the body is as good as before")
            .as_deref(),
        Some(OTHER_NAME)
    );
    let is_json = headers.is_empty();
    let value = if is_json {
        Value::from(OTHER_NAME).to_string()
    } else {
        OTHER_NAME.to_owned()
    };
    let is_name = |part: &[u8]| {
        if is_json {
            serde_json::from_slice::<String>(part).is_ok_and(|found| found == name)
        } else {
            part == name.as_bytes()
        }
    };
    let is_place = |at: usize| {
        let (before, rest) = replaced.split_at(at);
        let Some(behind) = rest.strip_prefix(value.as_bytes()) else {
            return false;
        };
        let part = body
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(behind));
        part.is_some_and(is_name)
    };
    assert!(
        (0..replaced.len()).any(is_place),
        "more than the name has changed"
    );
}
