//! The model that a request names, and the replacement of an alias.
//!
//! Engines check the name, so the model's name must replace an alias. That affects only the value
//! of that field.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use pool_registry_types::ErrorCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    aliases::Aliases,
    error::GatewayError,
    multipart,
    peek::{PeekError, check_model, peek},
    scan::BodyFields,
};

/// The model that a request names, and whether it asks for a stream, in JSON or in a form.
pub(crate) fn named_fields<'a>(
    headers: &HeaderMap,
    body: &'a [u8],
) -> Result<BodyFields<'a>, PeekError> {
    match form_type(headers) {
        Some(form) if !multipart::is_form(form) => Err(PeekError::NotAForm),
        Some(form) => Ok(BodyFields {
            model: multipart::model(form, body)
                .map(|model| check_model(model.into()))
                .transpose()?,
            // Uploads are mostly answered whole.
            stream: None,
        }),
        None => peek(body),
    }
}

/// The model that a request names, in JSON or in a form.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn named_model<'a>(
    headers: &HeaderMap,
    body: &'a [u8],
) -> Result<Option<Cow<'a, str>>, PeekError> {
    Ok(named_fields(headers, body)?.model)
}

/// The model of a request, and the body that names it.
pub(crate) struct ResolvedModel {
    pub(crate) model: String,
    /// The client's name for the model, if it is an alias.
    pub(crate) alias: Option<String>,
    pub(crate) body: Bytes,
}

/// Resolves the name `named`. Only an alias changes the body and the headers that describe it.
pub(crate) fn resolve(
    aliases: &Aliases,
    named: String,
    headers: &mut HeaderMap,
    body: Bytes,
) -> Result<ResolvedModel, GatewayError> {
    let Some(model) = aliases.target(&named) else {
        return Ok(ResolvedModel {
            model: named,
            alias: None,
            body,
        });
    };
    let body = with_model(headers, &body, model).ok_or_else(|| {
        GatewayError::new(
            ErrorCode::Internal,
            "the model's name cannot replace the alias",
        )
    })?;
    // The connection to the engine sets the new length.
    headers.remove(CONTENT_LENGTH);
    Ok(ResolvedModel {
        model: model.to_owned(),
        alias: Some(named),
        body,
    })
}

/// The body with `model` instead of the model that it names; `None` when it names none.
pub(crate) fn with_model(headers: &HeaderMap, body: &[u8], model: &str) -> Option<Bytes> {
    let (field, value) = match form_type(headers) {
        // A form's field is plain text. A name has no line break that could end it.
        Some(form) => (multipart::model(form, body)?, Cow::Borrowed(model)),
        None => {
            let located: ModelField<'_> = serde_json::from_slice(body).ok()?;
            (
                located.model?.get(),
                serde_json::to_string(model).ok()?.into(),
            )
        }
    };
    let range = range_of(field, body)?;
    Some(Bytes::from(
        [
            body.get(..range.start)?,
            value.as_bytes(),
            body.get(range.end..)?,
        ]
        .concat(),
    ))
}

/// The field `model`, borrowed from the body.
#[derive(Deserialize)]
struct ModelField<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

/// The range of `part` in `whole`, which it borrows from.
pub(crate) fn range_of(part: &str, whole: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

/// The content type of a form; `None` for any other.
fn form_type(headers: &HeaderMap) -> Option<&str> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    content_type
        .get(..10)?
        .eq_ignore_ascii_case("multipart/")
        .then_some(content_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn renamed(body: &str, model: &str) -> Option<String> {
        let body = with_model(&HeaderMap::new(), body.as_bytes(), model)?;
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    // spec: PATH-18
    #[test]
    fn only_the_value_of_the_one_field_changes() {
        for (before, after) in [
            (r#"{"model":"a"}"#, r#"{"model":"tiny"}"#),
            (
                "\n{ \"x\":1, \"model\" \t:\r\n \"a\" , \"x\":2}\n ",
                "\n{ \"x\":1, \"model\" \t:\r\n \"tiny\" , \"x\":2}\n ",
            ),
            (r#"{"model":"\u0061\"\\"}"#, r#"{"model":"tiny"}"#),
            (r#"{"m\u006fdel":"a"}"#, r#"{"m\u006fdel":"tiny"}"#),
            (
                r#"{"x":{"model":"a"},"y":"\"model\":\"a\"","model":"a","z":[{"model":"a"}]}"#,
                r#"{"x":{"model":"a"},"y":"\"model\":\"a\"","model":"tiny","z":[{"model":"a"}]}"#,
            ),
            (
                r#"{"seed":123456789012345678901234567890,"model":"a","t":1.0e3,"é":"\u00e9"}"#,
                r#"{"seed":123456789012345678901234567890,"model":"tiny","t":1.0e3,"é":"\u00e9"}"#,
            ),
        ] {
            assert_eq!(renamed(before, "tiny").as_deref(), Some(after));
        }
        assert_eq!(
            renamed(r#"{"model":"a"}"#, r#"q"\é"#).as_deref(),
            Some(r#"{"model":"q\"\\é"}"#)
        );
        assert_eq!(renamed(r#"{"x":"a"}"#, "tiny"), None);
    }

    // spec: PATH-9
    #[test]
    fn a_form_without_a_boundary_is_rejected() {
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/mixed; boundary=XX",
        ] {
            let headers =
                HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            let error = named_model(&headers, b"--XX\r\n").unwrap_err();
            assert!(error.to_string().contains("boundary"), "{error}");
        }
    }

    // spec: PATH-18
    #[test]
    fn a_form_changes_only_in_the_field() {
        let headers = HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("Multipart/form-data; boundary=XX"),
        )]);
        let form = |model: &str| {
            format!(
                "--XX\r\nContent-Disposition: form-data; name=\"file\"; \
                 filename=\"model\"\r\n\r\na\0model\r\n--XX\r\nContent-Disposition: form-data; \
                 name=\"model\"\r\n\r\n{model}\r\n--XX\r\nContent-Disposition: form-data; \
                 name=\"prompt\"\r\n\r\na\r\n--XX--\r\n"
            )
        };
        let body = form("a");
        assert_eq!(
            named_model(&headers, body.as_bytes()).unwrap().as_deref(),
            Some("a")
        );
        let renamed = with_model(&headers, body.as_bytes(), "tiny").unwrap();
        assert_eq!(renamed, form("tiny"));
    }

    proptest! {
        // spec: PATH-18
        #[test]
        fn any_other_field_stays_as_it_is(
            before in "[^\\p{C}]{1,20}",
            after in "[^\\p{C}]{1,20}",
            other in ".{0,20}",
        ) {
            let rest = serde_json::to_string(&other).unwrap();
            let body = |model: &str| {
                let model = serde_json::to_string(model).unwrap();
                format!(r#"{{{rest}:{rest}, "model" :{model} , "y":{{"model":{rest}}}}}"#)
            };
            prop_assume!(!["model", "stream"].contains(&other.as_str()));
            let before = body(&before);
            let found = with_model(&HeaderMap::new(), before.as_bytes(), &after).unwrap();
            prop_assert_eq!(std::str::from_utf8(&found).unwrap(), body(&after));
            let named = named_model(&HeaderMap::new(), &found).unwrap().unwrap();
            prop_assert_eq!(named.as_ref(), after.as_str());
        }
    }
}
