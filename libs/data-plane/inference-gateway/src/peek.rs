//! Reads the fields of a request's body that routing needs, without copying the body.

use std::borrow::Cow;

use pool_registry_types::MAX_MODEL_NAME_BYTES;
use thiserror::Error;

use crate::scan::{BodyFields, scan};

/// A body that is not a valid request.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum PeekError {
    #[error("the body is empty: it must be a JSON object with a `model`")]
    Empty,
    #[error("the body is not a valid JSON object: {0}")]
    NotJson(String),
    #[error("a form must be multipart/form-data, and its Content-Type must name the boundary")]
    NotAForm,
    #[error("`{field}` is not valid: {reason}")]
    Field { field: &'static str, reason: String },
}

impl PeekError {
    /// The field at fault.
    pub(crate) fn field(&self) -> Option<&'static str> {
        match self {
            Self::Empty | Self::NotJson(_) | Self::NotAForm => None,
            Self::Field { field, .. } => Some(field),
        }
    }
}

/// Reads the fields of `body` that routing needs.
pub(crate) fn peek(body: &[u8]) -> Result<BodyFields<'_>, PeekError> {
    if body.is_empty() {
        return Err(PeekError::Empty);
    }
    // serde would read a list as the fields in order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(PeekError::NotJson("it is a list".to_owned()));
    }
    // Checking UTF-8 once is cheaper than per string, which costs a fifth of the reading. A body
    // that is not UTF-8 may still be JSON in the fields that are read.
    let fields: Result<BodyFields<'_>, _> = match std::str::from_utf8(body) {
        Ok(text) => match scan(text) {
            Some(found) => Ok(found),
            None => serde_json::from_str(text),
        },
        Err(_) => serde_json::from_slice(body),
    };
    let fields = fields.map_err(|_| explain(body))?;
    let BodyFields { model, stream } = fields;
    Ok(BodyFields {
        model: model.map(check_model).transpose()?,
        stream,
    })
}

/// Checks a model's name.
pub(crate) fn check_model(model: Cow<'_, str>) -> Result<Cow<'_, str>, PeekError> {
    if model.is_empty() || model.len() > MAX_MODEL_NAME_BYTES || model.chars().any(char::is_control)
    {
        let reason = format!(
            "it must be a name of 1 to {MAX_MODEL_NAME_BYTES} bytes without control characters"
        );
        return Err(PeekError::Field {
            field: "model",
            reason,
        });
    }
    Ok(model)
}

/// Reads an invalid body again to say what is wrong with it. This is slow. The message never
/// repeats the content.
fn explain(body: &[u8]) -> PeekError {
    let mut json = serde_json::Deserializer::from_slice(body);
    let Err(error) = serde_path_to_error::deserialize::<_, BodyFields<'_>>(&mut json) else {
        return PeekError::NotJson("something follows the end of the object".to_owned());
    };
    let path = error.path().to_string();
    let place =
        |error: &serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    match (error.inner().classify(), path.as_str()) {
        (serde_json::error::Category::Data, "model") => PeekError::Field {
            field: "model",
            reason: format!("it must be a string ({})", place(error.inner())),
        },
        (serde_json::error::Category::Data, "stream") => PeekError::Field {
            field: "stream",
            reason: format!("it must be true or false ({})", place(error.inner())),
        },
        (serde_json::error::Category::Data, _) => {
            // The only other errors of this kind are "not an object" and a repeated field.
            PeekError::NotJson(format!(
                "it must be one object that names each field once ({})",
                place(error.inner())
            ))
        }
        (serde_json::error::Category::Eof, _) => PeekError::NotJson("it ends too early".to_owned()),
        _ => PeekError::NotJson(format!("syntax error at {}", place(error.inner()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_fields_are_found_among_others() {
        let body = br#" {"messages":[{"content":"say \"model\": {}"}],"stream":true,
            "x":{"model":"no"},"model":"tiny"}"#;
        assert_eq!(
            peek(body),
            Ok(BodyFields {
                model: Some("tiny".into()),
                stream: Some(true)
            })
        );
        assert_eq!(
            peek(b"{}"),
            Ok(BodyFields {
                model: None,
                stream: None
            })
        );
        assert_eq!(
            peek(br#"{"model":null,"stream":null}"#),
            Ok(BodyFields {
                model: None,
                stream: None
            })
        );
        assert_eq!(
            peek(br#"{"model":"t\u00efny"}"#).unwrap().model.unwrap(),
            "tïny"
        );
    }

    // spec: PATH-9
    #[test]
    fn errors_name_the_problem_and_never_repeat_the_prompt() {
        let long = format!(r#"{{"model":"{}"}}"#, "x".repeat(300));
        let cases: &[(&[u8], Option<&str>, &str)] = &[
            (b"", None, "is empty"),
            (b"secret", None, "syntax error at line 1"),
            (br#"{"prompt":"secret"#, None, "ends too early"),
            (br#"{"prompt":"secret"} x"#, None, "follows the end"),
            (br#" ["secret"]"#, None, "is a list"),
            (b"7", None, "must be one object"),
            (br#"{"model":5}"#, Some("model"), "must be a string"),
            (br#"{"model":{"a":1}}"#, Some("model"), "must be a string"),
            (br#"{"model":""}"#, Some("model"), "1 to 256 bytes"),
            (
                br#"{"model":"a\u0000b"}"#,
                Some("model"),
                "control characters",
            ),
            (long.as_bytes(), Some("model"), "1 to 256 bytes"),
            (br#"{"model":"a","model":"b"}"#, None, "each field once"),
            (br#"{"stream":"yes"}"#, Some("stream"), "true or false"),
            (b"\xff\xfe{}", None, "syntax error"),
        ];
        for (body, field, expected) in cases {
            let error = peek(body).unwrap_err();
            assert_eq!(error.field(), *field, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
